#include "policies/request_queue.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "policies/order/longest_hit.h"

using namespace dualmesh::policies;
using namespace std::chrono_literals;

TEST_CASE("the longest hit stands first, then the earlier arrival, then the smaller id") {
  const LongestHit longest_hit;
  const Arrival any;
  const auto key = [&](std::uint32_t hit, Time arrived, RequestId id) {
    return QueueKey{longest_hit.rank(any, hit), arrived, id};
  };
  RequestQueue queue;
  queue.push({key(0, 1s, 1), 10});
  queue.push({key(512, 3s, 2), 20});
  queue.push({key(512, 2s, 3), 30});
  queue.push({key(2048, 9s, 4), 40});
  queue.push({key(0, 1s, 0), 50});
  std::vector<RequestId> order;
  for (std::size_t i = 0; i < queue.size(); ++i) order.push_back(queue[i].key.id);
  CHECK(order == std::vector<RequestId>{4, 3, 2, 0, 1});
  CHECK(queue.oldest() == 1s);
  // Somebody with a hit of 1024 would stand behind 4 only; with 512 at 2.5 s between 3 and 2.
  CHECK(queue.tokens_before(key(1024, 8s, 9)) == 40);
  CHECK(queue.tokens_before(key(512, 2500ms, 9)) == 70);
  CHECK(queue.tokens_before(key(0, 8s, 9)) == 150);
}

TEST_CASE("any history leaves what a sorted list would hold") {
  std::mt19937 random(3);
  for (int round = 0; round < 50; ++round) {
    RequestQueue queue;
    std::vector<std::pair<QueueKey, std::uint32_t>> naive;
    for (RequestId id = 0; id < 200; ++id) {
      if (!naive.empty() && random() % 5 < 2) {
        const std::size_t victim = random() % naive.size();
        queue.remove(naive[victim].first);
        naive.erase(naive.begin() + static_cast<std::ptrdiff_t>(victim));
      } else {
        const QueueKey key{random() % 4, Time(random() % 10), id};
        const auto tokens = static_cast<std::uint32_t>(random() % 1000);
        queue.push({key, tokens});
        naive.emplace_back(key, tokens);
        std::sort(naive.begin(), naive.end());
      }
      REQUIRE(queue.size() == naive.size());
      const QueueKey probe{random() % 4, Time(random() % 10), random() % 400};
      std::uint64_t before = 0;
      for (const auto& [key, tokens] : naive) before += key < probe ? tokens : 0;
      CHECK(queue.tokens_before(probe) == before);
      if (naive.empty()) continue;
      CHECK(queue.head().key == naive.front().first);
      const auto oldest =
          std::min_element(naive.begin(), naive.end(), [](const auto& a, const auto& b) {
            return a.first.arrived < b.first.arrived;
          });
      CHECK(queue.oldest() == oldest->first.arrived);
    }
  }
}
