// BucketedMax: for every key the greatest value of late, agreed by all, without tombstones.
//
// State: (time bucket, key) -> greatest value. A value counts in its bucket and the following one
// and is then gone everywhere: numbers that may only rise within a bucket fall again by forgetting
// old buckets. BucketWindow is the rule of what counts, for other states in buckets as well.
//
// Invariant: within the window, merging in any order with repeats reaches the same state; what lies
// outside of it is neither taken in nor read, so replicas whose clocks differ by less than a bucket
// agree on all that they read. Merge: per (bucket, key) the maximum. Rows too far ahead are refused
// and counted apart from those that expired on their way: the former show a wrong clock, and would
// stay for ever. Cost: raise O(log n), best O(log n) per bucket, expire O(n); memory an entry per
// key and bucket of the window. The holder bounds the keys it takes in. Threads: none; time is an
// argument. Source: the max-register of Shapiro et al. 2011 under a sliding window.
#pragma once

#include <algorithm>
#include <boost/assert.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "crdt/registers.h"
#include "crdt/table.h"

namespace dualmesh::crdt {

enum class BucketAge : std::uint8_t { current, expired, too_early };

struct BucketWindow {
  std::uint64_t back = 1;   // accepted are buckets now - back ...
  std::uint64_t ahead = 1;  // ... to now + ahead

  BucketAge age_of(std::uint64_t bucket, std::uint64_t now) const {
    if (bucket > now) return bucket - now > ahead ? BucketAge::too_early : BucketAge::current;
    return now - bucket > back ? BucketAge::expired : BucketAge::current;
  }
};

// What became of the rows of a delta.
struct BucketedOutcome {
  std::size_t grown = 0;
  std::size_t expired = 0;
  std::size_t too_early = 0;
};

namespace detail {

// Joins the rows of a delta whose `key.bucket` is within the window.
template <class Rows, class OnGrown>
BucketedOutcome apply_within(BucketWindow window, std::uint64_t now, Rows& rows,
                             const typename Rows::Delta& delta, OnGrown&& on_grown) {
  BucketedOutcome outcome;
  for (const auto& entry : delta.entries) {
    const BucketAge age = window.age_of(entry.key.bucket, now);
    outcome.expired += age == BucketAge::expired;
    outcome.too_early += age == BucketAge::too_early;
    if (age != BucketAge::current || !rows.join(entry.key, entry.value)) continue;
    ++outcome.grown;
    on_grown(entry.key, *rows.find(entry.key));
  }
  return outcome;
}

template <class Rows>
std::size_t expire_outside(BucketWindow window, std::uint64_t now, Rows& rows) {
  return rows.forget_if([&](const auto& key, const auto&) {
    return window.age_of(key.bucket, now) != BucketAge::current;
  });
}

}  // namespace detail

template <class Key>
struct BucketKey {
  std::uint64_t bucket = 0;  // wall time / length of a bucket
  Key key{};
  auto operator<=>(const BucketKey&) const = default;
};

template <class Key>
void hash_field(EntryHasher& hasher, const BucketKey<Key>& key) {
  hasher.add(key.bucket);
  hash_field(hasher, key.key);
}

template <class Key, class Value>
class BucketedMax {
 public:
  static constexpr BucketWindow kWindow{1, 1};
  using Rows = Table<BucketKey<Key>, Max<Value>>;
  using Delta = typename Rows::Delta;

  // In the current bucket. True when it grew.
  bool raise(const Key& key, const Value& value, std::uint64_t now) {
    return rows_.join({now, key}, {value});
  }
  // The greatest of the current bucket and the one before; empty when neither has the key.
  std::optional<Value> best(const Key& key, std::uint64_t now) const {
    std::optional<Value> best;
    for (const std::uint64_t bucket : {now, now - 1}) {
      if (bucket > now) continue;  // before the first
      const Max<Value>* held = rows_.find({bucket, key});
      if (held != nullptr && (!best || *best < held->value)) best = held->value;
    }
    return best;
  }
  // Joins what lies within the window; on_grown(bucket_key, max) for each row that grew.
  template <class OnGrown>
  BucketedOutcome apply(const Delta& delta, std::uint64_t now, OnGrown&& on_grown) {
    return detail::apply_within(kWindow, now, rows_, delta, on_grown);
  }
  // Forgets what lies outside of the window, on either side: a clock may have been set back.
  std::size_t expire(std::uint64_t now) { return detail::expire_outside(kWindow, now, rows_); }

  Delta delta_since(Version from, std::size_t max_entries) const {
    return rows_.delta_since(from, max_entries);
  }
  const Rows& rows() const { return rows_; }

 private:
  Rows rows_;
};

}  // namespace dualmesh::crdt
