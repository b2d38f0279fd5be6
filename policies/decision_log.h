// DecisionLog: the last decisions that have come to an end, newest over oldest.
//
// Invariant: at most `capacity` records; an id finds its newest record.
// Cost: add O(1), taking over the record's strings; find O(1).
// Threads: none.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <vector>

#include "policies/decision.h"

namespace dualmesh::policies {

class DecisionLog {
 public:
  explicit DecisionLog(std::size_t capacity) : records_(capacity == 0 ? 1 : capacity) {}

  // Swaps the record in; `record` is left with whatever was overwritten.
  void add(DecisionRecord& record);
  const DecisionRecord* find(RequestId id) const;
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (std::size_t i = 0; i < used_; ++i) visit(records_[i]);
  }

 private:
  std::vector<DecisionRecord> records_;
  std::size_t used_ = 0;
  std::size_t next_ = 0;
  boost::unordered_flat_map<RequestId, std::size_t> by_id_;
};

}  // namespace dualmesh::policies
