// Every small history of a feed under every delivery order with one message doubled and one lost: a
// writer, a replica that hears it badly, and a replica that hears only the first replica.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <tuple>

#include "tests/crdt/feed_twin.h"

namespace dualmesh::crdt {
namespace {

constexpr int kOperations = 4;
constexpr int kKinds = 5;

struct Script {
  TestFeed writer;
  FeedHistory history;
  std::vector<TestFeed::Delta> messages;  // one per operation: what it changed

  // False when the operation changes nothing: a shorter history, which the loss of a message
  // covers.
  bool run(int kind) {
    const Version before = writer.version();
    const Version horizon_before = writer.collected();
    switch (kind) {
      case 0:
        history.put(writer, 1, 1);
        break;
      case 1:
        history.put(writer, 1, 2);
        break;
      case 2:
        history.put(writer, 2, 1);
        break;
      case 3:
        history.erase(writer, 1);
        break;
      case 4:
        writer.collect(writer.version());
        break;
    }
    messages.push_back(writer.delta_since(before, 1));
    return writer.version() != before || writer.collected() != horizon_before;
  }
};

auto observed(const TestFeed& feed) {
  return std::tuple(feed.version(), feed.collected(), feed.size(), feed.digest().sum);
}

// Delivers `order` (indices into the messages), then heals. Empty when every promise was kept.
std::string deliver(const Script& script, const std::vector<int>& order) {
  TestFeed near, far;
  for (int index : order) {
    const auto before = observed(near);
    const Applied outcome = near.apply(script.messages[index]);
    if ((outcome == Applied::changed) != (observed(near) != before)) return "untrue outcome";
    far.apply(near.delta_since(far.version(), 1));
    for (const TestFeed* replica : {&near, &far}) {
      const std::string broken = broken_promise(*replica, script.history);
      if (!broken.empty()) return broken;
    }
  }
  for (int round = 0; round <= kOperations; ++round) {
    near.apply(script.writer.delta_since(near.version(), 1));
    far.apply(near.delta_since(far.version(), 1));
  }
  if (!same_state(near, script.writer)) return "near replica did not converge";
  far.apply(near.delta_since(far.version(), 1));
  if (!same_state(far, script.writer)) return "far replica did not converge";
  return "";
}

std::uint64_t deliver_all_ways(const Script& script) {
  std::uint64_t runs = 0;
  for (int lost = 0; lost <= kOperations; ++lost) {  // kOperations: none
    for (int doubled = 0; doubled < kOperations; ++doubled) {
      if (doubled == lost) continue;
      std::vector<int> order;
      for (int i = 0; i < kOperations; ++i) {
        if (i == lost) continue;
        order.push_back(i);
        if (i == doubled) order.push_back(i);
      }
      do {
        ++runs;
        const std::string broken = deliver(script, order);
        if (!broken.empty()) {
          CAPTURE(order);
          FAIL(broken);
        }
      } while (std::next_permutation(order.begin(), order.end()));
    }
  }
  return runs;
}

TEST_CASE("every small history under every delivery order keeps the promises and converges") {
  std::uint64_t histories = 0;
  std::uint64_t runs = 0;
  for (int code = 0; code < kKinds * kKinds * kKinds * kKinds; ++code) {
    CAPTURE(code);
    Script script;
    bool changing = true;
    for (int i = 0, rest = code; i < kOperations; ++i, rest /= kKinds) {
      changing = script.run(rest % kKinds) && changing;
    }
    if (!changing) continue;
    ++histories;
    runs += deliver_all_ways(script);
  }
  // By hand, counting paths through the states of key 1 (absent, deleted, either value) and key 2
  // (absent, present). Orders: nothing lost, 4 doubles, 5!/2 each; one of 4 lost, 3 doubles, 4!/2.
  CHECK(histories == 62);
  CHECK(runs == histories * (4 * 60 + 4 * 3 * 12));
}

}  // namespace
}  // namespace dualmesh::crdt
