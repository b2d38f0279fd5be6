// Scales of values as places on the page, and their ticks.
//
// Threads: values.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>

namespace dualmesh::node {

struct Scale {  // of values, over the height of a panel
  double low = 0.0;
  double high = 1.0;
  bool logarithmic = false;
  double top = 0.0;
  double height = 0.0;
  double bottom() const { return top + height; }
  double y(double value) const {
    const auto at = [this](double v) { return logarithmic ? std::log10(std::max(v, low)) : v; };
    const double share = (at(value) - at(low)) / (at(high) - at(low));
    return bottom() - std::clamp(share, 0.0, 1.0) * height;
  }
};

struct Tick {
  double value = 0.0;
  std::string label;
};

// 1, 2 or 5 times a power of ten, so that about `wanted` fit into the range.
inline double tick_step(double range, double wanted) {
  const double raw = range / wanted;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= raw) return factor * power;
  }
  return 10.0 * power;
}

inline std::string plain(double value) {
  return fmt::format("{:g}", std::round(value * 1e6) / 1e6 + 0.0);  // no -0
}

}  // namespace dualmesh::node
