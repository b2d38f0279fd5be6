#include "node/simulator/cache_events.h"

#include "net/error.h"

namespace dualmesh::node {

using policies::BlockKey;
using policies::Slot;
using policies::Time;

void CacheEvents::stored(Slot slot, BlockKey key, Time now) {
  DUALMESH_CHECK(slot < kMaxSimulatedCaches, "a cache at slot {}", slot);
  under_way_.push_back({now + delay_, key, slot, What::stored});
}

void CacheEvents::removed(Slot slot, BlockKey key, Time now) {
  under_way_.push_back({now + delay_, key, slot, What::removed});
}

void CacheEvents::cleared(Slot slot, Time now) {
  under_way_.push_back({now + delay_, 0, slot, What::cleared});
}

void CacheEvents::advance(Time now, const OnStored& on_stored) {
  for (; !under_way_.empty() && under_way_.front().due <= now; under_way_.pop_front()) {
    const Event& event = under_way_.front();
    switch (event.what) {
      case What::stored:
        holders_[event.key].set(event.slot);
        on_stored(event.slot, event.key);
        break;
      case What::removed:
        remove(event.slot, event.key);
        break;
      case What::cleared:
        clear(event.slot);
        break;
    }
  }
}

CacheSet CacheEvents::holders(BlockKey key) const {
  const auto found = holders_.find(key);
  return found == holders_.end() ? CacheSet() : found->second;
}

void CacheEvents::remove(Slot slot, BlockKey key) {
  const auto found = holders_.find(key);
  DUALMESH_CHECK(found != holders_.end() && found->second[slot], "{:x} is not held at {}", key,
                 slot);
  found->second.reset(slot);
  if (found->second.none()) holders_.erase(found);
}

void CacheEvents::clear(Slot slot) {
  boost::unordered::erase_if(holders_, [slot](auto& entry) {
    entry.second.reset(slot);
    return entry.second.none();
  });
}

}  // namespace dualmesh::node
