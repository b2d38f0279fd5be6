// Who is an outlier, for how long, and how many may be: by hand, and over random histories.
#include "policies/outlier_detector.h"

#include <doctest/doctest.h>

#include <map>
#include <random>
#include <vector>

using namespace dualmesh::policies;
using namespace std::chrono_literals;

namespace {

OutlierDetector fleet_of(Slot instances, const OutlierSettings& settings = {}) {
  OutlierDetector detector(settings);
  for (Slot slot = 0; slot < instances; ++slot) detector.watch(slot);
  return detector;
}

}  // namespace

TEST_CASE("outliers: so many failures in a row, and any answer between them begins anew") {
  OutlierDetector detector = fleet_of(3);
  for (const Answered between : {Answered::well, Answered::error}) {
    for (int i = 0; i < 4; ++i) {
      CHECK(detector.observe(1, Answered::not_well, 1s) == OutlierSign::none);
    }
    CHECK(detector.observe(1, between, 1s) == OutlierSign::none);
  }
  for (int i = 0; i < 4; ++i) detector.observe(1, Answered::not_well, 1s);
  CHECK(detector.observe(1, Answered::not_well, 1s) == OutlierSign::failures_in_a_row);
  // Left in for want of others: the next failure says it again.
  CHECK(detector.observe(1, Answered::not_well, 1s) == OutlierSign::failures_in_a_row);
  CHECK(detector.eject(1, 1s) == Duration(10s));
  CHECK(detector.is_out(1));
  CHECK(detector.observe(1, Answered::not_well, 1s) == OutlierSign::none);
  CHECK(detector.observe(9, Answered::not_well, 1s) == OutlierSign::none);  // nobody's
  CHECK(!detector.eject(9, 1s));
}

TEST_CASE("outliers: a success rate clearly below that of the others") {
  OutlierDetector detector = fleet_of(2, {.failures_in_a_row = 0});
  OutlierSign seen = OutlierSign::none;
  int failures = 0;
  for (int i = 0; i < 60 && seen == OutlierSign::none; ++i) {
    for (int n = 0; n < 9; ++n) detector.observe(0, Answered::well, 1s);
    if (i % 2 == 0) {
      detector.observe(1, Answered::well, 1s);
    } else {
      ++failures;
      seen = detector.observe(1, Answered::error, 1s);
    }
  }
  CHECK(seen == OutlierSign::success_rate);
  CHECK(failures == 10);  // with the first 20 requests
}

TEST_CASE("outliers: errors that all instances answer eject nobody") {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    OutlierDetector detector = fleet_of(4, {.failures_in_a_row = 0});
    const unsigned percent = random() % 101;
    Time now = 1s;
    for (int i = 0; i < 4'000; ++i) {
      now += 10ms;
      const auto slot = static_cast<Slot>(random() % 4);
      const auto how = random() % 100 < percent ? Answered::error : Answered::well;
      CHECK(detector.observe(slot, how, now) == OutlierSign::none);
    }
  }
}

TEST_CASE("outliers: what is too little to tell, or too old, tells nothing") {
  OutlierDetector few = fleet_of(2, {.failures_in_a_row = 0});
  for (int i = 0; i < 100; ++i) few.observe(0, Answered::well, 1s);
  for (int i = 0; i < 19; ++i) {
    CHECK(few.observe(1, Answered::error, 1s) == OutlierSign::none);
  }
  CHECK(few.observe(1, Answered::error, 1s) == OutlierSign::success_rate);

  OutlierDetector old = fleet_of(2, {.failures_in_a_row = 0});
  for (int i = 0; i < 100; ++i) old.observe(0, Answered::well, 1s);
  for (int i = 0; i < 100; ++i) {
    CHECK(old.observe(1, Answered::error, 100s) == OutlierSign::none);  // nobody to compare with
  }
  OutlierDetector off = fleet_of(2, {.failures_in_a_row = 0, .rate_margin = 0});
  for (int i = 0; i < 100; ++i) off.observe(0, Answered::well, 1s);
  for (int i = 0; i < 100; ++i) {
    CHECK(off.observe(1, Answered::not_well, 1s) == OutlierSign::none);
  }
}

TEST_CASE("outliers: each rest is longer than the last, up to the most, and is forgiven in time") {
  OutlierDetector detector = fleet_of(2, {.base = 10s, .most = 35s, .forgive_after = 60s});
  Time now = 1'000s;
  for (const Duration rest : {10s, 20s, 30s, 35s, 35s}) {
    CHECK(detector.eject(0, now) == rest);
    detector.readmit(0, now);
  }
  now += 120s;  // five ejections, two forgiven
  CHECK(detector.eject(0, now) == Duration(35s));
  detector.readmit(0, now);
  now += 240s;  // four, of which none is left
  CHECK(detector.eject(0, now) == Duration(10s));
  CHECK(detector.eject(0, now) == Duration(20s));  // failed at its trial
  CHECK(detector.out() == 1);
  detector.readmit(0, now);
  now += 10'000s;
  CHECK(detector.eject(0, now) == Duration(10s));
}

TEST_CASE("outliers: after its rest an instance begins with a clean history") {
  OutlierDetector detector = fleet_of(2);
  for (int i = 0; i < 100; ++i) detector.observe(0, Answered::well, 1s);
  for (int i = 0; i < 100; ++i) detector.observe(1, Answered::not_well, 1s);
  detector.eject(1, 1s);
  detector.readmit(1, 2s);
  CHECK(!detector.is_out(1));
  for (int i = 0; i < 4; ++i) {
    CHECK(detector.observe(1, Answered::not_well, 2s) == OutlierSign::none);
  }
}

TEST_CASE("outliers: at most the share is out, whatever happens, and one always may be") {
  for (unsigned seed = 1; seed <= 40; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    OutlierSettings settings;
    settings.max_share = 0.1 * static_cast<double>(random() % 11);
    OutlierDetector detector(settings);
    std::map<Slot, bool> twin;  // is it out?
    Time now = 1s;
    for (int i = 0; i < 3'000; ++i) {
      now += std::chrono::milliseconds(random() % 50);
      const auto slot = static_cast<Slot>(random() % 8);
      const auto out = [&] {
        return std::count_if(twin.begin(), twin.end(),
                             [](const auto& each) { return each.second; });
      };
      switch (random() % 5) {
        case 0:
          detector.watch(slot);
          twin.try_emplace(slot, false);
          break;
        case 1:
          // Leaving while others are out may put more than the share out; nobody is brought back.
          if (out() == 0) {
            detector.forget(slot);
            twin.erase(slot);
          }
          break;
        case 2:
          detector.readmit(slot, now);
          if (twin.contains(slot)) twin[slot] = false;
          break;
        default: {
          const double most = std::max(1.0, settings.max_share * static_cast<double>(twin.size()));
          const bool may =
              twin.contains(slot) && (twin[slot] || static_cast<double>(out() + 1) <= most);
          const auto rest = detector.eject(slot, now);
          CHECK(rest.has_value() == may);
          if (rest) {
            CHECK(*rest >= settings.base);
            CHECK(*rest <= settings.most);
            twin[slot] = true;
          }
          CHECK(static_cast<double>(out()) <= most);
        }
      }
      CHECK(detector.out() == static_cast<std::uint32_t>(out()));
      CHECK(detector.is_out(slot) == (twin.contains(slot) && twin[slot]));
    }
  }
}
