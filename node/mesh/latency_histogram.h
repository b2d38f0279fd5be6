// LatencyHistogram: durations in logarithmic buckets, for percentiles that never need the samples.
//
// Buckets grow by 2^(1/8), about 9 %, from one microsecond to over an hour; a percentile is the
// upper edge of its bucket, so it errs upwards by at most that.
//
// Threads: none; values.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

namespace dualmesh::node {

class LatencyHistogram {
 public:
  void record(double milliseconds) {
    ++counts_[bucket_of(milliseconds)];
    ++count_;
    sum_ms_ += milliseconds;
    max_ms_ = std::max(max_ms_, milliseconds);
  }

  std::uint64_t count() const { return count_; }
  double sum_ms() const { return sum_ms_; }
  double max_ms() const { return max_ms_; }

  double percentile(double share) const {
    const auto rank = static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(count_)));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < kBuckets; ++i) {
      seen += counts_[i];
      if (seen >= std::max<std::uint64_t>(rank, 1)) return std::min(upper_edge_ms(i), max_ms_);
    }
    return 0.0;
  }

 private:
  static constexpr std::size_t kBuckets = 256;
  static constexpr double kPerDoubling = 8.0;

  static std::size_t bucket_of(double milliseconds) {
    const double microseconds = std::max(milliseconds * 1000.0, 1.0);
    const double index = std::floor(std::log2(microseconds) * kPerDoubling);
    return std::min(static_cast<std::size_t>(index), kBuckets - 1);
  }
  static double upper_edge_ms(std::size_t bucket) {
    return std::exp2((static_cast<double>(bucket) + 1.0) / kPerDoubling) / 1000.0;
  }

  std::array<std::uint32_t, kBuckets> counts_{};
  std::uint64_t count_ = 0;
  double sum_ms_ = 0.0;
  double max_ms_ = 0.0;
};

}  // namespace dualmesh::node
