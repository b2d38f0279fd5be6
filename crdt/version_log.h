// VersionLog: finds what changed after a version, in the order in which it changed.
//
// A queue of (version, key) in rising version order; a key that changes again is appended again and
// its older record becomes outdated. The owner knows which records are current (its entry for the
// key bears the same version). Once outdated ones are the greater part they are swept out, a few
// with each append: a million keys that change in turn hold nobody up.
//
// Invariant: versions strictly rise; no current record is ever dropped; with `trim` after each
// append, at most 3 records per entry that the owner had when the sweep began, plus a constant.
// Cost: append and trim O(1), not only on average; trim_all, for an owner that has dropped many
// entries, O(n); after() O(log n), then one step per change, repeats of a key included. A queue and
// not a search tree: an append costs a copy of the key, no allocation, no rebalancing, and expiry
// from the front is free. Threads: none; owned by one thread. Source: ours; the sweep is that of an
// incremental copying collector.
#pragma once

#include <algorithm>
#include <boost/assert.hpp>
#include <boost/container/deque.hpp>
#include <cstddef>
#include <utility>

#include "crdt/identity.h"

namespace dualmesh::crdt {

template <class Key>
class VersionLog {
 public:
  struct Record {
    Version version;
    Key key;
  };
  class const_iterator {
   public:
    const Record& operator*() const { return log_->at(index_); }
    const Record* operator->() const { return &log_->at(index_); }
    const_iterator& operator++() { return ++index_, *this; }
    bool operator==(const const_iterator&) const = default;

   private:
    friend class VersionLog;
    const_iterator(const VersionLog& log, std::size_t index) : log_(&log), index_(index) {}

    const VersionLog* log_;
    std::size_t index_;
  };

  void append(Version version, const Key& key) {
    BOOST_ASSERT(empty() || at(size() - 1).version < version);
    (waiting_.empty() ? swept_ : waiting_).push_back(Record{version, key});
  }

  // Goes on with a sweep, or begins one when outdated records outnumber the owner's `entries`.
  template <class IsCurrent>  // is_current(record)
  void trim(std::size_t entries, IsCurrent&& is_current) {
    if (waiting_.empty()) {
      if (swept_.size() <= 2 * entries + kSlack) return;
      std::swap(swept_, waiting_);
    }
    sweep(kSweptAtOnce, is_current);
  }
  template <class IsCurrent>
  void trim_all(std::size_t entries, IsCurrent&& is_current) {
    if (size() <= 2 * entries + kSlack) return;
    sweep(waiting_.size(), is_current);
    std::swap(swept_, waiting_);
    sweep(waiting_.size(), is_current);
  }

  // The first record after `from`.
  const_iterator after(Version from) const {
    const auto& half = !swept_.empty() && from < swept_.back().version ? swept_ : waiting_;
    const auto first = std::upper_bound(half.begin(), half.end(), from,
                                        [](Version v, const Record& r) { return v < r.version; });
    const auto index = static_cast<std::size_t>(first - half.begin());
    return {*this, &half == &swept_ ? index : swept_.size() + index};
  }
  const_iterator begin() const { return {*this, 0}; }
  const_iterator end() const { return {*this, size()}; }

  bool empty() const { return swept_.empty() && waiting_.empty(); }
  const Record& front() const { return at(0); }
  void pop_front() { (swept_.empty() ? waiting_ : swept_).pop_front(); }
  void clear() { swept_.clear(), waiting_.clear(); }
  std::size_t size() const { return swept_.size() + waiting_.size(); }

 private:
  static constexpr std::size_t kSlack = 64;
  static constexpr std::size_t kSweptAtOnce = 4;

  const Record& at(std::size_t index) const {
    return index < swept_.size() ? swept_[index] : waiting_[index - swept_.size()];
  }
  template <class IsCurrent>
  void sweep(std::size_t records, IsCurrent&& is_current) {
    for (; records > 0 && !waiting_.empty(); --records) {
      if (is_current(waiting_.front())) swept_.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
    }
  }

  // All records, in this order; nothing waits unless a sweep is under way.
  boost::container::deque<Record> swept_;
  boost::container::deque<Record> waiting_;
};

}  // namespace dualmesh::crdt
