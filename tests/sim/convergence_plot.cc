#include "tests/sim/convergence_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "tests/sim/plot_axes.h"

namespace dualmesh::sim {
namespace {

using Point = Svg::Point;

constexpr double kWidth = 1'000;
constexpr double kLeft = 72;         // of the first column of panels
constexpr double kWholeWidth = 560;  // the whole run
constexpr double kGap = 26;
constexpr double kCloseWidth = 326;  // the moments after the trouble
constexpr double kCloseBefore_ms = 300;
constexpr double kCloseAfter_ms = 1'700;

constexpr const char* kPaper = "#ffffff";
constexpr const char* kInk = "#1f2933";
constexpr const char* kFaint = "#5f6c7b";
constexpr const char* kGrid = "#e3e8ee";
constexpr const char* kFrame = "#b6c0cc";
constexpr const char* kShade = "#fbe9d7";
constexpr const char* kMark = "#b45309";
constexpr const char* kTraffic = "#4b6584";

// One half of the nodes in cold colours, the other in warm ones; beyond that, again with dashes.
constexpr std::array kNodeColours = {"#12355b", "#2467b5", "#3f9fd8", "#1d8f7a",
                                     "#c8920a", "#e0681a", "#c2342d", "#8e2a6b"};
constexpr std::array kDigestNames = {"rings", "registry", "depth", "load"};
constexpr std::array kDigestColours = {"#7b2d8b", "#0f766e", "#b45309", "#64748b"};

class Plot {
 public:
  explicit Plot(const Convergence& run)
      : run_(run),
        svg_(kWidth, height_of(run),
             fmt::format("How a mesh of {} nodes falls behind and catches up: {}",
                         run.options.nodes, run.options.scenario),
             kPaper),
        whole_{0.0, run.options.seconds * 1e3, kLeft, kWholeWidth},
        close_{run.measured_from_ms - kCloseBefore_ms, run.measured_from_ms + kCloseAfter_ms,
               kLeft + kWholeWidth + kGap, kCloseWidth} {}

  std::string draw() {
    heading();
    const Panel lag = lag_panel();
    const Panel digests = digest_panel();
    const Panel traffic = traffic_panel();
    for (const Panel* panel : {&lag, &digests, &traffic}) {
      frame(*panel, whole_, true);
      frame(*panel, close_, false);
    }
    for (const Span* span : {&whole_, &close_}) {
      draw_traffic(traffic, *span);
      draw_digests(digests, *span);
      draw_lags(lag, *span);
      time_axis(traffic.scale.bottom(), *span);
    }
    name_troubles(lag.scale);
    mark_convergence(lag.scale);
    node_legend();
    digest_legend(digests.scale);
    return svg_.finish();
  }

 private:
  static constexpr double kTop = 96;
  static constexpr double kLagHeight = 260;
  static constexpr double kDigestHeight = 104;
  static constexpr double kTrafficHeight = 104;
  static constexpr double kBetween = 40;
  static constexpr double kNodesPerLine = 16;

  static double legend_top() {
    return kTop + kLagHeight + kDigestHeight + kTrafficHeight + 2 * kBetween + 62;
  }
  static double height_of(const Convergence& run) {
    return legend_top() + 20 * std::ceil(static_cast<double>(run.names.size()) / kNodesPerLine);
  }

  void heading() {
    const ConvergenceOptions& options = run_.options;
    svg_.text({kLeft, 34}, fmt::format("{} in a mesh of {} nodes", what_happens(), options.nodes),
              {{"font-size", "20"}, {"font-weight", "600"}, {"fill", kInk}});
    const std::string outcome =
        run_.caught_up_ms
            ? fmt::format("every node had caught up {:.0f} ms {}", *run_.caught_up_ms, after_what())
            : "not every node caught up";
    svg_.text(
        {kLeft, 56},
        fmt::format("Simulated in virtual time, links of 0.5 to 2 ms, {} changes, none in the last "
                    "{:g} s; {}.",
                    run_.changes, kQuietMs / 1e3, outcome),
        {{"font-size", "13"}, {"fill", kFaint}});
  }

  std::string what_happens() const {
    const std::string& scenario = run_.options.scenario;
    if (scenario == "partition") return "A partition into two halves";
    if (scenario == "join") return "One more node";
    if (scenario == "storm") return "A storm of load changes";
    return "Nodes killed and restarted, one by one";
  }
  std::string after_what() const {
    const std::string& scenario = run_.options.scenario;
    if (scenario == "partition") return "after the heal";
    if (scenario == "join") return "after it started";
    if (scenario == "storm") return "after its end";
    return "after the last start";
  }

  Panel lag_panel() const {
    double worst = 100.0;
    for (const NodeOutcome& node : run_.nodes) worst = std::max(worst, node.worst_lag_ms);
    Panel panel{"Lag of each node: age of the oldest change it lacks", {}, {}};
    panel.scale = {1.0, std::pow(10.0, std::ceil(std::log10(worst))), true, kTop, kLagHeight};
    for (double value = 1.0; value <= panel.scale.high * 1.01; value *= 10.0) {
      panel.ticks.push_back(
          {value, value < 1e3 ? plain(value) + " ms" : plain(value / 1e3) + " s"});
    }
    panel.ticks.front().label = "≤ 1 ms";
    return panel;
  }

