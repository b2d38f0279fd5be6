#include "crdt/state_digest.h"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <map>
#include <string>

namespace dualmesh::crdt {
namespace {

template <class Key, class Value>
std::uint64_t entry_hash(const Key& key, const Value& value) {
  EntryHasher hasher;
  hash_entry(hasher, key, value);
  return hasher.finish();
}

StateDigest digest_of(const std::map<std::uint8_t, std::uint8_t>& state) {
  StateDigest digest;
  for (auto [key, value] : state) digest.add(entry_hash(key, value));
  return digest;
}

TEST_CASE("fields are length-prefixed: the border between two strings counts") {
  using Text = std::string;
  CHECK(entry_hash(Text("a"), Text("bc")) != entry_hash(Text("ab"), Text("c")));
  CHECK(entry_hash(Text(""), Text("a")) != entry_hash(Text("a"), Text("")));
  CHECK(entry_hash(Text(""), Text("")) != entry_hash(Text("\0", 1), Text("")));
}

TEST_CASE("key and value do not commute") {
  CHECK(entry_hash(std::uint64_t{1}, std::uint64_t{2}) !=
        entry_hash(std::uint64_t{2}, std::uint64_t{1}));
}

TEST_CASE("equal doubles hash equally, zero of either sign included") {
  CHECK(entry_hash(1, 0.0) == entry_hash(1, -0.0));
  CHECK(entry_hash(1, 0.5) != entry_hash(1, -0.5));
}

TEST_CASE("numbers hash alike whatever their width, as they compare") {
  CHECK(entry_hash(std::uint8_t{7}, std::uint16_t{9}) == entry_hash(std::uint64_t{7}, 9));
  CHECK(entry_hash(Version{7}, Epoch{9}) == entry_hash(7, 9));
}

TEST_CASE("a pair as key hashes both halves") {
  CHECK(entry_hash(std::pair(1, 2), 0) != entry_hash(std::pair(2, 1), 0));
  CHECK(entry_hash(std::pair(std::string("a"), 1), 0) !=
        entry_hash(std::pair(std::string("a"), 2), 0));
}

TEST_CASE("digests are equal exactly when the states are, in whatever order they were reached") {
  CHECK(rc::check([](const std::map<std::uint8_t, std::uint8_t>& a,
                     const std::map<std::uint8_t, std::uint8_t>& b) {
    RC_ASSERT((digest_of(a) == digest_of(b)) == (a == b));

    // From a to b: b's entries come, newest key first, then a's go.
    StateDigest digest = digest_of(a);
    for (auto entry = b.rbegin(); entry != b.rend(); ++entry) {
      digest.add(entry_hash(entry->first, entry->second));
    }
    for (auto [key, value] : a) digest.remove(entry_hash(key, value));
    RC_ASSERT(digest == digest_of(b));
  }));
}

}  // namespace
}  // namespace dualmesh::crdt
