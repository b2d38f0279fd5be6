// DecisionLog: the last decisions that have come to an end, newest over oldest.
//
// Invariant: at most `capacity` records; an id finds its newest record.
// Cost: add O(1), without an allocation once its places have had long names; find O(capacity).
// Threads: none.
#pragma once

#include <vector>

#include "policies/decision.h"

namespace dualmesh::policies {

class DecisionLog {
 public:
  explicit DecisionLog(std::size_t capacity) : records_(capacity == 0 ? 1 : capacity) {}

  void add(const DecisionRecord& record);
  const DecisionRecord* find(RequestId id) const;
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (std::size_t i = 0; i < used_; ++i) visit(records_[i]);
  }

 private:
  std::vector<DecisionRecord> records_;
  std::size_t used_ = 0;
  std::size_t next_ = 0;
};

}  // namespace dualmesh::policies