  Panel digest_panel() const {
    std::size_t most = 2;
    for (const ConvergenceSample& sample : run_.samples) {
      for (const std::size_t count : counts(sample)) most = std::max(most, count);
    }
    Panel panel{"Different states held by the nodes: 1 = converged", {}, {}};
    panel.scale = {0.6, static_cast<double>(most) + 0.4, false, kTop + kLagHeight + kBetween,
                   kDigestHeight};
    const auto step =
        static_cast<std::size_t>(std::max(1.0, tick_step(static_cast<double>(most) - 1.0, 4.0)));
    for (std::size_t value = 1; value <= most; value += step) {
      panel.ticks.push_back({static_cast<double>(value), std::to_string(value)});
    }
    return panel;
  }

  Panel traffic_panel() const {
    double most = 1.0;
    for (const ConvergenceSample& sample : run_.samples) most = std::max(most, rate(sample));
    Panel panel{fmt::format("Sent by all nodes together, mean of {:.0f} ms (close up: {:.0f} ms)",
                            stretch_ms(whole_, kSampleMs), stretch_ms(close_, kSampleMs)),
                {},
                {}};
    panel.scale = {1e4, std::pow(10.0, std::ceil(std::log10(most))), true,
                   kTop + kLagHeight + kDigestHeight + 2 * kBetween, kTrafficHeight};
    for (double value = panel.scale.low; value <= panel.scale.high * 1.01; value *= 10.0) {
      panel.ticks.push_back(
          {value, value < 1e6 ? plain(value / 1e3) + " kB/s" : plain(value / 1e6) + " MB/s"});
    }
    return panel;
  }

  static std::array<std::size_t, 4> counts(const ConvergenceSample& sample) {
    const DigestCounts& distinct = sample.distinct;
    return {distinct.rings, distinct.registry, distinct.depth, distinct.load};
  }
  static double rate(const ConvergenceSample& sample) {
    double bytes = 0.0;
    for (const NodeSample& node : sample.nodes) bytes += static_cast<double>(node.bytes);
    return bytes * 1e3 / kSampleMs;
  }

  // Grid, troubles behind it, axis of values.
  void frame(const Panel& panel, const Span& span, bool labelled) {
    const Scale& scale = panel.scale;
    for (const Trouble& trouble : run_.troubles) {
      const double from = std::clamp(trouble.begins_ms, span.from_ms, span.to_ms);
      const double to = std::clamp(trouble.ends_ms, span.from_ms, span.to_ms);
      if (to > from) {
        svg_.rectangle({span.x(from), scale.top}, span.x(to) - span.x(from), scale.height,
                       {{"fill", kShade}});
      }
    }
    for (const Tick& tick : panel.ticks) {
      const double y = scale.y(tick.value);
      svg_.line({span.left, y}, {span.left + span.width, y}, {{"stroke", kGrid}});
      if (!labelled) continue;
      svg_.text({span.left - 8, y + 4}, tick.label,
                {{"font-size", "12"}, {"text-anchor", "end"}, {"fill", kFaint}});
    }
    const double measured = span.x(run_.measured_from_ms);
    svg_.line({measured, scale.top}, {measured, scale.bottom()},
              {{"stroke", kMark}, {"stroke-dasharray", "4 3"}});
    svg_.rectangle({span.left, scale.top}, span.width, scale.height,
                   {{"fill", "none"}, {"stroke", kFrame}});
    if (labelled) {
      svg_.text({span.left, scale.top - 9}, panel.title,
                {{"font-size", "13"}, {"font-weight", "600"}, {"fill", kInk}});
    }
  }

  void time_axis(double bottom, const Span& span) {
    const bool close = &span == &close_;
    const double origin = close ? run_.measured_from_ms : 0.0;
    const double step = tick_step(span.to_ms - span.from_ms, close ? 6.0 : 9.0);
    const double first = std::ceil((span.from_ms - origin) / step) * step;
    for (double at = first; at + origin <= span.to_ms + 1e-6; at += step) {
      const double x = span.x(at + origin);
      svg_.line({x, bottom}, {x, bottom + 5}, {{"stroke", kFrame}});
      const std::string label = close ? (at > 0 ? "+" : "") + plain(at) : plain(at / 1e3);
      svg_.text({x, bottom + 18}, label,
                {{"font-size", "12"}, {"text-anchor", "middle"}, {"fill", kFaint}});
    }
    svg_.text({span.left + span.width / 2, bottom + 36},
              close ? fmt::format("milliseconds {}", after_what()) : "virtual time, seconds",
              {{"font-size", "12"}, {"text-anchor", "middle"}, {"fill", kFaint}});
  }

