// What an inference engine says of its load at /metrics, read from Prometheus text.
//
// vLLM's and SGLang's names, the latter with a colon or an underscore, and vLLM's older one of the
// KV usage. Ranks are added up (usage is their mean); of the processes that compute one rank
// together only the first counts. What is absent, or is no finite number from 0 on, is unknown:
// never 0, for an engine without statistics is not idle.
//
// Invariant: any text is read in linear time, without a copy, and without an error.
// Threads: a pure function.
// Source: metrics pages of vLLM (V1) and SGLang; text exposition format 0.0.4.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace dualmesh::node {

struct EngineMetrics {
  std::optional<double> running;   // requests
  std::optional<double> waiting;   // requests
  std::optional<double> kv_usage;  // 0..1 of the KV memory, by live requests
  std::optional<std::uint64_t> gpu_blocks;
  std::optional<std::uint32_t> block_tokens;
  std::uint32_t ranks = 0;  // data-parallel ones that it names; 0: none

  bool known() const { return running || waiting || kv_usage || gpu_blocks || block_tokens; }
  bool operator==(const EngineMetrics&) const = default;
};

EngineMetrics read_engine_metrics(std::string_view text);

}  // namespace dualmesh::node
