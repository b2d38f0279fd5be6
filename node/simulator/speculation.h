// Speculation: blocks that one router has placed at instances, until the engine's events say so.
//
// Invariant: at(key, now) are the slots where the block was expected less than kLife before `now`
// and has not been heard of since.
// Threads: none; time is an argument and never decreases.
// Source: the speculative entries of llm-d's precise prefix scorer.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <deque>

#include "node/simulator/cache_events.h"

namespace dualmesh::node {

class Speculation {
 public:
  static constexpr policies::Duration kLife = std::chrono::seconds(5);

  void expect(policies::Slot slot, policies::BlockKey key, policies::Time now);
  void heard(policies::Slot slot, policies::BlockKey key);  // it is there, for the moment
  void forget(policies::Slot slot);
  void expire(policies::Time now);

  CacheSet at(policies::BlockKey key, policies::Time now) const;
  std::size_t size() const { return until_.size(); }

 private:
  struct Entry {
    policies::BlockKey key = 0;
    policies::Slot slot = policies::kNoSlot;
    bool operator==(const Entry&) const = default;
    friend std::size_t hash_value(const Entry& entry) {
      return static_cast<std::size_t>(entry.key * 0x9E3779B97F4A7C15 + entry.slot);
    }
  };
  void drop(Entry entry);

  boost::unordered_flat_map<Entry, policies::Time> until_;
  boost::unordered_flat_map<policies::BlockKey, CacheSet> slots_;  // of the keys of until_
  std::deque<std::pair<policies::Time, Entry>> order_;  // by time; what was renewed is twice there
};

}  // namespace dualmesh::node
