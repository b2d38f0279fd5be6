// CacheEvents: what engines say of their caches, as all routers have heard it: `delay` after it
// happened. One for all of them, as all hear the same at the same time.
//
// Invariant: after advance(now), holders(key) are the instances that held the block at now - delay.
// Threads: none; time is an argument and never decreases.
// Source: the KV events of vLLM and SGLang, without loss.
#pragma once

#include <bitset>
#include <boost/unordered/unordered_flat_map.hpp>
#include <deque>
#include <functional>
#include <span>

#include "policies/prompt_chain.h"
#include "policies/ring.h"
#include "policies/time.h"

namespace dualmesh::node {

// Instances by slot.
inline constexpr std::size_t kMaxSimulatedCaches = 256;
using CacheSet = std::bitset<kMaxSimulatedCaches>;

class CacheEvents {
 public:
  explicit CacheEvents(policies::Duration delay) : delay_(delay) {}

  // At the engine, `now`.
  void stored(policies::Slot slot, policies::BlockKey key, policies::Time now);
  void removed(policies::Slot slot, policies::BlockKey key, policies::Time now);
  void cleared(policies::Slot slot, policies::Time now);

  // Applies what has arrived by `now`; `on_stored` hears of each block that somebody stored.
  using OnStored = std::function<void(policies::Slot, policies::BlockKey)>;
  void advance(policies::Time now, const OnStored& on_stored);

  CacheSet holders(policies::BlockKey key) const;

 private:
  enum class What : std::uint8_t { stored, removed, cleared };
  struct Event {
    policies::Time due{};
    policies::BlockKey key = 0;
    policies::Slot slot = policies::kNoSlot;
    What what = What::stored;
  };
  void remove(policies::Slot slot, policies::BlockKey key);
  void clear(policies::Slot slot);

  policies::Duration delay_;
  std::deque<Event> under_way_;  // in the order in which they arrive
  boost::unordered_flat_map<policies::BlockKey, CacheSet> holders_;  // of blocks that have any
};

}  // namespace dualmesh::node
