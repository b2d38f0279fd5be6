// The arithmetic of reports: percentiles, spread, histograms read from metrics.
//
// A percentile is the smallest value with at least that share of the samples at or below it
// (nearest rank), so it is always a value that occurred; infinite samples (failed requests) sort
// last.
//
// Threads: pure functions.
#pragma once

#include <map>
#include <span>
#include <vector>

namespace dualmesh::node {

// `sorted` ascending; percent in [0, 100]. NaN when empty.
double percentile(std::span<const double> sorted, double percent);
double mean(std::span<const double> values);  // NaN when empty
// Standard deviation over mean, of the population; NaN when empty or all zero.
double coefficient_of_variation(std::span<const double> values);

// Upper bound -> samples at or below it, as Prometheus exposes histograms.
using Buckets = std::map<double, double>;
Buckets subtract(const Buckets& after, const Buckets& before);
void add(Buckets& sum, const Buckets& more);
// Linear within the bucket, the lower bound of the first being 0; the last finite bound when the
// quantile lies beyond it. NaN when there are no samples. quantile in [0, 1].
double histogram_quantile(const Buckets& buckets, double quantile);

}  // namespace dualmesh::node
