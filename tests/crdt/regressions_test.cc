// Faults that others have had in the field, as promises of the types here. Those of one type alone
// stand with its tests: riak_dt 82 and 78, riak_kv 814, riak_dt_emcntr, akka 22188, scylla's absurd
// generation.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "crdt/feed.h"
#include "crdt/membership.h"
#include "crdt/registers.h"
#include "crdt/table.h"
#include "tests/crdt/laws.h"
#include "tests/crdt/whole_deltas.h"

namespace dualmesh::crdt {
namespace {

using Members = Table<NodeId, Member>;
using Marks = Table<std::uint64_t, Max<std::uint64_t>>;
using Gauges = Feed<std::uint64_t, std::uint64_t>;

constexpr NodeId kNode{1};

Member member_of(std::uint64_t epoch, std::uint64_t refutations, MemberStatus status) {
  return Member{Epoch{epoch}, refutations, status, "a", "10.0.0.1:7000", "10.0.0.1:8080", "1"};
}

struct Known {  // a table that knows one node
  Members members;

  explicit Known(const Member& first) { members.join(kNode, first); }
  bool hears(const Member& rumour) { return members.join(kNode, rumour); }
  MemberStatus status() const { return members.find(kNode)->status; }
};

TEST_CASE("memberlist DoubleSuspect: a second suspicion is no news and is not passed on") {
  Known known(member_of(5, 1, MemberStatus::alive));
  CHECK(known.hears(member_of(5, 1, MemberStatus::suspect)));
  const Version version = known.members.version();
  CHECK_FALSE(known.hears(member_of(5, 1, MemberStatus::suspect)));
  CHECK(known.members.version() == version);
  CHECK(known.members.delta_since(version, kAll).entries.empty());
}

TEST_CASE("memberlist OldSuspect: a suspicion of an earlier refutation or life is ignored") {
  Known known(member_of(5, 2, MemberStatus::alive));
  CHECK_FALSE(known.hears(member_of(5, 1, MemberStatus::suspect)));
  CHECK_FALSE(known.hears(member_of(4, 9, MemberStatus::suspect)));
  CHECK(known.status() == MemberStatus::alive);
}

TEST_CASE("memberlist AliveReplay: an old claim of life neither revives nor becomes news") {
  for (const MemberStatus status :
       {MemberStatus::alive, MemberStatus::suspect, MemberStatus::dead, MemberStatus::left}) {
    Known known(member_of(5, 1, status));
    const Version version = known.members.version();
    CHECK_FALSE(known.hears(member_of(5, 1, MemberStatus::alive)));
    CHECK_FALSE(known.hears(member_of(5, 0, MemberStatus::alive)));
    CHECK_FALSE(known.hears(member_of(4, 7, MemberStatus::alive)));
    CHECK(known.status() == status);
    CHECK(known.members.version() == version);
  }
}

TEST_CASE("memberlist DeadReplay and OldDead: death is news once, and not of an earlier life") {
  Known known(member_of(5, 1, MemberStatus::suspect));
  CHECK_FALSE(known.hears(member_of(5, 0, MemberStatus::dead)));
  CHECK_FALSE(known.hears(member_of(4, 1, MemberStatus::dead)));
  CHECK(known.hears(member_of(5, 1, MemberStatus::dead)));
  CHECK_FALSE(known.hears(member_of(5, 1, MemberStatus::dead)));
  CHECK_FALSE(known.hears(member_of(5, 1, MemberStatus::suspect)));  // it does not get better
}

TEST_CASE("memberlist Dogpile: a crowd of accusers is refuted by one answer, in any order") {
  CHECK(rc::check([](const Steps& accusations, std::uint8_t at) {
    // The accused answers above whatever it has heard, be it raised by itself or by a former self.
    std::vector<Member> rumours;
    std::uint64_t highest = 0;
    for (const auto& bytes : accusations) {
      rumours.push_back(member_of(5, bytes[0] % 4, MemberStatus(1 + bytes[1] % 2)));
      highest = std::max(highest, rumours.back().refutations);
    }
    const Member answer = member_of(5, highest + 1, MemberStatus::alive);
    rumours.insert(rumours.begin() + at % (rumours.size() + 1), answer);
    Known known(member_of(5, 0, MemberStatus::alive));
    for (const Member& rumour : rumours) known.hears(rumour);
    RC_ASSERT(*known.members.find(kNode) == answer);
  }));
}

TEST_CASE("memberlist Refute: an answer that does not exceed the accusation does not count") {
  Known known(member_of(5, 7, MemberStatus::suspect));
  CHECK_FALSE(known.hears(member_of(5, 7, MemberStatus::alive)));
  CHECK(known.hears(member_of(5, 8, MemberStatus::alive)));
  CHECK(known.status() == MemberStatus::alive);
}

TEST_CASE("scylla's far-future generation wins for ever once taken in: to be refused before") {
  Known known(member_of(1'700'000'000'000, 0, MemberStatus::alive));
  CHECK(known.hears(member_of(~std::uint64_t{0}, 0, MemberStatus::dead)));
  CHECK_FALSE(known.hears(member_of(1'800'000'000'000, 0, MemberStatus::alive)));
  CHECK(known.status() == MemberStatus::dead);  // hence the bound on epochs at admission
}

TEST_CASE("akka 22606: a delta that brings nothing new is not passed on again") {
  Marks a, b;
  a.join(1, {5});
  b.apply(a.delta_since({}, kAll), ignore);
  const Version told = b.version();
  for (int i = 0; i < 3; ++i) {  // echoes
    a.apply(b.delta_since({}, kAll), ignore);
    b.apply(a.delta_since({}, kAll), ignore);
  }
  CHECK(b.version() == told);
  CHECK(a.version() == Version{1});
}

TEST_CASE("akka 21647: what was pruned and comes back from a peer is pruned again, for good") {
  Marks pruned, stale;
  for (Marks* marks : {&pruned, &stale}) {
    marks->join(1, {5});
    marks->join(20, {6});
  }
  const auto old = [](std::uint64_t key, const auto&) { return key < 10; };
  CHECK(pruned.forget_if(old) == 1);
  pruned.apply(stale.delta_since({}, kAll), ignore);  // it is back
  CHECK(pruned.find(1) != nullptr);
  for (Marks* marks : {&pruned, &stale}) marks->forget_if(old);
  CHECK(pruned.digest() == stale.digest());
  CHECK(pruned.bucket_sums() == stale.bucket_sums());
  for (Marks* marks : {&pruned, &stale}) CHECK(marks->delta_since({}, kAll).entries.size() == 1);
  pruned.apply(stale.delta_since({}, kAll), ignore);
  CHECK(pruned.find(1) == nullptr);
}

TEST_CASE("akka.net 8220: a horizon that comes without the state takes nothing away") {
  Gauges writer, replica;
  writer.put(1, 1);
  writer.put(2, 2);
  replica.apply(writer.delta_since({}, kAll));
  writer.erase(2);
  const Version erased = writer.version();
  writer.put(3, 3);
  writer.collect(writer.version());
  REQUIRE(writer.collected() == erased);

  Gauges::Delta headless{replica.version(), writer.version(), writer.collected(), {}};
  CHECK(replica.apply(headless) == Applied::below_horizon);
  CHECK(replica.size() == 2);
  CHECK(replica.find(1) != nullptr);
  CHECK(replica.apply(writer.delta_since(replica.version(), kAll)) == Applied::changed);
  CHECK(replica.digest() == writer.digest());
}

TEST_CASE("riak_kv 814 for feeds: one version with two contents shows in the digests") {
  Gauges first_life, second_life, heard_first, heard_second;  // the epoch was not raised
  first_life.put(1, 10);
  second_life.put(1, 11);
  heard_first.apply(first_life.delta_since({}, kAll));
  heard_second.apply(second_life.delta_since({}, kAll));
  CHECK(heard_first.apply(second_life.delta_since({}, kAll)) == Applied::duplicate);
  CHECK(*heard_first.find(1) == 10);  // a version once applied stays what it was
  CHECK(heard_first.version() == heard_second.version());
  CHECK(heard_first.digest() != heard_second.digest());  // the alarm
}

}  // namespace
}  // namespace dualmesh::crdt
