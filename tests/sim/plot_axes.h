// The axes of a plot: spans of time and scales of values as places on the page, their ticks, and
// samples thinned to what can be seen.
//
// Threads: values.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/svg.h"

namespace dualmesh::sim {

struct Span {  // of time, and where it lies on the page
  double from_ms = 0.0;
  double to_ms = 0.0;
  double left = 0.0;
  double width = 0.0;
  double x(double ms) const { return left + (ms - from_ms) / (to_ms - from_ms) * width; }
};

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

struct Panel {
  std::string title;
  Scale scale;
  std::vector<Tick> ticks;
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

inline constexpr double kStretch = 2.0;  // pixels that one point of a line stands for

// Time that one point stands for.
inline double stretch_ms(const Span& span, double sample_ms) {
  return std::max(sample_ms, kStretch * (span.to_ms - span.from_ms) / span.width);
}

enum class Thin { worst, mean };

// The samples within a span, one point for each stretch; a node that is down breaks its line.
template <class Sample, class Value>
std::vector<std::vector<Svg::Point>> thinned(const std::vector<Sample>& samples, double sample_ms,
                                             const Span& span, const Scale& scale, Thin thin,
                                             Value&& value) {
  std::vector<std::vector<Svg::Point>> pieces(1);
  const double stretch = stretch_ms(span, sample_ms);
  std::size_t i = 0;
  while (i < samples.size() && samples[i].at_ms < span.from_ms - 1e-6) ++i;
  while (i < samples.size() && samples[i].at_ms <= span.to_ms + 1e-6) {
    const double begin = samples[i].at_ms;
    double worst = 0.0;
    double sum = 0.0;
    double seen = 0.0;
    double last = begin;
    for (; i < samples.size() && samples[i].at_ms < begin + stretch - sample_ms / 2; ++i) {
      last = samples[i].at_ms;
      const std::optional<double> here = value(samples[i]);
      if (!here) continue;
      worst = std::max(worst, *here);
      sum += *here;
      ++seen;
    }
    if (seen > 0) {
      const double shown = thin == Thin::worst ? worst : sum / seen;
      pieces.back().push_back({span.x((begin + last) / 2), scale.y(shown)});
    } else if (!pieces.back().empty()) {
      pieces.emplace_back();
    }
  }
  return pieces;
}

}  // namespace dualmesh::sim
