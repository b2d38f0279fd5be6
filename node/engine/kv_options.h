// The flags of dualmesh-engine that concern KV events, and what they mean for each instance.
//
// Instance i of N has R ranks; its rank r publishes at the port given + i x R + r, as engines add
// the rank to theirs.
//
// Threads: one, before any other starts.
#pragma once

#include <cstdint>
#include <string>

#include "node/engine/event_publisher.h"

namespace CLI {
class App;
}

namespace dualmesh::node {

struct KvOptions {
  std::string events;  // empty: none
  std::string replay;
  KvFormat format = KvFormat::vllm;
  bool hashes_as_bytes = false;
  std::uint32_t replay_frames = 0;  // 0: the format's
  std::string topic;
  std::uint32_t buffer_steps = 10'000;
  std::uint32_t ranks = 1;
  double loss = 0.0;
  double duplicate = 0.0;
};

void add_kv_options(CLI::App& app, KvOptions& options);
// What is wrong with them for `instances` of them; empty: nothing.
std::string check(const KvOptions& options, std::uint32_t instances);
EventStreamSettings stream_settings(const KvOptions& options, std::uint32_t block_tokens,
                                    std::uint32_t instance, std::uint32_t rank);

}  // namespace dualmesh::node
