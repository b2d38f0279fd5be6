#include "crdt/table.h"

#include <doctest/doctest.h>

#include <map>
#include <set>
#include <string>

#include "crdt/membership.h"
#include "crdt/registers.h"
#include "tests/crdt/laws.h"
#include "tests/crdt/whole_deltas.h"

namespace dualmesh::crdt {
namespace {

using Key = std::pair<std::string, std::uint8_t>;
using Registry = Table<Key, LastWriter<std::string>>;
using Twin = std::map<Key, LastWriter<std::string>>;


Twin contents(const Registry& table) {
  Twin result;
  table.for_each([&](const Key& key, const auto& value) { result[key] = value; });
  return result;
}

// A digest counted from nothing, to compare with the one kept up to date.
StateDigest digest_of(const Twin& twin) {
  StateDigest digest;
  for (const auto& [key, value] : twin) {
    EntryHasher hasher;
    hash_entry(hasher, key, value);
    digest.add(hasher.finish());
  }
  return digest;
}

Registry::Entry entry(const std::array<std::uint8_t, 4>& bytes) {
  return {Key{std::string(1, 'a' + bytes[0] % 3), bytes[1] % 2},
          LastWriter<std::string>{Stamp{bytes[2] % 8u, NodeId{bytes[2] % 2u}},
                                  std::string(1, 'p' + bytes[3] % 2)}};
}

void join_into(Twin& twin, const Key& key, const LastWriter<std::string>& value) {
  auto [slot, added] = twin.try_emplace(key, value);
  if (!added) slot->second.join(value);
}

TEST_CASE("a table equals a map of joins, its digest the digest of that map") {
  CHECK(rc::check([](const Steps& steps) {
    Registry table;
    Twin twin;
    for (const auto& bytes : steps) {
      const auto [key, value] = entry(bytes);
      const Twin before = twin;
      const Version version_before = table.version();
      join_into(twin, key, value);
      const bool grew = !(twin == before);
      RC_ASSERT(table.join(key, value) == grew);
      RC_ASSERT(table.version() == (grew ? version_before.next() : version_before));
      RC_ASSERT(table.find(key) != nullptr);
      RC_ASSERT(*table.find(key) == twin[key]);
    }
    RC_ASSERT(contents(table) == twin);
    RC_ASSERT(table.size() == twin.size());
    RC_ASSERT(table.digest() == digest_of(twin));
    RC_ASSERT(table.find(Key{"never", 0}) == nullptr);
  }));
}

TEST_CASE("what is put in place of a value is news, and the digest that of the new contents") {
  CHECK(rc::check([](const Steps& steps, const Steps& places) {
    Registry table;
    Twin twin;
    for (const auto& bytes : steps) {
      table.join(entry(bytes).key, entry(bytes).value);
      join_into(twin, entry(bytes).key, entry(bytes).value);
    }
    for (const auto& bytes : places) {
      const Version before = table.version();
      table.replace(entry(bytes).key, entry(bytes).value);
      twin[entry(bytes).key] = entry(bytes).value;
      const Registry::Delta delta = table.delta_since(before, kAll);
      RC_ASSERT(delta.entries.size() == 1u);
      RC_ASSERT(delta.entries[0].key == entry(bytes).key);
      RC_ASSERT(delta.entries[0].value == entry(bytes).value);
    }
    RC_ASSERT(contents(table) == twin);
    RC_ASSERT(table.digest() == digest_of(twin));
  }));
}

TEST_CASE("for_each goes in key order") {
  Registry table;
  for (const char* name : {"c", "a", "b"}) table.join({name, 0}, {});
  std::vector<std::string> names;
  table.for_each([&](const Key& key, const auto&) { names.push_back(key.first); });
  CHECK(names == std::vector<std::string>{"a", "b", "c"});
}

TEST_CASE("a delta holds just the keys that grew since, once each, in order of their last growth") {
  CHECK(rc::check([](const Steps& steps, std::uint8_t from_byte) {
    Registry table;
    std::map<Key, std::uint64_t> grew_at;
    for (const auto& bytes : steps) {
      const auto [key, value] = entry(bytes);
      if (table.join(key, value)) grew_at[key] = table.version().value;
    }
    const Version from{from_byte % (table.version().value + 3)};
    std::map<std::uint64_t, Key> expected;
    for (const auto& [key, version] : grew_at) {
      if (version > from.value) expected[version] = key;
    }
    const Registry::Delta delta = table.delta_since(from, kAll);
    RC_ASSERT(delta.to == table.version());
    RC_ASSERT(delta.from_excluded == std::min(from, table.version()));
    RC_ASSERT(delta.entries.size() == expected.size());
    std::size_t at = 0;
    for (const auto& [version, key] : expected) {
      RC_ASSERT(delta.entries[at].key == key);
      RC_ASSERT(delta.entries[at].value == *table.find(key));
      ++at;
    }
  }));
}

TEST_CASE("pieces of any length, in any order and repeated, make the same state as the whole") {
  CHECK(rc::check([](const Steps& writes, const Steps& order, std::uint8_t cut) {
    Registry source;
    for (const auto& bytes : writes) source.join(entry(bytes).key, entry(bytes).value);
    std::vector<Registry::Delta> pieces;
    for (Version at; at < source.version(); at = pieces.back().to) {
      pieces.push_back(source.delta_since(at, 1 + cut % 4));
      RC_ASSERT(pieces.back().from_excluded == at);
      RC_ASSERT(pieces.back().to > at);  // it always gets on
      RC_ASSERT(pieces.back().entries.size() <= 1u + cut % 4);
    }
    Registry replica;
    for (const auto& bytes : order) {
      if (!pieces.empty()) replica.apply(pieces[bytes[0] % pieces.size()], ignore);
    }
    for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece) {
      replica.apply(*piece, ignore);
    }
    RC_ASSERT(contents(replica) == contents(source));
    RC_ASSERT(replica.digest() == source.digest());
  }));
}

TEST_CASE("apply names exactly the keys that grew, with their joined values") {
  CHECK(rc::check([](const Steps& here, const Steps& there) {
    Registry table, other;
    for (const auto& bytes : here) table.join(entry(bytes).key, entry(bytes).value);
    for (const auto& bytes : there) other.join(entry(bytes).key, entry(bytes).value);
    const Twin before = contents(table);
    Twin grown;
    table.apply(other.delta_since({}, kAll), [&](const Key& key, const auto& value) {
      RC_ASSERT(grown.emplace(key, value).second);
    });
    Twin expected;
    for (const auto& [key, value] : contents(table)) {
      auto old = before.find(key);
      if (old == before.end() || !(old->second == value)) expected[key] = value;
    }
    RC_ASSERT(grown == expected);
  }));
}

// Three replicas, each knowing how far it has applied each other one.
struct Gossip {
  std::array<Registry, 3> replicas;
  std::array<std::array<Version, 3>, 3> applied{};

