#include "node/mesh/readiness.h"

#include <spdlog/fmt/fmt.h>

namespace dualmesh::node {

ReadinessVerdict judge_readiness(const MeshConfig& config, const ReadinessFacts& facts) {
  const auto join_timeout = std::chrono::milliseconds(config.join_timeout_ms);
  ReadinessVerdict verdict;
  if (facts.draining) {
    verdict.why_not = "draining";
  } else if (config.alone) {
    verdict.ready = true;
  } else if (facts.name_in_use) {
    verdict.why_not = "the mesh refuses this node: " + facts.refusal;
  } else if (facts.was_ready) {
    verdict.ready = true;
  } else if (facts.refused) {
    verdict.why_not = "the mesh refuses this node: " + facts.refusal;
  } else if (!facts.any_other && config.may_found) {
    verdict.ready = verdict.founder = facts.running >= join_timeout;
    if (!verdict.ready) verdict.why_not = "looking for other nodes";
  } else if (facts.linked == 0) {
    verdict.why_not = "no link to another node";
  } else if (!facts.waiting_for.empty() && facts.running < 2 * join_timeout) {
    verdict.why_not = fmt::format("receiving the state of {}", fmt::join(facts.waiting_for, ", "));
  } else {
    verdict.ready = true;
    verdict.unfinished = facts.waiting_for;
  }
  return verdict;
}

}  // namespace dualmesh::node
