// The axes of a plot: spans of time and scales of values as places on the page, their ticks, and
// samples thinned to what can be seen.
//
// Threads: values.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "node/simulator/plot_scale.h"
#include "node/simulator/svg.h"

namespace dualmesh::sim {

using node::plain;
using node::Scale;
using node::Svg;
using node::Tick;
using node::tick_step;

struct Span {  // of time, and where it lies on the page
  double from_ms = 0.0;
  double to_ms = 0.0;
  double left = 0.0;
  double width = 0.0;
  double x(double ms) const { return left + (ms - from_ms) / (to_ms - from_ms) * width; }
};

struct Panel {
  std::string title;
  Scale scale;
  std::vector<Tick> ticks;
};

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
