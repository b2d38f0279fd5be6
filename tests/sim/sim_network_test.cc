// The simulated network itself: that its connections end as those of a kernel do.
#include "tests/sim/sim_network.h"

#include <doctest/doctest.h>
#include <kj/async.h>

#include <optional>
#include <string>

#include "tests/sim/sim_events.h"

using namespace dualmesh::sim;

namespace {

struct TwoEnds {
  kj::EventLoop loop;
  kj::WaitScope scope{loop};
  SimEvents events;
  SimNetwork network{events, 7};
  kj::Own<kj::AsyncIoStream> dialled;
  kj::Own<kj::AsyncIoStream> accepted;
  std::optional<std::string> told;  // the other end was, or why not
  char byte = 0;

  TwoEnds() {
    network.listen("a", [](auto) {});
    network.listen("b", [this](auto stream) { accepted = kj::mv(stream); });
    const auto dialer = network.dialer_of("a");
    auto dialling = dialer->dial("b").then([this](auto stream) { dialled = kj::mv(stream); });
    auto running = dialling.eagerlyEvaluate(nullptr);
    run_for(1 * kj::SECONDS);
    REQUIRE(dialled.get() != nullptr);
    REQUIRE(accepted.get() != nullptr);
  }
  void run_for(kj::Duration span) {
    const kj::TimePoint end = events.now() + span;
    for (loop.run(); events.now() < end; loop.run()) events.advance_to(events.next(end));
  }
  kj::Promise<void> listen_at(kj::AsyncIoStream& stream) {
    return stream.tryRead(&byte, 1, 1)
        .then([this](std::size_t n) { told = n == 0 ? "closed" : std::string(1, byte); },
              [this](kj::Exception&& why) { told = why.getDescription().cStr(); })
        .eagerlyEvaluate(nullptr);
  }
};

}  // namespace

TEST_CASE("what cannot be delivered for 25 s ends its connection at both ends") {
  TwoEnds ends;
  auto hearing = ends.listen_at(*ends.accepted);
  ends.network.set_cut_one_way("a", "b", true);
  SUBCASE("bytes") { ends.dialled->write("x", 1).wait(ends.scope); }
  SUBCASE("the end of it, because its program closed or died") { ends.network.down("a"); }
  ends.run_for(24 * kj::SECONDS);
  CHECK_FALSE(ends.told.has_value());
  ends.run_for(2 * kj::SECONDS);
  REQUIRE(ends.told.has_value());
  CHECK(ends.told->find("reset") != std::string::npos);
  CHECK_THROWS(ends.dialled->write("y", 1).wait(ends.scope));
}

TEST_CASE("what a cut held back for less arrives after it, and its connection goes on") {
  TwoEnds ends;
  auto hearing = ends.listen_at(*ends.accepted);
  ends.network.set_cut("a", "b", true);
  ends.dialled->write("x", 1).wait(ends.scope);
  ends.run_for(10 * kj::SECONDS);
  CHECK_FALSE(ends.told.has_value());
  ends.network.set_cut("a", "b", false);
  ends.run_for(20 * kj::SECONDS);
  REQUIRE(ends.told.has_value());
  CHECK(*ends.told == "x");
  hearing = ends.listen_at(*ends.accepted);
  ends.dialled->write("y", 1).wait(ends.scope);
  ends.run_for(1 * kj::SECONDS);
  CHECK(*ends.told == "y");
}
