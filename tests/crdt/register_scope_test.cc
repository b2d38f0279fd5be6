// Every small history of a multi-value register on three replicas: four steps, each an edit or an
// exchange, and after them every order in which the states of all moments may reach a reader, with
// one doubled and one lost.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <set>
#include <vector>

#include "crdt/registers.h"
#include "tests/crdt/delivery_orders.h"
#include "tests/crdt/laws.h"

namespace dualmesh::crdt {
namespace {

using Register = MultiValue<int>;

// The naive twin: the edits known, and which of them each edit has overwritten.
struct Twin {
  std::set<int> known, overwritten;

  void join(const Twin& other) {
    known.insert(other.known.begin(), other.known.end());
    overwritten.insert(other.overwritten.begin(), other.overwritten.end());
  }
  std::set<int> visible() const {
    std::set<int> result;
    std::set_difference(known.begin(), known.end(), overwritten.begin(), overwritten.end(),
                        std::inserter(result, result.end()));
    return result;
  }
};

struct Replica {
  Register value;
  Twin twin;

  void join(const Replica& other) {
    value.join(other.value);
    twin.join(other.twin);
  }
  bool truthful() const {
    std::set<int> shown;
    for (const auto& sibling : value.siblings()) shown.insert(sibling.value);
    return shown == twin.visible();
  }
};

struct RegisterScope {
  std::array<Replica, 3> replicas;
  std::vector<Replica> messages;  // the state of the acting replica after each step

  explicit RegisterScope(int code) {
    for (int step = 0; step < 4; ++step, code /= 6) {
      const int self = code % 3;
      Replica& one = replicas[self];
      if (code % 6 >= 3 && !messages.empty()) one.join(messages.back());  // hears of the last
      const int edit = step + 1;
      one.value.assign(Stamp{std::uint64_t(10 + step), NodeId{std::uint64_t(self)}}, edit);
      one.twin.overwritten = one.twin.known;
      one.twin.known.insert(edit);
      messages.push_back(one);
    }
  }
};

TEST_CASE("every small history of a register under every delivery order shows the truth") {
  constexpr int kHistories = 6 * 6 * 6 * 6;
  std::uint64_t runs = 0, wrong = 0;
  for (int code = 0; code < kHistories; ++code) {
    const RegisterScope scope(code);
    Replica all;
    for (const Replica& replica : scope.replicas) all.join(replica);
    wrong += !all.truthful();
    for_each_delivery_order([&](const std::vector<int>& order) {
      ++runs;
      Replica reader;
      for (int index : order) {
        reader.join(scope.messages[index]);
        wrong += !reader.truthful();
      }
      for (const Replica& replica : scope.replicas) reader.join(replica);
      wrong += !(reader.value == all.value);
    });
  }
  CHECK(wrong == 0);
  // Orders: nothing lost, 4 doubles, 5!/2 each; one of 4 lost, 3 doubles, 4!/2.
  CHECK(runs == kHistories * (4 * 60 + 4 * 3 * 12));
}

}  // namespace
}  // namespace dualmesh::crdt
