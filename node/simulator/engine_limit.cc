#include "node/simulator/engine_limit.h"

#include <unordered_set>

namespace dualmesh::node {
namespace {

// Whole leading blocks seen before; the last token is always computed.
std::uint32_t cached_tokens(const ReplayRequest& request,
                            const std::unordered_set<std::uint64_t>& seen) {
  const std::uint32_t usable = (request.input_tokens - 1) / kBlockTokens;
  std::uint32_t hits = 0;
  while (hits < usable && seen.contains(request.blocks[hits])) ++hits;
  return hits * kBlockTokens;
}

}  // namespace

double engine_limit_qps(const Workload& workload, std::size_t warmup,
                        const SimulationSettings& settings) {
  std::unordered_set<std::uint64_t> seen;
  double busy_s = 0;
  double counted = 0;
  for (std::size_t i = 0; i < workload.requests.size(); ++i) {
    const ReplayRequest& request = workload.requests[i];
    if (i >= warmup) {
      const std::uint32_t computed = request.input_tokens - cached_tokens(request, seen);
      busy_s += computed * policies::to_seconds(settings.engine.prefill_per_token);
      busy_s +=
          (request.output_tokens - 1) * policies::to_seconds(settings.engine.decode_per_sequence);
      ++counted;
    }
    const std::size_t whole = request.input_tokens / kBlockTokens;
    seen.insert(request.blocks.begin(),
                request.blocks.begin() + static_cast<std::ptrdiff_t>(whole));
  }
  double speed = 0;  // of all instances together
  for (std::size_t i = 0; i < settings.instances; ++i) {
    speed += settings.speeds.empty() ? 1.0 : settings.speeds[i % settings.speeds.size()];
  }
  return counted * speed / busy_s;
}

}  // namespace dualmesh::node
