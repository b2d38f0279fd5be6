// RequestQueue: the requests that wait at this router for one instance, in the order of the policy.
//
// Smaller rank first, then earlier arrival, then smaller id. Knows how many uncached tokens stand
// before any place, which is what a request would wait for there.
//
// Invariant: entries are sorted and their keys unique.
// Cost: push and remove O(n) moves of 40 bytes; place and tokens before it O(log n), after a change
// once O(n) additions.
// Threads: none.
#pragma once

#include <compare>
#include <cstdint>
#include <vector>

#include "policies/decision.h"
#include "policies/time.h"

namespace dualmesh::policies {

struct LiveRequest;

struct QueueKey {
  std::uint64_t rank = 0;
  Time arrived{};
  RequestId id = 0;

  auto operator<=>(const QueueKey&) const = default;
};

class RequestQueue {
 public:
  struct Entry {
    QueueKey key;
    std::uint32_t tokens = 0;  // uncached, at this instance
    LiveRequest* request = nullptr;
  };

  void push(const Entry& entry);
  void remove(const QueueKey& key);  // must be present

  bool empty() const { return entries_.empty(); }
  std::size_t size() const { return entries_.size(); }
  const Entry& operator[](std::size_t position) const { return entries_[position]; }
  const Entry& head() const { return entries_.front(); }
  // Arrival of the request that has waited longest, wherever it stands. Not for an empty queue.
  Time oldest() const;

  // Uncached tokens that would be served before `key`, whether it is in the queue or not.
  std::uint64_t tokens_before(const QueueKey& key) const;

 private:
  std::size_t place_of(const QueueKey& key) const;

  std::vector<Entry> entries_;
  // sums_[i]: tokens of entries before i; only the first `sums_valid_` are up to date.
  mutable std::vector<std::uint64_t> sums_;
  mutable std::size_t sums_valid_ = 0;
  mutable Time oldest_{};
  mutable bool oldest_valid_ = false;
};

}  // namespace dualmesh::policies
