// Report: the results of a replay as one JSON object and as tables of at most 100 columns.
//
// Percentiles of TTFT and E2E and the SLO attainment count a request without an answer as
// infinitely late; infinite values are null in JSON and "inf" in tables. Means are over completed
// requests. Results are void when an instance's timers ran late: then its timing was not that of
// its model.
//
// Threads: pure functions; write_atomically does I/O.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "net/error.h"
#include "node/replay/results.h"

namespace dualmesh::node {

struct ReportSettings {
  double slo_ttft_s = 5.0;
  double speed = 1.0;
  double window_s = 5.0;             // of the time series
  double max_lateness_ratio = 0.05;  // p99 lateness over the mean iteration
};

nlohmann::json make_report(const ReplayOutcome& outcome, const ReportSettings& settings);
std::string format_report(const nlohmann::json& report);
// 0 ran, 1 no counted request was answered, 3 the results are void, 130 interrupted.
int exit_status(const nlohmann::json& report);
// Whether write_atomically can be expected to succeed: said before hours of work, not after them.
bool can_be_written(const std::string& path);
inline constexpr const char* kNotWritable = "not a file in a directory that can be written";
// The file holds all of `text` or is left as it was: a temporary file beside it is renamed over it.
// Where a link leads is written instead of the link; devices and pipes are written to as they are.
net::Result<void> write_atomically(const std::string& path, const std::string& text);

}  // namespace dualmesh::node
