// Histogram: counts of values by upper bound, as Prometheus exposes them.
//
// Threads: none; a value.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace dualmesh::node {

class Histogram {
 public:
  explicit Histogram(std::span<const double> bounds)
      : bounds_(bounds.begin(), bounds.end()), counts_(bounds.size() + 1) {}

  void observe(double value) {
    const auto at = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
    ++counts_[static_cast<std::size_t>(at)];
    ++count_;
    sum_ += value;
  }
  // Of another with the same bounds.
  Histogram& operator+=(const Histogram& more) {
    for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += more.counts_[i];
    count_ += more.count_;
    sum_ += more.sum_;
    return *this;
  }
  // The upper bound of the bucket in which the quantile lies; 0 when empty.
  double quantile_at_most(double quantile) const {
    std::uint64_t below = 0;
    for (std::size_t i = 0; i < bounds_.size(); ++i) {
      below += counts_[i];
      if (below > 0 && static_cast<double>(below) >= quantile * static_cast<double>(count_)) {
        return bounds_[i];
      }
    }
    return count_ == 0 ? 0.0 : bounds_.back();
  }

  const std::vector<double>& bounds() const { return bounds_; }
  const std::vector<std::uint64_t>& counts() const { return counts_; }  // one more than bounds
  std::uint64_t count() const { return count_; }
  double sum() const { return sum_; }

 private:
  std::vector<double> bounds_;
  std::vector<std::uint64_t> counts_;
  std::uint64_t count_ = 0;
  double sum_ = 0.0;
};

}  // namespace dualmesh::node
