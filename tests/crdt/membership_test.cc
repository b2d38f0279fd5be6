#include "crdt/membership.h"

#include <doctest/doctest.h>

#include "tests/crdt/laws.h"

namespace dualmesh::crdt {
namespace {

Member member(std::uint64_t epoch, std::uint64_t refutations, MemberStatus status,
              std::string address = "10.0.0.1:7000") {
  return Member{Epoch{epoch}, refutations, status, "a", std::move(address), "10.0.0.1:8080", "1"};
}

Member member(const std::array<std::uint8_t, 4>& bytes) {
  return member(bytes[0] % 3, bytes[1] % 3, MemberStatus(bytes[2] % 4),
                std::string(1, 'p' + bytes[3] % 2));
}

std::uint64_t entry_hash(const Member& value) {
  EntryHasher hasher;
  hash_entry(hasher, NodeId{1}, value);
  return hasher.finish();
}

TEST_CASE("membership is a semilattice and its hash tells states apart") {
  using Bytes = std::array<std::uint8_t, 4>;
  CHECK(rc::check([](const Bytes& x, const Bytes& y, const Bytes& z) {
    const Member a = member(x), b = member(y), c = member(z);
    assert_lattice_laws(a, b, c);
    RC_ASSERT((entry_hash(a) == entry_hash(b)) == (a == b));
  }));
}

TEST_CASE("every field of a member counts in its hash") {
  const Member base = member(1, 0, MemberStatus::alive);
  for (auto field : {&Member::name, &Member::mesh_address, &Member::http_address, &Member::build}) {
    Member changed = base;
    changed.*field += "x";
    CHECK(entry_hash(changed) != entry_hash(base));
  }
}

TEST_CASE("epoch outranks refutations, refutations outrank status") {
  const Member ranked[] = {
      member(1, 0, MemberStatus::alive), member(1, 0, MemberStatus::suspect),
      member(1, 0, MemberStatus::dead),  member(1, 0, MemberStatus::left),
      member(1, 1, MemberStatus::alive), member(1, 1, MemberStatus::left),
      member(2, 0, MemberStatus::alive),
  };
  for (std::size_t low = 0; low < std::size(ranked); ++low) {
    for (std::size_t high = low + 1; high < std::size(ranked); ++high) {
      CAPTURE(low);
      CAPTURE(high);
      CHECK(joined(ranked[low], ranked[high]) == ranked[high]);
      CHECK(joined(ranked[high], ranked[low]) == ranked[high]);
    }
  }
}

TEST_CASE("memberlist's refute: a raised count overrides the suspicion, its echo changes nothing") {
  const Member suspicion = member(5, 0, MemberStatus::suspect);
  Member view = member(5, 0, MemberStatus::alive);
  CHECK(view.join(suspicion));
  CHECK_FALSE(view.join(suspicion));                          // suspected twice
  CHECK_FALSE(view.join(member(5, 0, MemberStatus::alive)));  // replayed old claim of life
  CHECK(view.join(member(5, 1, MemberStatus::alive)));        // refuted
  CHECK_FALSE(view.join(suspicion));                          // the old suspicion arrives late
  CHECK_FALSE(view.join(member(5, 0, MemberStatus::dead)));   // and its consequence
  CHECK(view.status == MemberStatus::alive);
  CHECK(view.epoch == Epoch{5});  // same life: its feeds stay
}

TEST_CASE("a dead member returns by refuting or by restarting, never by rumour") {
  const Member dead = member(5, 3, MemberStatus::dead);
  CHECK(joined(dead, member(5, 3, MemberStatus::alive)) == dead);
  CHECK(joined(dead, member(5, 4, MemberStatus::alive)).reachable());
  CHECK(joined(dead, member(6, 0, MemberStatus::alive)).reachable());
}

TEST_CASE("reachable means alive or suspect") {
  CHECK(member(1, 0, MemberStatus::alive).reachable());
  CHECK(member(1, 0, MemberStatus::suspect).reachable());
  CHECK_FALSE(member(1, 0, MemberStatus::dead).reachable());
  CHECK_FALSE(member(1, 0, MemberStatus::left).reachable());
}

TEST_CASE("two nodes under one name: all agree on one address") {
  const Member one = member(5, 0, MemberStatus::alive, "10.0.0.1:7000");
  const Member two = member(5, 0, MemberStatus::alive, "10.0.0.2:7000");
  CHECK(joined(one, two) == two);
  CHECK(joined(two, one) == two);
}

TEST_CASE("a node id is the XXH3 of the name") {
  // From the Python package xxhash: xxh3_64_intdigest.
  CHECK(node_id_of("") == NodeId{0x2d06800538d394c2});
  CHECK(node_id_of("router-a") == NodeId{0x40f0ba953a3be9e9});
}

}  // namespace
}  // namespace dualmesh::crdt
