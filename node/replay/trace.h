// Loads traces, one JSON object a line with timestamp (ms), input_length and output_length
// (tokens):
//   Mooncake      and hash_ids, one per 512 prompt tokens, the last one possibly partial
//   multi-tenant  and client, a string; what the prompts hold is unknown, so they share nothing
//
// Timestamps that Mooncake recorded come in buckets of seconds; the arrivals of one bucket are
// spread evenly until the next timestamp, the last bucket over the mean width of the others, and a
// note says so.
//
// Threads: none.
// Source: Mooncake (FAST'25) trace format; the arrivals that VTC (OSDI 2024) was measured with.
#pragma once

#include <istream>
#include <string>

#include "net/error.h"
#include "node/replay/workload.h"

namespace dualmesh::node {

// `name` is for messages. An error names the line and what is allowed; nothing partial is returned.
net::Result<Workload> load_mooncake(std::istream& in, const std::string& name);
net::Result<Workload> load_multi_tenant(std::istream& in, const std::string& name);
// Either, by its first line. `path` must be a file that can be read twice, not a pipe.
net::Result<Workload> load_trace_file(const std::string& path);

}  // namespace dualmesh::node
