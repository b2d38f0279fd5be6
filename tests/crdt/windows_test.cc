// The states in time windows: BucketedMax and WindowCounter against naive twins that remember
// everything.
#include <doctest/doctest.h>

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "crdt/bucketed_max.h"
#include "crdt/window_counter.h"
#include "tests/crdt/laws.h"
#include "tests/crdt/whole_deltas.h"

namespace dualmesh::crdt {
namespace {

using Depths = BucketedMax<std::uint64_t, std::uint32_t>;

template <class State>
auto rows(const State& state) {
  std::map<decltype(state.delta_since({}, 1).entries[0].key), std::uint64_t> found;
  state.rows().for_each([&](const auto& key, const auto& max) { found[key] = max.value; });
  return found;
}

TEST_CASE("the window: buckets at its edges count, those beyond have a name each") {
  const BucketWindow window{2, 1};
  CHECK(window.age_of(10, 10) == BucketAge::current);
  CHECK(window.age_of(8, 10) == BucketAge::current);
  CHECK(window.age_of(7, 10) == BucketAge::expired);
  CHECK(window.age_of(11, 10) == BucketAge::current);
  CHECK(window.age_of(12, 10) == BucketAge::too_early);
  CHECK(window.age_of(0, 1) == BucketAge::current);
  CHECK(window.age_of(~std::uint64_t{0}, 0) == BucketAge::too_early);
  CHECK(window.age_of(0, ~std::uint64_t{0}) == BucketAge::expired);
}

TEST_CASE("BucketedMax: three replicas under any exchange hold what the naive twin holds") {
  CHECK(rc::check([](const Steps& steps) {
    std::array<Depths, 3> replicas;
    std::array<std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint32_t>, 3> twins;
    std::uint64_t now = 5;
    for (const auto& bytes : steps) {
      const std::size_t one = bytes[0] % 3, other = bytes[2] % 3;
      now += bytes[1] % 16 == 0;
      if (bytes[1] % 2 == 0) {
        const std::uint64_t key = bytes[2] % 4;
        const std::uint32_t value = bytes[3] % 8;
        auto& held = twins[one].try_emplace({now, key}, value).first->second;
        held = std::max(held, value);
        replicas[one].raise(key, value, now);
      } else {
        replicas[one].apply(replicas[other].delta_since({}, kAll), now, ignore);
        for (const auto& [at, value] : twins[other]) {
          if (at.first + 1 < now) continue;
          auto& held = twins[one].try_emplace(at, value).first->second;
          held = std::max(held, value);
        }
      }
      for (std::uint64_t key = 0; key < 4; ++key) {
        std::optional<std::uint32_t> expected;
        for (const auto& [at, value] : twins[one]) {
          if (at.second == key && at.first + 1 >= now) expected = std::max(expected, {value});
        }
        RC_ASSERT(replicas[one].best(key, now) == expected);
      }
    }
    // One more exchange in both directions, by deltas of one row; then expiry: all alike.
    for (int round = 0; round < 2; ++round) {
      for (Depths& to : replicas) {
        for (const Depths& from : replicas) {
          for (Version at; at < from.rows().version();) {
            const Depths::Delta delta = from.delta_since(at, 1);
            to.apply(delta, now, ignore);
            at = delta.to;
          }
        }
      }
    }
    for (Depths& replica : replicas) replica.expire(now);
    for (const Depths& replica : replicas) {
      RC_ASSERT(rows(replica) == rows(replicas[0]));
      RC_ASSERT(replica.rows().digest() == replicas[0].rows().digest());
    }
  }));
}

TEST_CASE("BucketedMax: rows outside of the window are counted by reason and change nothing") {
  Depths ahead, replica;
  ahead.raise(1, 3, 20);
  ahead.raise(1, 2, 17);
  ahead.raise(1, 1, 18);
  const BucketedOutcome outcome = replica.apply(ahead.delta_since({}, kAll), 18, ignore);
  CHECK(outcome.grown == 2);
  CHECK(outcome.too_early == 1);
  CHECK(outcome.expired == 0);
  CHECK(replica.best(1, 18) == 2u);
  CHECK(replica.apply(ahead.delta_since({}, kAll), 23, ignore).expired == 3);
  CHECK(replica.rows().size() == 2);
  CHECK(replica.apply(ahead.delta_since({}, kAll), 18, ignore).grown == 0);  // nothing new
}

TEST_CASE("BucketedMax: values fall again, and a clock set back lets go of what it marked ahead") {
  Depths depths;
  depths.raise(1, 7, 10);
  depths.raise(1, 2, 11);
  CHECK(depths.best(1, 11) == 7u);
  CHECK(depths.best(1, 12) == 2u);
  CHECK_FALSE(depths.best(1, 13).has_value());
  CHECK_FALSE(depths.best(1, 9).has_value());  // not yet
  CHECK(depths.expire(5) == 2);
  depths.raise(2, 1, 0);
  CHECK(depths.best(2, 0) == 1u);  // the first bucket has none before it
}

constexpr LimitId kLimit{7}, kOther{8};

Origin origin(std::uint64_t node, std::uint64_t epoch = 1) {
  return Origin{NodeId{node}, Epoch{epoch}};
}

TEST_CASE("WindowCounter: any exchange counts every admission once, as the naive twin does") {
  CHECK(rc::check([](const Steps& steps) {
    std::array<WindowCounter, 3> replicas{WindowCounter(origin(0)), WindowCounter(origin(1)),
                                          WindowCounter(origin(2))};
    std::map<std::pair<std::uint64_t, LimitId>, std::uint64_t> twin;  // all admissions
    std::uint64_t now = 5;
    for (const auto& bytes : steps) {
      const std::size_t one = bytes[0] % 3, other = bytes[2] % 3;
      now += bytes[1] % 16 == 0;
      if (bytes[1] % 2 == 0) {
        const LimitId limit = bytes[2] % 2 == 0 ? kLimit : kOther;
        replicas[one].add(limit, bytes[3], now);
        twin[{now, limit}] += bytes[3];
      } else {
        replicas[one].apply(replicas[other].delta_since({}, kAll), now, ignore);
      }
      for (std::uint64_t window = now - 2; window <= now; ++window) {
        RC_ASSERT(replicas[one].sum(kLimit, window) <= twin[std::pair(window, kLimit)]);
      }
    }
    for (int round = 0; round < 2; ++round) {
      for (WindowCounter& to : replicas) {
        for (const WindowCounter& from : replicas) {
          to.apply(from.delta_since({}, kAll), now, ignore);
        }
      }
    }
    for (WindowCounter& replica : replicas) {
      replica.expire(now);
      for (std::uint64_t window = now - 1; window <= now; ++window) {
        for (const LimitId limit : {kLimit, kOther}) {
          RC_ASSERT(replica.sum(limit, window) == twin[std::pair(window, limit)]);
        }
      }
      RC_ASSERT(rows(replica) == rows(replicas[0]));
      RC_ASSERT(replica.rows().digest() == replicas[0].rows().digest());
    }
  }));
}

TEST_CASE("WindowCounter: the sliding sum weighs the window before, rounded up") {
  WindowCounter counter(origin(1));
  counter.add(kLimit, 100, 9);
  counter.add(kLimit, 10, 10);
  counter.add(kOther, 1'000, 10);
  CHECK(counter.sliding_sum(kLimit, 10, 0, 1'000) == 110);
  CHECK(counter.sliding_sum(kLimit, 10, 250, 1'000) == 85);
  CHECK(counter.sliding_sum(kLimit, 10, 999, 1'000) == 11);  // 0.1 of the old
  CHECK(counter.sliding_sum(kLimit, 10, 1'000, 1'000) == 10);
  CHECK(counter.sliding_sum(kLimit, 11, 0, 1'000) == 10);
  CHECK(counter.sliding_sum(kLimit, 12, 0, 1'000) == 0);
  CHECK(counter.sliding_sum(kLimit, 0, 0, 1'000) == 0);
}

TEST_CASE("WindowCounter: own cells are not taken from others, those of an earlier life are") {
  WindowCounter before(origin(1, 1)), after(origin(1, 2)), peer(origin(2));
  before.add(kLimit, 5, 10);
  peer.apply(before.delta_since({}, kAll), 10, ignore);
  after.apply(peer.delta_since({}, kAll), 10, ignore);
  CHECK(after.sum(kLimit, 10) == 5);

  WindowCounter::Delta forged = before.delta_since({}, kAll);
  forged.entries[0].value.value = 1'000;
  CHECK(before.apply(forged, 10, ignore).grown == 0);
  CHECK(before.sum(kLimit, 10) == 5);
}

TEST_CASE("WindowCounter: accepted are now - 2 to now + 1; sums stay at the greatest number") {
  WindowCounter writer(origin(1)), reader(origin(2));
  for (std::uint64_t window = 10; window <= 15; ++window) writer.add(kLimit, 1, window);
  const BucketedOutcome outcome = reader.apply(writer.delta_since({}, kAll), 13, ignore);
  CHECK(outcome.grown == 4);
  CHECK(outcome.expired == 1);
  CHECK(outcome.too_early == 1);
  writer.add(kLimit, ~std::uint64_t{0}, 15);
  reader.add(kLimit, 5, 15);
  reader.apply(writer.delta_since({}, kAll), 15, ignore);
  CHECK(reader.sum(kLimit, 15) == ~std::uint64_t{0});
}

}  // namespace
}  // namespace dualmesh::crdt
