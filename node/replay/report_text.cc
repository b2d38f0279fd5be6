#include <nlohmann/json.hpp>

#include "node/replay/report.h"

namespace dualmesh::node {

using nlohmann::json;

namespace {

std::string seconds(const json& value) {
  return value.is_number() ? fmt::format("{:.3f}", value.get<double>()) : "inf";
}
std::string ratio(const json& value) {
  return value.is_number() ? fmt::format("{:.3f}", value.get<double>()) : "-";
}
std::string whole(const json& value) {
  return value.is_number() ? fmt::format("{:.0f}", value.get<double>()) : "-";
}
const json& field(const json& object, const char* key) {
  static const json kNone;
  auto at = object.find(key);
  return at == object.end() ? kNone : *at;
}

void totals(const json& r, std::string& out) {
  out += fmt::format("requests        {} ({} completed, {} rejected, {} failed)\n",
                     whole(r["requests"]), whole(r["completed"]), whole(r["rejected"]),
                     whole(r["failed"]));
  for (const auto& [reason, times] : r["reasons"].items()) {
    out += fmt::format("                {} x {}\n", whole(times), reason.substr(0, 76));
  }
  out += fmt::format("rate            {} requests/s, {} output tokens/s, over {:.0f} s\n",
                     ratio(r["qps"]), whole(r["output_tokens_per_s"]),
                     r["duration_s"].is_number() ? r["duration_s"].get<double>() : 0.0);
  out += fmt::format("TTFT (s)        p50 {}  p90 {}  p95 {}  p99 {}  max {}  mean {}\n",
                     seconds(r["ttft_p50"]), seconds(r["ttft_p90"]), seconds(r["ttft_p95"]),
                     seconds(r["ttft_p99"]), seconds(r["ttft_max"]), seconds(r["ttft_mean"]));
  out += fmt::format("E2E (s)         p50 {}  p99 {}    ITL (s) p50 {}  p99 {}\n",
                     seconds(r["e2e_p50"]), seconds(r["e2e_p99"]), ratio(r["itl_p50"]),
                     ratio(r["itl_p99"]));
  out += fmt::format("SLO attainment  {} (TTFT <= {} s), goodput {} requests/s\n",
                     ratio(r["slo_attainment"]), ratio(r["slo_ttft_s"]), ratio(r["goodput_qps"]));
  out += fmt::format("hit ratio       {} measured by the instances, {} by usage\n",
                     ratio(r["hit_ratio"]), ratio(r["hit_ratio_usage"]));
  out += fmt::format("prefill         {} tokens computed, load spread (CV) {}\n",
                     whole(r["prefill_tokens_computed"]), ratio(r["load_cv"]));
  out += fmt::format("instances' TTFT p50 {}  p99 {} (s)\n", ratio(r["engine"]["ttft_p50"]),
                     ratio(r["engine"]["ttft_p99"]));
  out += fmt::format(
      "sending         {} connect retries, lateness (wall) p50 {:.2f} ms p99 {:.2f} ms\n",
      whole(r["connect_retries"]), 1e3 * r["send_lateness_wall_p50"].get<double>(),
      1e3 * r["send_lateness_wall_p99"].get<double>());
}

void groups(const json& r, std::string& out) {
  constexpr auto kNodeRow = "{:<24.24} {:>8} {:>7} {:>8} {:>8} {:>9}\n";
  constexpr auto kRow = "{:<24.24} {:>8} {:>7} {:>8} {:>8} {:>9} {:>9} {:>10}\n";
  if (!r["per_node"].empty()) {
    out += "\n" +
           fmt::format(kNodeRow, "node", "requests", "failed", "ttft p50", "ttft p99", "hit ratio");
  }
  for (const auto& [name, group] : r["per_node"].items()) {
    out += fmt::format(kNodeRow, name, whole(group["requests"]), whole(group["failed"]),
                       seconds(group["ttft_p50"]), seconds(group["ttft_p99"]),
                       ratio(group["hit_ratio_usage"]));
  }
  out += "\n" + fmt::format(kRow, "instance", "requests", "failed", "ttft p50", "ttft p99",
                            "hit ratio", "computed", "lateness");
  for (const auto& [name, group] : r["per_instance"].items()) {
    const bool seen = group.contains("requests");
    const json& hits =
        group.contains("hit_ratio") ? group["hit_ratio"] : field(group, "hit_ratio_usage");
    out += fmt::format(kRow, name, whole(field(group, "requests")), whole(field(group, "failed")),
                       seen ? seconds(group["ttft_p50"]) : "-",
                       seen ? seconds(group["ttft_p99"]) : "-", ratio(hits),
                       whole(field(group, "prefill_tokens_computed")),
                       ratio(field(group, "timer_lateness_ratio_p99")));
  }
}

}  // namespace

std::string format_report(const json& report) {
  std::string out;
  for (const json& note : report["notes"]) out += "note: " + note.get<std::string>() + "\n";
  if (report["interrupted"].get<bool>()) {
    out += fmt::format("INTERRUPTED: {} of {} requests were sent\n",
                       report["requests"].get<std::size_t>() + report["warmup"].get<std::size_t>(),
                       report["planned"].get<std::size_t>());
  }
  if (report["requests"].get<std::size_t>() == 0) return out + "no request was counted\n";
  totals(report, out);
  groups(report, out);
  for (const json& address : report["engine"]["unscraped"]) {
    out += "not scraped: " + address.get<std::string>() + "\n";
  }
  if (report["void"].get<bool>()) {
    out += fmt::format(
        "VOID: an instance's timers ran late (p99 {:.1f} % of an iteration); lower --speed or the "
        "load\n",
        100.0 * report["timer_lateness_ratio_p99"].get<double>());
  }
  return out;
}

}  // namespace dualmesh::node
