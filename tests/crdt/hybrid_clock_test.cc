#include "crdt/hybrid_clock.h"

#include <doctest/doctest.h>

#include "tests/crdt/laws.h"

namespace dualmesh::crdt {
namespace {

constexpr std::uint64_t kWall = 1'700'000'000'000;
constexpr NodeId kSelf{1};
constexpr NodeId kOther{2};

Stamp at(std::uint64_t wall_ms, NodeId writer) { return Stamp{wall_ms << 16, writer}; }

TEST_CASE("a first stamp is the wall clock") {
  HybridClock clock(kSelf);
  CHECK(clock.now(kWall) == at(kWall, kSelf));
}

TEST_CASE("a stamp taken after another was seen is greater, though the clock here is behind") {
  HybridClock clock(kSelf);
  const Stamp seen = at(kWall + 5'000, kOther);
  REQUIRE(clock.observe(seen, kWall));
  const Stamp next = clock.now(kWall);
  CHECK(next > seen);
  CHECK(next.wall_ms() == seen.wall_ms());  // and no further ahead than it must be
}

TEST_CASE(
    "scylla's absurd generation: a stamp from the far future is refused and changes nothing") {
  HybridClock clock(kSelf);
  const Stamp before = clock.now(kWall);
  CHECK_FALSE(clock.observe(at(kWall + HybridClock::kMaxAheadMs + 1, kOther), kWall));
  CHECK_FALSE(clock.observe(Stamp{~std::uint64_t{0}, kOther}, kWall));
  CHECK(clock.now(kWall) == Stamp{before.time + 1, kSelf});
  CHECK(clock.observe(at(kWall + HybridClock::kMaxAheadMs, kOther), kWall));
}

TEST_CASE("more stamps in one millisecond than the counter holds still rise") {
  HybridClock clock(kSelf);
  Stamp last = clock.now(kWall);
  for (int i = 0; i < 70'000; ++i) {
    const Stamp next = clock.now(kWall);
    REQUIRE(next > last);
    last = next;
  }
  CHECK(last.wall_ms() == kWall + 1);
}

TEST_CASE("stamps strictly rise and respect what was seen, however the wall clock jumps") {
  CHECK(rc::check([](const Steps& steps) {
    HybridClock clock(kSelf);
    Stamp last;
    Stamp newest_seen;
    for (auto [kind, wall, other, counter] : steps) {
      const std::uint64_t wall_ms = kWall + wall;
      if (kind % 2 == 0) {
        const Stamp next = clock.now(wall_ms);
        RC_ASSERT(next > last);
        RC_ASSERT(next > newest_seen);
        last = next;
      } else {
        const Stamp seen{((kWall + other) << 16) | counter, kOther};
        RC_ASSERT(clock.observe(seen, wall_ms));
        newest_seen = std::max(newest_seen, seen);
      }
    }
  }));
}

}  // namespace
}  // namespace dualmesh::crdt
