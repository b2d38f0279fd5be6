#include "policies/ring.h"

#include <doctest/doctest.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <map>
#include <random>

#include "tests/policies/fleet_builder.h"

using namespace dualmesh::policies;

namespace {

constexpr std::size_t kKeys = 40'000;

std::vector<RingMember> members_of(std::size_t count) {
  std::vector<RingMember> members;
  for (std::size_t i = 0; i < count; ++i) {
    members.push_back({instance_id_of(instance_name(i)), static_cast<Slot>(i), 1.0});
  }
  return members;
}

Ring ring_a(const std::vector<RingMember>& members) {
  const RingParameters p;
  return Ring(members, p.seed_a, p.points_per_weight);
}

Ring ring_b(const std::vector<RingMember>& members) {
  const RingParameters p;
  return Ring(members, p.seed_b, p.points_per_weight);
}

Slot owner(const Ring& ring, BlockKey key) {
  return ring.owner(key, [](Slot) { return true; });
}

std::vector<double> shares(const Ring& ring, std::size_t count) {
  std::vector<double> share(count, 0.0);
  for (BlockKey key = 0; key < kKeys; ++key) share[owner(ring, key)] += 1.0 / kKeys;
  return share;
}

}  // namespace

TEST_CASE("a ring does not depend on the order of its members") {
  std::mt19937 random(1);
  std::vector<RingMember> members = members_of(12);
  members[3].weight = 2.5;
  const Ring ring = ring_a(members);
  for (int round = 0; round < 10; ++round) {
    std::shuffle(members.begin(), members.end(), random);
    const Ring other = ring_a(members);
    CHECK(other.digest() == ring.digest());
    for (BlockKey key = 0; key < 1'000; ++key) CHECK(owner(other, key) == owner(ring, key));
  }
}

TEST_CASE("a key belongs to the first point clockwise, as one by one shows") {
  std::mt19937_64 random(5);
  for (const std::size_t count : {1, 2, 3, 7, 40}) {
    for (const std::uint32_t points_per_weight : {1u, 2u, 5u, 160u}) {
      CAPTURE(count);
      CAPTURE(points_per_weight);
      const std::uint64_t seed = random();
      const std::vector<RingMember> members = members_of(count);
      const Ring ring(members, seed, points_per_weight);
      std::map<std::uint64_t, Slot> points;
      for (const RingMember& member : members) {
        for (std::uint64_t i = 0; i < points_per_weight; ++i) {
          const std::array<std::uint64_t, 2> words{member.id, i};
          points.emplace(XXH3_64bits_withSeed(words.data(), sizeof words, seed), member.slot);
        }
      }
      for (int i = 0; i < 2'000; ++i) {
        const BlockKey key = random();
        const auto found = points.lower_bound(XXH3_64bits_withSeed(&key, sizeof key, seed));
        REQUIRE(owner(ring, key) == (found == points.end() ? points.begin() : found)->second);
      }
    }
  }
}

TEST_CASE("slots are local names: renumbering them changes who is called what, not who owns what") {
  std::vector<RingMember> members = members_of(8);
  const Ring ring = ring_a(members);
  for (RingMember& member : members) member.slot = static_cast<Slot>(7 - member.slot);
  const Ring renumbered = ring_a(members);
  CHECK(renumbered.digest() == ring.digest());
  for (BlockKey key = 0; key < 1'000; ++key) CHECK(owner(renumbered, key) == 7 - owner(ring, key));
}

TEST_CASE("the digest tells members, weights, seeds and points apart") {
  const std::vector<RingMember> members = members_of(4);
  const std::uint64_t digest = ring_a(members).digest();
  CHECK(ring_b(members).digest() != digest);
  CHECK(ring_a(members_of(5)).digest() != digest);
  const RingParameters p;
  CHECK(Ring(members, p.seed_a, p.points_per_weight + 1).digest() != digest);
  std::vector<RingMember> heavier = members;
  heavier[0].weight = 1.5;
  CHECK(ring_a(heavier).digest() != digest);
}

TEST_CASE("removing one of n moves its own keys only, at most 1.25 times the ideal share") {
  // Adding is the same two rings the other way round.
  for (const std::size_t count : {2U, 3U, 4U, 8U, 16U}) {
    const std::vector<RingMember> all = members_of(count);
    for (std::size_t gone = 0; gone < count; ++gone) {
      std::vector<RingMember> rest = all;
      rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(gone));
      for (const bool second : {false, true}) {
        const Ring before = second ? ring_b(all) : ring_a(all);
        const Ring after = second ? ring_b(rest) : ring_a(rest);
        std::size_t moved = 0;
        for (BlockKey key = 0; key < kKeys; ++key) {
          const Slot was = owner(before, key);
          if (owner(after, key) == was) continue;
          ++moved;
          CHECK(was == gone);
        }
        CHECK(moved <= 1.25 * kKeys / static_cast<double>(count));
      }
    }
  }
}

TEST_CASE("members own keys in proportion to their weights") {
  std::vector<RingMember> members = members_of(6);
  members[1].weight = 2.0;
  members[2].weight = 0.5;
  const double total = 6.5;
  // One share of w x 160 points varies by about 1 / sqrt(160 w) of itself; three of those are
  // allowed.
  for (const Ring& ring : {ring_a(members), ring_b(members)}) {
    const std::vector<double> share = shares(ring, 6);
    for (std::size_t i = 0; i < 6; ++i) {
      const double ideal = members[i].weight / total;
      CHECK(share[i] == doctest::Approx(ideal).epsilon(3 / std::sqrt(160 * members[i].weight)));
    }
  }
}

TEST_CASE("absurd weights still give a ring") {
  std::vector<RingMember> members = members_of(3);
  members[0].weight = -5;
  members[1].weight = std::nan("");
  members[2].weight = 1e300;
  const std::vector<double> share = shares(ring_a(members), 3);
  CHECK(share[2] > 0.99);
}

TEST_CASE("the keys of a masked member go to the next on the ring, the others stay") {
  const std::vector<RingMember> all = members_of(8);
  const Ring ring = ring_a(all);
  for (Slot masked = 0; masked < 8; ++masked) {
    std::vector<RingMember> rest = all;
    rest.erase(rest.begin() + masked);
    const Ring without = ring_a(rest);
    for (BlockKey key = 0; key < 2'000; ++key) {
      // The ring without the member is the independent answer to who stands in.
      CHECK(ring.owner(key, [&](Slot slot) { return slot != masked; }) == owner(without, key));
    }
  }
  CHECK(ring.owner(1, [](Slot) { return false; }) == kNoSlot);
  CHECK(owner(Ring(), 1) == kNoSlot);
}

TEST_CASE("the two rings are independent") {
  const std::vector<RingMember> members = members_of(8);
  const Ring a = ring_a(members);
  const Ring b = ring_b(members);
  std::map<std::pair<Slot, Slot>, std::size_t> pairs;
  for (BlockKey key = 0; key < kKeys; ++key) ++pairs[{owner(a, key), owner(b, key)}];
  const std::vector<double> share_a = shares(a, 8);
  const std::vector<double> share_b = shares(b, 8);
  for (const auto& [pair, count] : pairs) {
    const double expected = share_a[pair.first] * share_b[pair.second] * kKeys;
    CHECK(static_cast<double>(count) == doctest::Approx(expected).epsilon(0.25));
  }
  CHECK(pairs.size() == 64);
}
