// WindowCounts: how often each of a few things happened in about the last while, in buckets of
// time.
//
// A bucket covers a tenth of the window, so what is asked for is the sum over the last nine to ten
// tenths. A time earlier than one seen before counts as that one: clocks are read before locks are
// taken.
//
// Invariant: a sum is never more than what was added within the window.
// Cost: add O(1), sum O(10); no allocation. Threads: none.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "policies/time.h"

namespace dualmesh::policies {

template <std::size_t Kinds>
class WindowCounts {
 public:
  static constexpr std::int64_t kBuckets = 10;
  using Counts = std::array<std::uint64_t, Kinds>;

  explicit WindowCounts(Duration window)
      : width_ns_(std::max<std::int64_t>(window.count() / kBuckets, 1)) {}

  void add(std::size_t kind, Time now) {
    latest_ = std::max(latest_, now.count() / width_ns_);
    Bucket& bucket = buckets_[static_cast<std::size_t>(latest_ % kBuckets)];
    if (bucket.number != latest_) bucket = {latest_, {}};
    ++bucket.counts[kind];
  }

  Counts sums(Time now) const {
    const std::int64_t last = std::max(latest_, now.count() / width_ns_);
    Counts total{};
    for (const Bucket& bucket : buckets_) {
      if (bucket.number <= last - kBuckets) continue;
      for (std::size_t kind = 0; kind < Kinds; ++kind) total[kind] += bucket.counts[kind];
    }
    return total;
  }

  void clear() { buckets_ = {}; }

 private:
  struct Bucket {
    std::int64_t number = -kBuckets - 1;
    Counts counts{};
  };

  std::int64_t width_ns_;
  std::int64_t latest_ = 0;  // number of the newest bucket written to
  std::array<Bucket, kBuckets> buckets_;
};

}  // namespace dualmesh::policies
