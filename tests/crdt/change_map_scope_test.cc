// All small histories of a ChangeMap.
#include <doctest/doctest.h>

#include <array>

#include "tests/crdt/change_map_twin.h"
#include "tests/crdt/delivery_orders.h"

namespace dualmesh::crdt {
namespace {

// Every small history: a replica that hears its steps one by one in every order with one doubled
// and one lost, and a replica that hears only the first replica.
bool deliver(const History& history, const std::vector<int>& order) {
  Blocks near, far;
  Mirror mirror;
  for (int index : order) {
    joins(near, heard(history, index, index + 1), mirror);
    joins(far, near, mirror = Mirror{});
    if (!sound(near, history) || !sound(far, history) || far.end() != near.end()) return false;
  }
  const Blocks source = heard(history, 0, history.size());
  return joined(near, source) == source && joined(far, source) == source;
}

TEST_CASE("every small history of a change map under every delivery order is sound and converges") {
  const Batch kinds[] = {{add(1)}, {add(2)}, {remove(1)}, {clear()}};
  std::uint64_t runs = 0;
  for (int code = 0; code < 4 * 4 * 4 * 4; ++code) {
    History history;
    for (int i = 0, rest = code; i < 4; ++i, rest /= 4) history.push_back(kinds[rest % 4]);
    for_each_delivery_order([&](const std::vector<int>& order) {
      ++runs;
      if (!deliver(history, order)) {
        CAPTURE(code);
        CAPTURE(order);
        FAIL("a replica went wrong");
      }
    });
  }
  // Orders: nothing lost, 4 doubles, 5!/2 each; one of 4 lost, 3 doubles, 4!/2.
  CHECK(runs == 256 * (4 * 60 + 4 * 3 * 12));
}

}  // namespace
}  // namespace dualmesh::crdt
