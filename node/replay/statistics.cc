#include "node/replay/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace dualmesh::node {

namespace {
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
}

double percentile(std::span<const double> sorted, double percent) {
  if (sorted.empty()) return kNaN;
  const double rank = std::ceil(percent / 100.0 * static_cast<double>(sorted.size()));
  const std::size_t at = static_cast<std::size_t>(std::max(rank, 1.0)) - 1;
  return sorted[std::min(at, sorted.size() - 1)];
}

double mean(std::span<const double> values) {
  if (values.empty()) return kNaN;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double coefficient_of_variation(std::span<const double> values) {
  const double average = mean(values);
  if (!(average > 0.0)) return kNaN;
  double squares = 0.0;
  for (double value : values) squares += (value - average) * (value - average);
  return std::sqrt(squares / static_cast<double>(values.size())) / average;
}

Buckets subtract(const Buckets& after, const Buckets& before) {
  Buckets result = after;
  for (auto& [bound, count] : result) {
    if (auto at = before.find(bound); at != before.end()) count -= at->second;
  }
  return result;
}

void add(Buckets& sum, const Buckets& more) {
  for (const auto& [bound, count] : more) sum[bound] += count;
}

double histogram_quantile(const Buckets& buckets, double quantile) {
  if (buckets.empty() || !(buckets.rbegin()->second > 0.0)) return kNaN;
  const double wanted = quantile * buckets.rbegin()->second;
  double lower = 0.0;
  double below = 0.0;
  for (const auto& [bound, count] : buckets) {
    if (count >= wanted && count > below) {
      if (std::isinf(bound)) return lower;
      return lower + (bound - lower) * std::max(0.0, wanted - below) / (count - below);
    }
    lower = std::isinf(bound) ? lower : bound;
    below = count;
  }
  return lower;
}

}  // namespace dualmesh::node
