#include "node/simulator/speculation.h"

namespace dualmesh::node {

using policies::BlockKey;
using policies::Slot;
using policies::Time;

void Speculation::expect(Slot slot, BlockKey key, Time now) {
  const Entry entry{key, slot};
  until_[entry] = now + kLife;
  slots_[key].set(slot);
  order_.emplace_back(now + kLife, entry);
}

void Speculation::heard(Slot slot, BlockKey key) { drop({key, slot}); }

void Speculation::forget(Slot slot) {
  for (const auto& [until, entry] : order_) {
    if (entry.slot == slot) drop(entry);
  }
}

void Speculation::expire(Time now) {
  for (; !order_.empty() && order_.front().first <= now; order_.pop_front()) {
    const Entry entry = order_.front().second;
    const auto found = until_.find(entry);
    if (found != until_.end() && found->second <= now) drop(entry);
  }
}

CacheSet Speculation::at(BlockKey key, Time now) const {
  const auto found = slots_.find(key);
  CacheSet slots = found == slots_.end() ? CacheSet() : found->second;
  for (std::size_t slot = slots._Find_first(); slot < slots.size(); slot = slots._Find_next(slot)) {
    if (until_.at({key, static_cast<Slot>(slot)}) <= now) slots.reset(slot);
  }
  return slots;
}

void Speculation::drop(Entry entry) {
  if (until_.erase(entry) == 0) return;
  const auto found = slots_.find(entry.key);
  found->second.reset(entry.slot);
  if (found->second.none()) slots_.erase(found);
}

}  // namespace dualmesh::node
