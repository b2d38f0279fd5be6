#include "node/replay/comparison_plot.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "node/simulator/plot_scale.h"
#include "node/simulator/svg.h"

namespace dualmesh::node {
namespace {

using Results = std::span<const BenchResult>;

constexpr double kWidth = 860;
constexpr double kLeft = 76;
constexpr double kPanelWidth = 520;
constexpr double kTop = 64;
constexpr double kHeight = 320;
constexpr const char* kPaper = "#ffffff";
constexpr const char* kInk = "#1f2933";
constexpr const char* kFaint = "#5f6c7b";
constexpr const char* kGrid = "#e3e8ee";
constexpr const char* kFrame = "#b6c0cc";
constexpr std::array kColours = {"#12355b", "#e0681a", "#1d8f7a", "#8e2a6b", "#c8920a",
                                 "#2467b5", "#c2342d", "#64748b", "#3f9fd8", "#7a5c2e"};
constexpr double kShortest_s = 0.01;
constexpr double kLongest_s = 100;

const char* colour(std::size_t i) { return kColours[i % kColours.size()]; }
// Beyond the colours, again with dashes.
std::string dash(std::size_t i) { return i < kColours.size() ? "none" : "5 3"; }

double panel_height(Results results) {
  return std::max(kHeight, 20.0 * static_cast<double>(results.size()) + 10);
}

class Figure {
 public:
  Figure(Results results, std::string_view title, std::string_view x_title)
      : results_(results),
        height_(panel_height(results)),
        svg_(kWidth, kTop + height_ + 64, title, kPaper) {
    svg_.text({kLeft, 32}, title, {{"font-size", "17"}, {"font-weight", "600"}, {"fill", kInk}});
    svg_.text({kLeft + kPanelWidth / 2, bottom() + 44}, x_title,
              {{"font-size", "13"}, {"fill", kFaint}, {"text-anchor", "middle"}});
  }

  double bottom() const { return kTop + height_; }
  Scale vertical(double low, double high) const { return {low, high, false, kTop, height_}; }

  void vertical_line(double x, const std::string& label) {
    svg_.line({x, kTop}, {x, bottom()}, {{"stroke", kGrid}});
    svg_.text({x, bottom() + 20}, label,
              {{"font-size", "12"}, {"fill", kFaint}, {"text-anchor", "middle"}});
  }
  void level_line(double y, const std::string& label) {
    svg_.line({kLeft, y}, {kLeft + kPanelWidth, y}, {{"stroke", kGrid}});
    svg_.text({kLeft - 8, y + 4}, label,
              {{"font-size", "12"}, {"fill", kFaint}, {"text-anchor", "end"}});
  }
  void frame(std::string_view y_title) {
    svg_.rectangle({kLeft, kTop}, kPanelWidth, height_, {{"fill", "none"}, {"stroke", kFrame}});
    svg_.text({kLeft, kTop - 10}, y_title, {{"font-size", "13"}, {"fill", kFaint}});
  }
  void legend() {
    const double x = kLeft + kPanelWidth + 24;
    for (std::size_t i = 0; i < results_.size(); ++i) {
      const double y = kTop + 14 + 20 * static_cast<double>(i);
      svg_.line({x, y - 4}, {x + 22, y - 4},
                {{"stroke", colour(i)}, {"stroke-width", "3"}, {"stroke-dasharray", dash(i)}});
      svg_.text({x + 30, y}, results_[i].contestant.label(),
                {{"font-size", "12.5"}, {"fill", kInk}});
    }
  }
  Svg& svg() { return svg_; }

