// Who is taken, who is told to come again, when, and whose fault it is.
#include "policies/admission.h"

#include <doctest/doctest.h>

#include <map>
#include <random>

using namespace dualmesh::policies;
using Kind = AdmissionAnswer::Kind;

TEST_CASE("admission: with both limits off everything is taken") {
  const Admission admission({});
  CHECK(admission.ask({.waiting = 1'000'000, .ttft_s = 1e9, .slo_s = 0.001}).kind == Kind::taken);
}

TEST_CASE("admission: the line has an end") {
  const Admission admission({.max_waiting = 3});
  CHECK(admission.ask({.waiting = 2}).kind == Kind::taken);
  const AdmissionAnswer refused = admission.ask({.waiting = 3});
  CHECK(refused.kind == Kind::too_many_waiting);
  CHECK(!refused.clients_own);
  CHECK(refused.retry_after_s == 1);
  CHECK(admission.ask({.waiting = 3, .ttft_s = 12.5, .slo_s = 5}).retry_after_s == 8);
  CHECK(admission.ask({.waiting = 0, .ttft_s = 1e6, .slo_s = 5}).kind == Kind::taken);
}

TEST_CASE("admission: an estimate beyond the SLOs allowed is refused until it would be in time") {
  const Admission admission({.refuse_over_slos = 2.0});
  CHECK(admission.ask({.ttft_s = 10.0, .slo_s = 5.0}).kind == Kind::taken);
  const AdmissionAnswer refused = admission.ask({.ttft_s = 10.5, .slo_s = 5.0});
  CHECK(refused.kind == Kind::too_late);
  CHECK(refused.retry_after_s == 6);
  CHECK(admission.ask({.ttft_s = 1e12, .slo_s = 5.0}).retry_after_s == 60);
  CHECK(admission.ask({.waiting = 1'000'000}).kind == Kind::taken);
}

TEST_CASE("admission: whoever has more than an even share of what waits is told so") {
  Admission admission({.max_waiting = 1});
  for (int i = 0; i < 3; ++i) admission.entered(7);
  CHECK(!admission.ask({.client = 7, .waiting = 3}).clients_own);  // nobody else waits
  admission.entered(8);
  CHECK(admission.ask({.client = 7, .waiting = 4}).clients_own);
  CHECK(!admission.ask({.client = 8, .waiting = 4}).clients_own);
  CHECK(!admission.ask({.client = 9, .waiting = 4}).clients_own);
  CHECK(!admission.ask({.client = 0, .waiting = 4}).clients_own);
  admission.left(7);
  admission.left(7);
  CHECK(!admission.ask({.client = 7, .waiting = 2}).clients_own);  // both have one
}

TEST_CASE("admission: shares as a naive count has them, and nothing is kept of who has left") {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    Admission admission({.max_waiting = 1});
    std::map<std::uint64_t, std::uint64_t> twin;
    for (int i = 0; i < 2'000; ++i) {
      const std::uint64_t client = random() % 6;
      const bool there = twin.contains(client);
      if (random() % 2 == 0 || !there) {
        admission.entered(client);
        ++twin[client];
      } else {
        admission.left(client);
        if (--twin[client] == 0) twin.erase(client);
      }
      std::uint64_t all = 0;
      for (const auto& each : twin) all += each.second;
      const std::uint64_t asked = random() % 6;
      const bool expected = asked != 0 && twin.size() > 1 && twin.contains(asked) &&
                            static_cast<double>(twin[asked]) >
                                static_cast<double>(all) / static_cast<double>(twin.size()) + 1e-9;
      CHECK(admission.ask({.client = asked, .waiting = 1}).clients_own == expected);
      if (twin.contains(asked) && twin[asked] == 0) twin.erase(asked);
    }
    for (const auto& each : twin) {
      for (std::uint64_t n = 0; n < each.second; ++n) admission.left(each.first);
    }
    CHECK(admission.clients() == 0);
  }
}