  void draw_lags(const Panel& panel, const Span& span) {
    for (std::size_t i = run_.names.size(); i-- > 0;) {
      const auto pieces = thinned(run_.samples, kSampleMs, span, panel.scale, Thin::worst,
                                  [i](const ConvergenceSample& sample) {
                                    const NodeSample& node = sample.nodes[i];
                                    return node.up ? std::optional(node.lag_ms) : std::nullopt;
                                  });
      const char* dashes = i < kNodeColours.size() ? "none" : "5 2";
      for (const auto& piece : pieces) {
        svg_.path(piece, {{"fill", "none"},
                          {"stroke", kNodeColours[i % kNodeColours.size()]},
                          {"stroke-width", &span == &close_ ? "1.7" : "1.2"},
                          {"stroke-dasharray", dashes},
                          {"stroke-linejoin", "round"}});
      }
    }
  }

  void draw_digests(const Panel& panel, const Span& span) {
    for (std::size_t kind = kDigestNames.size(); kind-- > 0;) {
      // Side by side, so that equal ones do not hide each other.
      const double aside = (static_cast<double>(kind) - 1.5) * 1.8;
      auto pieces = thinned(run_.samples, kSampleMs, span, panel.scale, Thin::worst,
                            [kind](const ConvergenceSample& sample) {
                              return std::optional(static_cast<double>(counts(sample)[kind]));
                            });
      for (auto& piece : pieces) {
        std::vector<Point> steps;
        for (const Point& point : piece) {
          if (!steps.empty()) steps.push_back({point.x, steps.back().y});
          steps.push_back({point.x, point.y + aside});
        }
        svg_.path(steps, {{"fill", "none"},
                          {"stroke", kDigestColours[kind]},
                          {"stroke-width", kind == 3 ? "1" : "1.8"},
                          {"stroke-opacity", kind == 3 && &span == &whole_ ? "0.45" : "1"}});
      }
    }
  }

  void draw_traffic(const Panel& panel, const Span& span) {
    for (const auto& piece :
         thinned(run_.samples, kSampleMs, span, panel.scale, Thin::mean,
                 [](const ConvergenceSample& sample) { return std::optional(rate(sample)); })) {
      if (piece.empty()) continue;
      std::vector<Point> area = piece;
      area.push_back({piece.back().x, panel.scale.bottom()});
      area.push_back({piece.front().x, panel.scale.bottom()});
      svg_.path(area, {{"fill", kTraffic}, {"fill-opacity", "0.55"}, {"stroke", "none"}});
    }
  }

  void name_troubles(const Scale& scale) {
    for (const Trouble& trouble : run_.troubles) {
      const bool moment = trouble.begins_ms == trouble.ends_ms;
      const double middle = (whole_.x(trouble.begins_ms) + whole_.x(trouble.ends_ms)) / 2;
      svg_.text(
          {middle + (moment ? 6.0 : 0.0), scale.top + 18}, trouble.name,
          {{"font-size", "12"}, {"text-anchor", moment ? "start" : "middle"}, {"fill", kMark}});
    }
  }

  void mark_convergence(const Scale& scale) {
    svg_.text({close_.left, scale.top - 9}, "The same, close up",
              {{"font-size", "13"}, {"font-weight", "600"}, {"fill", kInk}});
    if (!run_.caught_up_ms) return;
    const double x = close_.x(run_.measured_from_ms + *run_.caught_up_ms);
    if (x > close_.left + close_.width) return;
    svg_.line({x, scale.top}, {x, scale.bottom()}, {{"stroke", kInk}, {"stroke-dasharray", "2 3"}});
    const bool right = x > close_.left + close_.width * 0.7;
    svg_.text({right ? x - 6 : x + 6, scale.top + 18},
              fmt::format("all caught up, {:.0f} ms", *run_.caught_up_ms),
              {{"font-size", "12"}, {"text-anchor", right ? "end" : "start"}, {"fill", kInk}});
  }

  void node_legend() {
    for (std::size_t i = 0; i < run_.names.size(); ++i) {
      const double x = kLeft + 57.0 * static_cast<double>(i % 16);
      const double y = legend_top() + 20.0 * static_cast<double>(i / 16);
      svg_.line({x, y}, {x + 20, y},
                {{"stroke", kNodeColours[i % kNodeColours.size()]},
                 {"stroke-width", "3"},
                 {"stroke-dasharray", i < kNodeColours.size() ? "none" : "5 2"}});
      svg_.text({x + 25, y + 4}, run_.names[i], {{"font-size", "12"}, {"fill", kInk}});
    }
  }

  void digest_legend(const Scale& scale) {
    double x = close_.left + close_.width;
    for (std::size_t kind = kDigestNames.size(); kind-- > 0;) {
      x -= 22.0 + 7.0 * static_cast<double>(std::string_view(kDigestNames[kind]).size());
      svg_.line({x, scale.top - 13}, {x + 14, scale.top - 13},
                {{"stroke", kDigestColours[kind]}, {"stroke-width", "3"}});
      svg_.text({x + 18, scale.top - 9}, kDigestNames[kind], {{"font-size", "12"}, {"fill", kInk}});
    }
  }

  const Convergence& run_;
  Svg svg_;
  Span whole_;
  Span close_;
};

}  // namespace

std::string convergence_plot(const Convergence& run) { return Plot(run).draw(); }

}  // namespace dualmesh::sim
