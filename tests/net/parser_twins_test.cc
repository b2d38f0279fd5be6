// Our parsers beside two others: the table of wire cases and seeded changes of it. What
// we accept, both refuse or read alike; what we send on, they read as it was meant.
#include "tests/net/parser_twins.h"

#include <doctest/doctest.h>

#include "tests/net/wire_cases.h"
#include "tests/net/wire_mutations.h"

using namespace dualmesh::net::testing;

namespace {

struct Counts {
  std::size_t accepted = 0, refused = 0, taken_by_http_parser = 0, taken_by_beast = 0;
  std::size_t sent_on = 0, sent_on_refused = 0;  // of our requests written again, by each twin
};

void check_beside_twins(const std::string& bytes, Counts& counts) {
  CAPTURE(bytes);
  const TwinReading ours = read_ours(bytes);
  const TwinReading theirs = read_http_parser(bytes), beast = read_beast(bytes);
  REQUIRE(difference(ours, theirs) == "");
  REQUIRE(difference(ours, beast) == "");
  ++(ours.messages.empty() ? counts.refused : counts.accepted);
  if (ours.messages.size() < theirs.messages.size()) ++counts.taken_by_http_parser;
  if (ours.messages.size() < beast.messages.size()) ++counts.taken_by_beast;

  for (const TwinMessage& message : ours.messages) {
    const std::string again = written_again(message);
    CAPTURE(again);
    for (const TwinReading& second : {read_http_parser(again), read_beast(again)}) {
      ++counts.sent_on;
      if (second.messages.empty() && second.end == TwinReading::End::refused) {
        ++counts.sent_on_refused;
        continue;
      }
      REQUIRE(second.messages.size() == 1);
      REQUIRE(second.end == TwinReading::End::clean);
      REQUIRE(difference({TwinReading::End::clean, {with_host(message)}}, second) == "");
    }
  }
}

}  // namespace

TEST_CASE("the twins are what they are taken for: they read plain requests, and differ") {
  const std::string get = "GET /a?b HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
  const std::string chunked =
      "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
  for (const auto& read : {read_http_parser, read_beast}) {
    const TwinReading two = read(chunked + get);
    REQUIRE(two.messages.size() == 2);
    CHECK(two.end == TwinReading::End::clean);
    CHECK(two.messages[0].body == "abc");
    CHECK(two.messages[1].target == "/a?b");
    CHECK(two.messages[1].fields.size() == 2);
    CHECK(read(chunked.substr(0, chunked.size() - 1)).end == TwinReading::End::waits);
    CHECK(read("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n").end ==
          TwinReading::End::refused);
  }
  // Two of the differences between them that make smuggling possible.
  const std::string bare_lf = "GET / HTTP/1.1\nHost: a\n\n";
  CHECK(read_http_parser(bare_lf).messages.size() == 1);
  CHECK(read_beast(bare_lf).messages.empty());
  CHECK(read_ours(bare_lf).messages.empty());
  CHECK(difference(read_http_parser(bare_lf), read_beast(get)) != "");
}

TEST_CASE("every case of the table") {
  Counts counts;
  for (const WireCase& wire : read_wire_cases()) {
    CAPTURE(wire.file);
    CAPTURE(wire.name);
    check_beside_twins(wire.bytes, counts);
  }
  MESSAGE("accepted " << counts.accepted << ", refused " << counts.refused << " of which accepted"
                      << " by http-parser " << counts.taken_by_http_parser << ", by Beast "
                      << counts.taken_by_beast);
  CHECK(counts.sent_on_refused == 0);
  CHECK(counts.accepted > 80);
  CHECK(counts.taken_by_http_parser > 10);
  CHECK(counts.taken_by_beast > 5);
}

TEST_CASE("300,000 changes of them") {
  std::vector<std::string> seeds;
  for (const WireCase& wire : read_wire_cases()) {
    // What is accepted is what can be read differently: four times as often.
    const std::size_t times = wire.is_refused() ? 1 : 4;
    if (wire.bytes.size() < 1000) seeds.insert(seeds.end(), times, wire.bytes);
  }
  WireMutations mutations(seeds, 6);
  Counts counts;
  for (int round = 0; round < 300'000; ++round) check_beside_twins(mutations.next(), counts);
  MESSAGE("accepted " << counts.accepted << ", refused " << counts.refused
                      << "; refused only by us, "
                      << "or sooner: http-parser " << counts.taken_by_http_parser << ", Beast "
                      << counts.taken_by_beast);
  CHECK(counts.sent_on_refused * 100 < counts.sent_on);  // see parser_twins.h
  CHECK(counts.accepted > 20'000);
  CHECK(counts.refused > 20'000);
}

TEST_CASE("answers of instances, and 300,000 changes of them") {
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  const std::vector<std::string> seeds{
      ok + "Content-Length: 3\r\n\r\nabc",
      ok + "content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
           "3\r\nabc\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n",
      ok + "Connection: close\r\n\r\nabc",
      "HTTP/1.0 200 OK\r\n\r\nabc",
      "HTTP/1.1 100 Continue\r\n\r\n" + ok + "Content-Length: 3\r\n\r\nabc",
      "HTTP/1.1 204 No Content\r\n\r\n",
      "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n",
      "HTTP/1.1 503\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"};
  WireMutations mutations(seeds, 7);
  std::size_t accepted = 0;
  for (std::size_t round = 0; round < 300'000; ++round) {
    const std::string bytes = round < seeds.size() ? seeds[round] : mutations.next();
    CAPTURE(bytes);
    const TwinReading ours = read_our_answer(bytes);
    if (round < seeds.size()) REQUIRE(ours.end == TwinReading::End::closed);
    REQUIRE(difference(ours, read_http_parser_answer(bytes)) == "");
    REQUIRE(difference(ours, read_beast_answer(bytes)) == "");
    if (!ours.messages.empty()) ++accepted;
  }
  MESSAGE("accepted " << accepted);
  CHECK(accepted > 30'000);
}
