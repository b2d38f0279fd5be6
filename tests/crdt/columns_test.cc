#include "crdt/columns.h"

#include <doctest/doctest.h>

#include <map>

#include "crdt/feed.h"
#include "tests/crdt/laws.h"

namespace dualmesh::crdt {
namespace {

using Load = Feed<std::uint64_t, std::uint64_t>;
using LoadColumns = Columns<Load>;

std::uint64_t total(const LoadColumns& columns) {
  std::uint64_t sum = 0;
  for (const auto& [node, column] : columns.all()) {
    column.feed.for_each([&](std::uint64_t, std::uint64_t value) { sum += value; });
  }
  return sum;
}

TEST_CASE("a restarted node's empty epoch replaces its column: old load leaves the sum at once") {
  LoadColumns columns;
  columns.open({NodeId{1}, Epoch{10}})->put(7, 100);
  columns.open({NodeId{2}, Epoch{10}})->put(7, 1);
  REQUIRE(total(columns) == 101);

  Load* restarted = columns.open({NodeId{1}, Epoch{11}});
  REQUIRE(restarted != nullptr);
  CHECK(restarted->version() == Version{});
  CHECK(total(columns) == 1);
}

TEST_CASE("what a dead epoch sent late is ignored") {
  LoadColumns columns;
  columns.open({NodeId{1}, Epoch{11}})->put(7, 5);
  CHECK(columns.open({NodeId{1}, Epoch{10}}) == nullptr);
  CHECK(columns.find(NodeId{1})->epoch == Epoch{11});
  CHECK(total(columns) == 5);
}

TEST_CASE("the same epoch opens the same column again") {
  LoadColumns columns;
  columns.open({NodeId{1}, Epoch{11}})->put(7, 5);
  REQUIRE(columns.open({NodeId{1}, Epoch{11}})->find(7) != nullptr);
  CHECK(*columns.open({NodeId{1}, Epoch{11}})->find(7) == 5);
}

TEST_CASE("dropping a node forgets its column and its epoch") {
  LoadColumns columns;
  columns.open({NodeId{1}, Epoch{11}})->put(7, 5);
  columns.drop(NodeId{1});
  columns.drop(NodeId{2});  // never known: nothing to do
  CHECK(columns.find(NodeId{1}) == nullptr);
  CHECK(total(columns) == 0);
  CHECK(columns.open({NodeId{1}, Epoch{3}}) != nullptr);
}

TEST_CASE("columns equal a map of the highest epochs") {
  CHECK(rc::check([](const Steps& steps) {
    LoadColumns columns;
    std::map<std::uint64_t, std::pair<std::uint64_t, std::map<std::uint64_t, std::uint64_t>>> twin;
    for (auto [kind, node_byte, epoch, value] : steps) {
      const std::uint64_t node = node_byte % 3;
      if (kind % 8 == 0) {
        columns.drop(NodeId{node});
        twin.erase(node);
        continue;
      }
      Load* column = columns.open({NodeId{node}, Epoch{epoch}});
      const auto known = twin.find(node);
      RC_ASSERT((column == nullptr) == (known != twin.end() && epoch < known->second.first));
      if (column == nullptr) continue;
      if (known == twin.end() || known->second.first < epoch) twin[node] = {epoch, {}};
      column->put(kind, value);
      twin[node].second[kind] = value;
    }
    RC_ASSERT(columns.all().size() == twin.size());
    for (const auto& [node, expected] : twin) {
      const LoadColumns::Column* column = columns.find(NodeId{node});
      RC_ASSERT(column != nullptr);
      RC_ASSERT(column->epoch == Epoch{expected.first});
      std::map<std::uint64_t, std::uint64_t> held;
      column->feed.for_each([&](std::uint64_t key, std::uint64_t value) { held[key] = value; });
      RC_ASSERT(held == expected.second);
    }
  }));
}

}  // namespace
}  // namespace dualmesh::crdt