  bool pull(std::size_t self, std::size_t from, std::size_t max_entries) {
    bool news = false;
    const auto delta = replicas[from].delta_since(applied[self][from], max_entries);
    replicas[self].apply(delta, [&](const Key&, const auto&) { news = true; });
    applied[self][from] = delta.to;
    return news;
  }
};

TEST_CASE("gossip in any order converges over a third replica, and ends by itself") {
  CHECK(rc::check([](const Steps& steps) {
    Gossip gossip;
    Twin all;
    for (const auto& bytes : steps) {
      const std::size_t self = bytes[0] % 3;
      if (bytes[3] % 2 == 0) {
        gossip.replicas[self].join(entry(bytes).key, entry(bytes).value);
        join_into(all, entry(bytes).key, entry(bytes).value);
      } else {
        gossip.pull(self, bytes[1] % 3, 1 + bytes[2] % 3);
      }
    }
    // 0 and 2 never meet; all is quiet once nobody has news.
    const std::pair<std::size_t, std::size_t> links[] = {{0, 1}, {1, 0}, {1, 2}, {2, 1}};
    std::size_t rounds = 0;
    for (bool news = true; news; ++rounds) {
      news = false;
      for (auto [self, from] : links) news |= gossip.pull(self, from, kAll);
    }
    RC_ASSERT(rounds <= 3u);
    for (const Registry& replica : gossip.replicas) {
      RC_ASSERT(contents(replica) == all);
      RC_ASSERT(replica.digest() == digest_of(all));
    }
    for (auto [self, from] : links) gossip.pull(self, from, kAll);
    for (auto [self, from] : links) {  // what is acknowledged is not sent again
      RC_ASSERT(
          gossip.replicas[from].delta_since(gossip.applied[self][from], kAll).entries.empty());
    }
  }));
}

TEST_CASE("digests of tables are equal exactly when the tables are") {
  CHECK(rc::check([](const Steps& here, const Steps& there) {
    Registry a, b;
    for (const auto& bytes : here) a.join(entry(bytes).key, entry(bytes).value);
    for (const auto& bytes : there) b.join(entry(bytes).key, entry(bytes).value);
    RC_ASSERT((a.digest() == b.digest()) == (contents(a) == contents(b)));
  }));
}

TEST_CASE("a key with the least value of its lattice is held and told all the same") {
  Table<std::pair<std::uint64_t, std::uint64_t>, Max<std::uint32_t>> marks, replica;
  CHECK(marks.join({1, 2}, {0}));
  CHECK_FALSE(marks.join({1, 2}, {0}));
  replica.apply(marks.delta_since({}, kAll), ignore);
  CHECK(replica.find({1, 2}) != nullptr);
  CHECK(replica.digest() == marks.digest());
}

TEST_CASE("replicas that forget by the same rule agree again; a delta no longer tells") {
  using Marks = Table<std::pair<std::uint64_t, std::uint64_t>, Max<std::uint32_t>>;
  CHECK(rc::check([](const Steps& steps) {
    Marks table;
    std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint32_t> kept;
    auto old_bucket = [](const auto& key, const Max<std::uint32_t>&) { return key.first < 2; };
    for (auto [bucket, key, value, unused] : steps) {
      const std::pair<std::uint64_t, std::uint64_t> at{bucket % 4, key % 4};
      table.join(at, {value});
      if (at.first >= 2) kept[at] = std::max<std::uint32_t>(kept[at], value);
    }
    const std::size_t before = table.size();
    RC_ASSERT(table.forget_if(old_bucket) == before - kept.size());
    RC_ASSERT(table.forget_if(old_bucket) == 0u);
    Marks never_had;
    for (const auto& [key, value] : kept) never_had.join(key, {value});
    RC_ASSERT(table.digest() == never_had.digest());
    RC_ASSERT(table.delta_since({}, kAll).entries.size() == kept.size());
    if (table.join({0, 0}, {9})) {  // and it can come back
      RC_ASSERT(table.delta_since({}, kAll).entries.back().key ==
                std::pair(std::uint64_t{0}, std::uint64_t{0}));
    }
  }));
}

TEST_CASE("a member's refutation passes through a table and beats the suspicion everywhere") {
  using Members = Table<NodeId, Member>;
  const NodeId accused = node_id_of("a");
  Members accuser, third, self;
  Member alive{Epoch{5}, 0, MemberStatus::alive, "a", "10.0.0.1:7000", "", ""};
  Member suspected = alive;
  suspected.status = MemberStatus::suspect;
  for (Members* table : {&accuser, &third, &self}) table->join(accused, alive);
  accuser.join(accused, suspected);
  third.apply(accuser.delta_since(Version{1}, kAll), ignore);
  self.apply(third.delta_since(Version{1}, kAll), ignore);
  REQUIRE(self.find(accused)->status == MemberStatus::suspect);

  Member refutation = *self.find(accused);
  ++refutation.refutations;
  refutation.status = MemberStatus::alive;
  self.join(accused, refutation);
  third.apply(self.delta_since({}, kAll), ignore);
  third.apply(accuser.delta_since({}, kAll), ignore);  // the accusation again
  accuser.apply(third.delta_since({}, kAll), ignore);
  CHECK(accuser.find(accused)->status == MemberStatus::alive);
  CHECK(accuser.digest() == self.digest());
  CHECK(third.digest() == self.digest());
}

// Both sides of a partition set the same thing; the first to hear of both must tell both.
TEST_CASE("a value that came together from two halves goes back to who sent one of them") {
  using Settings = Table<std::string, MultiValue<std::string>>;
  const NodeId ours{1}, theirs{2};
  const auto told_to = [](const Settings& table, NodeId peer) {
    return table.delta_since({}, kAll, [peer](NodeId source) { return source != peer; }).entries;
  };
  MultiValue<std::string> left, right;
  left.assign(Stamp{10, ours}, "dualmap");
  right.assign(Stamp{11, theirs}, "round_robin");
  Settings table;
  table.join("policy", left);
  table.join("policy", right, theirs);
  REQUIRE(told_to(table, theirs).size() == 1);
  CHECK(told_to(table, theirs)[0].value.siblings().size() == 2);
  // What came whole from there is not sent back.
  MultiValue<std::string> settled = *table.find("policy");
  settled.assign(Stamp{12, theirs}, "least_loaded");
  table.join("policy", settled, theirs);
  CHECK(told_to(table, theirs).empty());
  CHECK(told_to(table, NodeId{3}).size() == 1);
}

TEST_CASE("settings: concurrent edits at two nodes are seen as a conflict by all") {
  using Settings = Table<std::string, MultiValue<std::string>>;
  Settings a, b;
  MultiValue<std::string> at_a, at_b;
  at_a.assign(Stamp{1, NodeId{1}}, "dualmap");
  at_b.assign(Stamp{2, NodeId{2}}, "round_robin");
  a.join("policy", at_a);
  b.join("policy", at_b);
  const auto from_a = a.delta_since({}, kAll);
  a.apply(b.delta_since({}, kAll), ignore);
  b.apply(from_a, ignore);
  CHECK(a.find("policy")->siblings().size() == 2);
  CHECK(*a.find("policy")->chosen() == "round_robin");
  CHECK(a.digest() == b.digest());
}

}  // namespace
}  // namespace dualmesh::crdt
