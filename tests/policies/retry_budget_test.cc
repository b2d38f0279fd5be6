// Counts in a window and the budget of retries against naive twins, and the pauses between retries.
#include "policies/retry_budget.h"

#include <doctest/doctest.h>

#include <deque>
#include <random>
#include <utility>

using namespace dualmesh::policies;
using namespace std::chrono_literals;

namespace {

// Every event with its time.
struct Twin {
  std::deque<std::pair<Time, std::size_t>> events;

  std::uint64_t within(std::size_t kind, Time after, Time to) const {
    std::uint64_t sum = 0;
    for (const auto& [at, what] : events) sum += what == kind && at > after && at <= to;
    return sum;
  }
};

}  // namespace

TEST_CASE("window counts: between nine and ten tenths of the window, and never more") {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    WindowCounts<2> counts(1s);
    Twin twin;
    Time now = 100s;
    for (int i = 0; i < 2'000; ++i) {
      now += std::chrono::microseconds(random() % (random() % 50 == 0 ? 700'000 : 9'000));
      const std::size_t kind = random() % 2;
      counts.add(kind, now);
      twin.events.emplace_back(now, kind);
      const Time asked = now + std::chrono::milliseconds(random() % 300);
      for (const std::size_t each : {0U, 1U}) {
        const std::uint64_t sum = counts.sums(asked)[each];
        CHECK(sum <= twin.within(each, asked - 1s, asked));
        CHECK(sum >= twin.within(each, asked - 900ms, asked));
      }
    }
    CHECK(counts.sums(now + 1s) == WindowCounts<2>::Counts{});
  }
}

TEST_CASE("window counts: an earlier time counts as the latest, and clear forgets") {
  WindowCounts<1> counts(1s);
  counts.add(0, 10s);
  counts.add(0, 5s);
  CHECK(counts.sums(3s)[0] == 2);
  CHECK(counts.sums(10s + 899ms)[0] == 2);
  counts.clear();
  CHECK(counts.sums(10s)[0] == 0);
}

TEST_CASE("retry budget: never more than its share of the window, and never less than it must") {
  for (unsigned seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    RetryBudgetSettings settings;
    settings.share = 0.1 * static_cast<double>(random() % 6);
    settings.free_retries = random() % 12;
    settings.window = 2s;
    RetryBudget budget(settings);
    Twin twin;
    Time now = 50s;
    const auto allowed = [&](Duration window) {
      return std::max(static_cast<double>(settings.free_retries),
                      settings.share * static_cast<double>(twin.within(0, now - window, now)));
    };
    for (int i = 0; i < 3'000; ++i) {
      now += std::chrono::microseconds(random() % (1 + 20'000U * (seed % 3)));
      if (random() % 2 == 0) {
        budget.request(now);
        twin.events.emplace_back(now, 0);
        continue;
      }
      const bool granted = budget.take(now);
      if (granted) twin.events.emplace_back(now, 1);
      const double out_of_ten = static_cast<double>(twin.within(1, now - 1'800ms, now));
      // At the edges of a bucket the twin sees up to a tenth more or less of either.
      if (granted) CHECK(out_of_ten <= allowed(2s));
      if (!granted) {
        const double all = static_cast<double>(twin.within(1, now - 2s, now));
        CHECK(all + 1 > allowed(1'800ms));
      }
    }
  }
}

TEST_CASE("retry budget: a fleet that fails every attempt gets a fifth more, not a multiple") {
  RetryBudget budget({.share = 0.2, .free_retries = 10, .window = 10s});
  int retries = 0;
  Time now = 1s;
  for (int i = 0; i < 10'000; ++i) {
    now += 1ms;
    budget.request(now);
    for (int attempt = 0; attempt < 2; ++attempt) retries += budget.take(now);
  }
  CHECK(retries <= 2'000);
  CHECK(retries >= 1'800);
}

TEST_CASE("retry budget: without traffic only what is free, and that again in the next window") {
  RetryBudget budget({.share = 0.2, .free_retries = 3, .window = 10s});
  int granted = 0;
  for (int i = 0; i < 10; ++i) granted += budget.take(1s);
  CHECK(granted == 3);
  CHECK(!budget.take(9s));
  CHECK(budget.take(12s));

  RetryBudget none({.share = 0.0, .free_retries = 0});
  none.request(1s);
  CHECK(!none.take(1s));
}

TEST_CASE("retry pauses: part of a bound that doubles up to the most") {
  CHECK(retry_pause(1, 20ms, 1s, 0.0) == 0ms);
  CHECK(retry_pause(1, 20ms, 1s, 0.5) == 10ms);
  CHECK(retry_pause(2, 20ms, 1s, 0.5) == 20ms);
  CHECK(retry_pause(3, 20ms, 1s, 0.5) == 40ms);
  CHECK(retry_pause(4'000'000'000U, 20ms, 1s, 0.5) == 500ms);
  CHECK(retry_pause(1, 20ms, 10ms, 0.5) == 5ms);
  CHECK(retry_pause(7, 0ms, 1s, 0.9) == 0ms);
}
