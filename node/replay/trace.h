// Loads a Mooncake trace: one JSON object a line with timestamp (ms), input_length and
// output_length (tokens) and hash_ids (one per 512 prompt tokens, the last one possibly partial).
//
// Recorded timestamps come in buckets of seconds; the arrivals of one bucket are spread evenly
// until the next timestamp, the last bucket over the mean width of the others, and a note says so.
//
// Threads: none.
// Source: Mooncake (FAST'25) trace format.
#pragma once

#include <istream>
#include <string>

#include "net/error.h"
#include "node/replay/workload.h"

namespace dualmesh::node {

// `name` is for messages. An error names the line and what is allowed; nothing partial is returned.
net::Result<Workload> load_mooncake(std::istream& in, const std::string& name);
net::Result<Workload> load_mooncake_file(const std::string& path);

}  // namespace dualmesh::node
