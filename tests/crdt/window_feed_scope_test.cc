// Every small history of a window feed under every delivery order with one message doubled and one
// lost: a writer, a replica that hears it badly, and a replica that hears only the first replica.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "crdt/window_feed.h"

namespace dualmesh::crdt {
namespace {

using Blocks = WindowFeed<std::uint64_t>;

constexpr int kOperations = 4;
constexpr int kKinds = 4;

struct Replica {
  Blocks window;
  std::set<std::uint64_t> told;  // by its callbacks

  Applied apply(const Blocks::Delta& delta) {
    return window.apply(
        delta, [this](std::uint64_t key) { told.insert(key); },
        [this](std::uint64_t key) { told.erase(key); });
  }
};

struct Script {
  Blocks writer;
  std::vector<std::uint64_t> touches;   // touch i has version i + 1: the naive twin
  std::vector<Blocks::Delta> messages;  // one per operation: what it changed

  explicit Script(int code) {
    for (int i = 0; i < kOperations; ++i, code /= kKinds) {
      const Version before = writer.version();
      const int kind = code % kKinds;
      if (kind < 2) {
        touches.push_back(static_cast<std::uint64_t>(kind));
        writer.touch(touches.back());
      } else {  // the oldest touch, or all
        writer.expire(kind == 2 ? writer.floor().next() : writer.version());
      }
      messages.push_back(writer.delta_since(before, 1));
    }
  }
  // Whatever was last touched in (floor, version].
  std::map<std::uint64_t, std::uint64_t> held(Version floor, Version version) const {
    std::map<std::uint64_t, std::uint64_t> result;
    for (std::uint64_t at = 1; at <= version.value; ++at) result[touches[at - 1]] = at;
    std::erase_if(result, [&](const auto& entry) { return entry.second <= floor.value; });
    return result;
  }
};

bool truthful(const Replica& replica, const Script& script) {
  std::map<std::uint64_t, std::uint64_t> shown;
  std::set<std::uint64_t> keys;
  replica.window.for_each([&](std::uint64_t key, Version version) {
    shown[key] = version.value;
    keys.insert(key);
  });
  return keys == replica.told &&
         shown == script.held(replica.window.floor(), replica.window.version());
}

bool same(const Blocks& a, const Blocks& b) {
  return a.version() == b.version() && a.floor() == b.floor() && a.digest() == b.digest() &&
         a.bucket_sums() == b.bucket_sums();
}

bool deliver(const Script& script, const std::vector<int>& order) {
  Replica near, far;
  for (int index : order) {
    const Blocks before = near.window;
    const Applied outcome = near.apply(script.messages[static_cast<std::size_t>(index)]);
    if ((outcome == Applied::changed) == same(near.window, before)) return false;
    far.apply(near.window.delta_since(far.window.version(), 1));
    if (!truthful(near, script) || !truthful(far, script)) return false;
  }
  for (int round = 0; round <= kOperations; ++round) {
    near.apply(script.writer.delta_since(near.window.version(), 1));
    far.apply(near.window.delta_since(far.window.version(), 1));
  }
  return same(near.window, script.writer) && same(far.window, script.writer) &&
         truthful(far, script);
}

TEST_CASE("every small history of a window feed under every delivery order is true and converges") {
  constexpr int kHistories = kKinds * kKinds * kKinds * kKinds;
  std::uint64_t runs = 0;
  for (int code = 0; code < kHistories; ++code) {
    const Script script(code);
    for (int lost = 0; lost <= kOperations; ++lost) {  // kOperations: none
      for (int doubled = 0; doubled < kOperations; ++doubled) {
        if (doubled == lost) continue;
        std::vector<int> order;
        for (int i = 0; i < kOperations; ++i) {
          if (i != lost) order.insert(order.end(), i == doubled ? 2 : 1, i);
        }
        do {
          ++runs;
          if (!deliver(script, order)) {
            CAPTURE(code);
            CAPTURE(order);
            FAIL("a replica went wrong");
          }
        } while (std::next_permutation(order.begin(), order.end()));
      }
    }
  }
  // Orders: nothing lost, 4 doubles, 5!/2 each; one of 4 lost, 3 doubles, 4!/2.
  CHECK(runs == kHistories * (4 * 60 + 4 * 3 * 12));
}

}  // namespace
}  // namespace dualmesh::crdt