 private:
  Results results_;
  double height_;
  Svg svg_;
};

std::string draw_ttft(Results results) {
  Figure figure(results, "Time to the first token", "seconds, logarithmic");
  const auto x_of = [](double seconds) {
    const double share = std::log10(std::max(seconds, kShortest_s) / kShortest_s) /
                         std::log10(kLongest_s / kShortest_s);
    return kLeft + share * kPanelWidth;
  };
  for (const double tick : {0.01, 0.1, 1.0, 5.0, 10.0, 100.0}) {
    figure.vertical_line(x_of(tick), plain(tick));
  }
  const Scale scale = figure.vertical(0, 1);
  for (const double tick : {0.0, 0.25, 0.5, 0.75, 0.9, 1.0}) {
    figure.level_line(scale.y(tick), plain(tick));
  }
  figure.frame("share of requests that had it by then");
  for (std::size_t i = 0; i < results.size(); ++i) {
    const std::vector<double>& times = results[i].ttft_s;
    // About one point for each pixel of height; those without an answer never come.
    const auto shown = static_cast<std::size_t>(
        std::upper_bound(times.begin(), times.end(), kLongest_s) - times.begin());
    const std::size_t step = std::max<std::size_t>(1, times.size() / 400);
    std::vector<Svg::Point> points;
    const auto add = [&](std::size_t k) {
      const double share = static_cast<double>(k + 1) / static_cast<double>(times.size());
      points.push_back({x_of(times[k]), scale.y(share)});
    };
    for (std::size_t k = 0; k < shown; k += step) add(k);
    if (shown > 0) add(shown - 1);
    figure.svg().path(points, {{"fill", "none"},
                               {"stroke", colour(i)},
                               {"stroke-width", "1.8"},
                               {"stroke-dasharray", dash(i)}});
  }
  figure.legend();
  return figure.svg().finish();
}

std::string draw_spread(Results results) {
  Figure figure(results, "Cache hits against spread of load",
                "coefficient of variation of load over instances");
  double widest = 0.05;
  for (const BenchResult& result : results) {
    if (std::isfinite(result.figures.load_cv)) widest = std::max(widest, result.figures.load_cv);
  }
  widest *= 1.1;
  const Scale scale = figure.vertical(0, 1);
  for (double tick = 0; tick <= 1.001; tick += 0.2) {
    figure.level_line(scale.y(tick), plain(tick));
  }
  const double step = tick_step(widest, 6);
  for (double tick = 0; tick <= widest; tick += step) {
    figure.vertical_line(kLeft + tick / widest * kPanelWidth, plain(tick));
  }
  figure.frame("hit ratio");
  for (std::size_t i = 0; i < results.size(); ++i) {
    const SimulationFigures& f = results[i].figures;
    if (!std::isfinite(f.load_cv) || !std::isfinite(f.hit_ratio)) continue;
    figure.svg().leaf("circle", {{"cx", svg_number(kLeft + f.load_cv / widest * kPanelWidth)},
                                 {"cy", svg_number(scale.y(f.hit_ratio))},
                                 {"r", "6"},
                                 {"fill", colour(i)},
                                 {"fill-opacity", i < kColours.size() ? "0.85" : "0.45"}});
  }
  figure.legend();
  return figure.svg().finish();
}

std::string draw_capacity(Results results) {
  Figure figure(results, "Effective request capacity", "requests per second");
  double highest = 0.1;
  for (const BenchResult& result : results) {
    highest = std::max(highest, result.capacity_qps.value_or(0));
  }
  highest *= 1.12;  // room for the numbers
  const double step = tick_step(highest, 8);
  for (double tick = 0; tick <= highest; tick += step) {
    figure.vertical_line(kLeft + tick / highest * kPanelWidth, plain(tick));
  }
  figure.frame("");
  const double row = (figure.bottom() - kTop) / static_cast<double>(results.size());
  for (std::size_t i = 0; i < results.size(); ++i) {
    const double qps = results[i].capacity_qps.value_or(0);
    const double top = kTop + row * static_cast<double>(i);
    const double width = qps / highest * kPanelWidth;
    const double thick = std::min(0.7 * row, 28.0);
    figure.svg().rectangle({kLeft, top + (row - thick) / 2}, width, thick, {{"fill", colour(i)}});
    figure.svg().text({kLeft + width + 6, top + row / 2 + 4}, fmt::format("{:.2f}", qps),
                      {{"font-size", "12"}, {"fill", kInk}});
  }
  figure.legend();
  return figure.svg().finish();
}

}  // namespace

std::vector<std::pair<std::string, std::string>> draw_comparison(Results results) {
  std::vector<std::pair<std::string, std::string>> files;
  if (results.front().capacity_qps) files.emplace_back("capacity.svg", draw_capacity(results));
  files.emplace_back("ttft.svg", draw_ttft(results));
  files.emplace_back("hits_and_spread.svg", draw_spread(results));
  return files;
}

}  // namespace dualmesh::node
