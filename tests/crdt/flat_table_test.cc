#include "crdt/flat_table.h"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <map>

#include "tests/crdt/laws.h"

namespace dualmesh::crdt {
namespace {

struct Copies {
  std::uint32_t count = 0;
  bool vacant() const { return count == 0; }
};
using Table = FlatTable<std::uint64_t, Copies>;
using Twin = std::map<std::uint64_t, std::uint32_t>;

Twin contents(const Table& table) {
  Twin result;
  table.for_each([&](std::uint64_t key, const Copies& copies) { result[key] = copies.count; });
  return result;
}

// Keys which the multiplication sends to a few homes, so that runs are long and wrap around.
std::uint64_t crowded(std::uint8_t byte) {
  constexpr std::uint64_t kInverse = 0xf1de83e19937733dULL;  // of the multiplier
  const std::uint64_t place = byte % 4 == 0 ? 0 : 0xffffffff00000000ULL;
  return (place + byte) * kInverse;
}

TEST_CASE("the crowding keys of these tests do crowd") {
  CHECK(crowded(9) * 0x9e3779b97f4a7c15ULL / (1ULL << 32) == 0xffffffffu);
}

TEST_CASE("a flat table equals a map, whatever is changed in it") {
  CHECK(rc::check([](const Steps& steps, bool crowd) {
    Table table;
    Twin twin;
    for (const auto& bytes : steps) {
      const std::uint64_t key = crowd ? crowded(bytes[0]) : bytes[0];
      const std::uint32_t count = bytes[1] % 3;
      table.prefetch(key);
      table.update(key, [&](Copies& copies) {
        RC_ASSERT(copies.count == (twin.contains(key) ? twin[key] : 0));
        copies.count = count;
      });
      twin[key] = count;
      std::erase_if(twin, [](const auto& entry) { return entry.second == 0; });
      RC_ASSERT(table.size() == twin.size());
      RC_ASSERT((table.find(key) != nullptr) == twin.contains(key));
    }
    RC_ASSERT(contents(table) == twin);
    for (int byte = 0; byte < 256; ++byte) {
      const std::uint64_t key = crowd ? crowded(byte) : byte;
      const Copies* const found = table.find(key);
      RC_ASSERT((found != nullptr) == twin.contains(key));
      if (found != nullptr) RC_ASSERT(found->count == twin[key]);
    }
    table.update_all([](std::uint64_t, Copies& copies) { --copies.count; });
    for (auto& [key, count] : twin) --count;
    std::erase_if(twin, [](const auto& entry) { return entry.second == 0; });
    RC_ASSERT(contents(table) == twin);
    RC_ASSERT(table.size() == twin.size());
  }));
}

TEST_CASE("a flat table grows with what it holds and keeps it") {
  Table table;
  const std::uint64_t entries = 100'000;
  for (std::uint64_t key = 0; key < entries; ++key) table.insert(key * key + key, Copies{1});
  CHECK(table.size() == entries);
  CHECK(table.memory_bytes() >= entries * sizeof(Table::Entry) * 6 / 5);
  CHECK(table.memory_bytes() <= entries * sizeof(Table::Entry) * 2);
  std::size_t found = 0;
  for (std::uint64_t key = 0; key < entries; ++key) found += table.find(key * key + key) != nullptr;
  CHECK(found == entries);

  Table reserved;
  reserved.reserve(entries);
  const std::size_t memory = reserved.memory_bytes();
  for (std::uint64_t key = 0; key < entries; ++key) reserved.insert(key, Copies{1});
  CHECK(reserved.memory_bytes() == memory);
  reserved.clear();
  CHECK(reserved.size() == 0);
  CHECK(reserved.find(1) == nullptr);
}

TEST_CASE("more entries of one home and class than its group can count are all found") {
  constexpr std::uint64_t kInverse = 0xf1de83e19937733dULL;  // of the multiplier
  constexpr std::uint64_t kEntries = 56 + 256 + 100;
  const auto key = [](std::uint64_t order) { return order * kInverse; };
  REQUIRE(table_order(key(kEntries)) == kEntries);
  Table table;
  table.reserve(2 * kEntries);
  const auto found = [&](std::uint64_t from, std::uint64_t to) {
    for (; from < to && table.find(key(from)) != nullptr;) ++from;
    return from == to;
  };
  for (std::uint64_t order = 0; order < kEntries; ++order) {
    table.insert(key(order), Copies{1});
    REQUIRE(found(0, order + 1));
  }
  for (std::uint64_t order = 56; order < kEntries; ++order) {
    table.update(key(order), [](Copies& copies) { copies.count = 0; });
    REQUIRE(found(order + 1, kEntries));
    REQUIRE(table.find(key(order)) == nullptr);
  }
  CHECK(found(0, 56));
  CHECK(table.size() == 56);
}

TEST_CASE("of each entry is said that its visit comes soon, once and before") {
  Table table;
  for (std::uint64_t key = 1; key <= 1'000; ++key) table.insert(key * key, Copies{1});
  std::map<std::uint64_t, int> announced;
  std::size_t visited = 0, most_ahead = 0;
  table.for_each(
      [&](std::uint64_t key, const Copies&) {
        CHECK(announced[key] == 1);
        ++visited;
      },
      [&](std::uint64_t key, const Copies&) {
        ++announced[key];
        most_ahead = std::max(most_ahead, announced.size() - visited);
      });
  CHECK(visited == table.size());
  CHECK(announced.size() == table.size());
  CHECK(most_ahead <= 2 * 56);  // a group, and the one before it
}

}  // namespace
}  // namespace dualmesh::crdt
