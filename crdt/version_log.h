// VersionLog: finds what changed after a version, in the order in which it changed.
//
// A queue of (version, key) in rising version order; a key that changes again is appended again and
// its older record becomes outdated. The owner knows which records are current (its entry for the
// key bears the same version) and lets the log drop the others once they are the greater part.
//
// Invariant: versions strictly rise; at most 2 records per entry of the owner, plus a constant.
// Cost: append O(1) amortised; after() O(log n), then one step per change, repeats of a key
// included. A queue and not a search tree: an append costs a copy of the key, no allocation, no
// rebalancing, and expiry from the front is free. Threads: none; owned by one thread.
#pragma once

#include <algorithm>
#include <boost/assert.hpp>
#include <boost/container/deque.hpp>
#include <cstddef>

#include "crdt/identity.h"

namespace dualmesh::crdt {

template <class Key>
class VersionLog {
 public:
  struct Record {
    Version version;
    Key key;
  };
  using const_iterator = typename boost::container::deque<Record>::const_iterator;

  void append(Version version, const Key& key) {
    BOOST_ASSERT(records_.empty() || records_.back().version < version);
    records_.push_back(Record{version, key});
  }

  // Drops outdated records when they outnumber the owner's `entries`.
  template <class IsCurrent>  // is_current(record)
  void trim(std::size_t entries, IsCurrent&& is_current) {
    if (records_.size() <= 2 * entries + kSlack) return;
    auto kept = std::remove_if(records_.begin(), records_.end(),
                               [&](const Record& record) { return !is_current(record); });
    records_.erase(kept, records_.end());
  }

  // The first record after `from`.
  const_iterator after(Version from) const {
    return std::upper_bound(records_.begin(), records_.end(), from,
                            [](Version v, const Record& record) { return v < record.version; });
  }
  const_iterator begin() const { return records_.begin(); }
  const_iterator end() const { return records_.end(); }

  bool empty() const { return records_.empty(); }
  const Record& front() const { return records_.front(); }
  void pop_front() { records_.pop_front(); }
  void clear() { records_.clear(); }
  std::size_t size() const { return records_.size(); }

 private:
  static constexpr std::size_t kSlack = 64;

  boost::container::deque<Record> records_;
};

}  // namespace dualmesh::crdt
