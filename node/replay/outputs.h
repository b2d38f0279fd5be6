// Outputs: results of simulated runs as JSON, as rows of CSV, as a table, and as files.
//
// Files are whole or as they were before. Whether they can be written at all is asked before long
// work begins.
//
// Threads: main.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

#include "node/replay/bench.h"

namespace dualmesh::node {

// Empty, or which flag names a place that cannot be written. Makes the directory of --plot.
std::string check_outputs(const SimulationOptions& options);

nlohmann::json result_json(const BenchResult& result, const SimulationOptions& options,
                           double limit_qps);
std::string csv_of(std::span<const BenchResult> results, const SimulationOptions& options);
// One row a result, at most 100 columns wide.
std::string table_of(std::span<const BenchResult> results, double limit_qps);
// One row a result; empty when no workload has two clients or more.
std::string fairness_table_of(std::span<const BenchResult> results);
// A line for each figure, and one for each client of the first seed.
std::string list_of(const BenchResult& result, double limit_qps);

// Writes what the options ask for and, without --json to standard output, `text`. The exit status.
int put_out(const SimulationOptions& options, const nlohmann::json& object,
            std::span<const BenchResult> results, const std::string& text);

}  // namespace dualmesh::node
