#include "policies/decision_log.h"

#include <algorithm>

namespace dualmesh::policies {

void DecisionLog::add(const DecisionRecord& record) {
  used_ = std::max(used_, next_ + 1);
  records_[next_] = record;
  next_ = next_ + 1 < records_.size() ? next_ + 1 : 0;
}

const DecisionRecord* DecisionLog::find(RequestId id) const {
  for (std::size_t age = 1; age <= used_; ++age) {
    const DecisionRecord& record = records_[(next_ + records_.size() - age) % records_.size()];
    if (record.id == id) return &record;
  }
  return nullptr;
}

const char* to_string(HitSource source) {
  switch (source) {
    case HitSource::unknown: return "unknown";
    case HitSource::predicted: return "predicted";
    case HitSource::degraded: return "degraded";
    case HitSource::exact: return "exact";
  }
  return "?";
}

const char* to_string(Reason reason) {
  switch (reason) {
    case Reason::none: return "none";
    case Reason::only_candidate: return "only_candidate";
    case Reason::waits: return "waits";
    case Reason::best_score: return "best_score";
    case Reason::longest_hit: return "longest_hit";
    case Reason::equal_hit: return "equal_hit";
    case Reason::shorter_ttft: return "shorter_ttft";
    case Reason::round_robin: return "round_robin";
    case Reason::random: return "random";
    case Reason::least_load: return "least_load";
    case Reason::less_of_two: return "less_of_two";
    case Reason::untried: return "untried";
    case Reason::ring_owner: return "ring_owner";
    case Reason::spilled: return "spilled";
    case Reason::rebalanced: return "rebalanced";
    case Reason::retried: return "retried";
    case Reason::handed: return "handed";
    case Reason::replaced: return "replaced";
  }
  return "?";
}

const char* to_string(Outcome outcome) {
  switch (outcome) {
    case Outcome::pending: return "pending";
    case Outcome::finished: return "finished";
    case Outcome::failed: return "failed";
    case Outcome::cancelled: return "cancelled";
    case Outcome::rejected: return "rejected";
  }
  return "?";
}

}  // namespace dualmesh::policies
