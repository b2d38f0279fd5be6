// Figures of a comparison: capacities as bars, times to the first token as distributions, hit ratio
// against load spread as points.
//
// Threads: pure.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "node/replay/bench.h"

namespace dualmesh::node {

// File names and SVG documents. `capacity.svg` only if capacities were searched.
std::vector<std::pair<std::string, std::string>> draw_comparison(
    std::span<const BenchResult> results);

}  // namespace dualmesh::node
