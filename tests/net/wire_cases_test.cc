// The table of framing and smuggling cases, through the parsers at every cut and raw against a
// listener behind which an instance writes down what reaches it.
#include "tests/net/wire_cases.h"

#include <doctest/doctest.h>

#include <numeric>
#include <set>

#include "tests/net/logging_instance.h"

using namespace dualmesh::net;
using namespace dualmesh::net::testing;

namespace {

std::vector<std::string> texts(const WireCase& wire) {
  std::vector<std::string> all;
  for (const Outcome& outcome : wire.outcomes) all.push_back(outcome.text);
  return all;
}

// Sends in two pieces, cut there (0: in one), and what comes back until the end.
std::string send_and_receive(std::uint16_t port, const WireCase& wire, std::size_t cut) {
  RawPeer peer = RawPeer::connect(port);
  peer.send(std::string_view(wire.bytes).substr(0, cut));
  peer.send(std::string_view(wire.bytes).substr(cut));
  if (wire.is_refused() || wire.ends_with("closes") || wire.ends_with("not TLS")) {
    return peer.receive_to_end();
  }
  std::string answers;
  for (const Outcome& outcome : wire.outcomes) {
    if (outcome.is_request()) answers += peer.receive_until("\r\n\r\n");
    if (outcome.text == "100") answers += peer.receive_until("\r\n\r\n");
  }
  if (wire.ends_with("waits")) {
    peer.shutdown_send();
  } else {
    peer.send("GET /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  }
  return answers + peer.receive_to_end();
}

// The statuses of the answers, without those of 100 Continue unless `with_100`.
std::vector<std::string> statuses(const std::string& answers, bool with_100) {
  std::vector<std::string> all;
  for (std::size_t at = 0; (at = answers.find("HTTP/1.1 ", at)) != std::string::npos; ++at) {
    const std::string status = answers.substr(at + 9, 3);
    if (status.find_first_not_of("0123456789") != std::string::npos) continue;  // of our own words
    if (status != "100" || with_100) all.push_back(status);
  }
  return all;
}

void check_over_the_wire(RelayingServer& server, const WireCase& wire, std::size_t cut) {
  const bool with_100 = wire.outcomes[0].text == "100";
  const std::string answers = send_and_receive(server.port(), wire, cut);
  std::vector<std::string> wanted;
  std::vector<Outcome> reaching;
  for (const Outcome& outcome : wire.outcomes) {
    if (outcome.is_request()) reaching.push_back(outcome);
    if (outcome.is_request()) wanted.emplace_back("200");
    if (outcome.text.size() == 3) wanted.push_back(outcome.text);
    if (outcome.text == "not TLS") wanted.emplace_back("400");
  }
  const bool goes_on = wire.outcomes.back().is_request();
  if (goes_on) wanted.emplace_back("200");
  if (goes_on) reaching.push_back({"GET /end"});
  CHECK(statuses(answers, with_100) == wanted);

  const std::vector<LoggedRequest> reached = server.take_requests();
  REQUIRE(reached.size() == reaching.size());
  for (std::size_t i = 0; i < reached.size(); ++i) {
    CAPTURE(reached[i].head);
    CHECK(reached[i].text() == reaching[i].text);
    CHECK(reached[i].is_plain());
    for (const auto& field : reaching[i].has) CHECK(reached[i].has(field.first, field.second));
    for (const std::string& name : reaching[i].lacks) CHECK(reached[i].count(name) == 0);
  }
}

}  // namespace

TEST_CASE("the table is whole: every case has bytes, a verdict and a name of its own") {
  std::set<std::string> names;
  const auto cases = read_wire_cases();
  CHECK(cases.size() > 300);
  for (const WireCase& wire : cases) {
    CAPTURE(wire.file);
    CAPTURE(wire.name);
    CHECK_FALSE(wire.bytes.empty());
    CHECK_FALSE(wire.outcomes.empty());
    CHECK(names.insert(wire.file + "/" + wire.name).second);
  }
}

TEST_CASE("parsers give the verdict, whatever the cuts") {
  for (const WireCase& wire : read_wire_cases()) {
    if (wire.ends_with("not TLS")) continue;  // the listener's own
    CAPTURE(wire.file);
    CAPTURE(wire.name);
    const std::size_t size = wire.bytes.size();
    const std::vector<std::string> wanted = texts(wire);
    REQUIRE(our_reading(wire.bytes, {size}) == wanted);
    std::vector<std::size_t> each(size);
    std::iota(each.begin(), each.end(), 1);
    REQUIRE(our_reading(wire.bytes, each) == wanted);
    for (std::size_t cut = 1; cut < size; cut += 1 + size / 2000) {
      CAPTURE(cut);
      REQUIRE(our_reading(wire.bytes, {cut, size}) == wanted);
    }
  }
}

TEST_CASE("the listener gives the verdict, and nothing else reaches the instance") {
  RelayingServer server;
  for (const WireCase& wire : read_wire_cases()) {
    CAPTURE(wire.file);
    CAPTURE(wire.name);
    for (const std::size_t cut : {std::size_t{0}, std::size_t{1}, wire.bytes.size() / 2}) {
      CAPTURE(cut);
      check_over_the_wire(server, wire, cut);
    }
  }
}

// The grid of smuggler: each byte before and after the name, before and after the value.
TEST_CASE("no byte beside Transfer-Encoding makes another reading of it") {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string c(1, static_cast<char>(byte));
    const bool is_space = c == " ";
    const std::pair<std::string, bool> lines[] = {
        {c + "Transfer-Encoding: chunked", false},
        {"Transfer-Encoding" + c + ": chunked", c == ":"},  // then the value is ": chunked"
        {"Transfer-Encoding:" + c + "chunked", is_space},
        {"Transfer-Encoding: chunked" + c, is_space},
        {"Transfer" + c + "Encoding: chunked", c == "-"}};
    for (const auto& line : lines) {
      const std::string head =
          "POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n" + line.first + "\r\n\r\n";
      const std::string bytes = head + "0\r\n\r\n";
      CAPTURE(bytes);
      const auto outcome = our_reading(bytes, {bytes.size()});
      REQUIRE(outcome.size() == 1);
      // With a length beside it, it is refused when read as framing, and as another field only
      // where it is another name, that nobody could take for this one.
      const bool is_other_name = outcome[0] == "POST /v1/x 0\r\n\r\n";
      if (line.second) CHECK(outcome[0] == "400");
      if (is_other_name) {
        CHECK(byte > 0x20);
        CHECK(byte < 0x7f);
      }
    }
  }
}
