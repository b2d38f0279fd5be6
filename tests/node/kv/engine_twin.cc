#include "tests/node/kv/engine_twin.h"

#include <algorithm>
#include <iterator>

namespace dualmesh::node {
namespace {

std::uint64_t mixed(std::uint64_t word) {
  word = (word ^ word >> 30) * 0xbf58476d1ce4e5b9ULL;
  word = (word ^ word >> 27) * 0x94d049bb133111ebULL;
  return word ^ word >> 31;
}

}  // namespace

std::uint64_t EngineLife::digest(std::uint64_t step) const {
  return step == 0 || step > end() ? 0 : mixed(epoch.value * 1'000'003 + step) | 1;
}

bool EngineLife::held(EngineHash map_key, std::uint64_t step) const {
  const auto changes = copies.find(map_key);
  if (changes == copies.end()) return false;
  int now = 0;
  for (const auto& [at, count] : changes->second) {
    if (at <= step) now = count;
  }
  return now > 0;
}

void EngineTwin::restart(std::uint64_t stamp) {
  lives_.push_back({crdt::Epoch{stamp}, {}, {}});
  held_.clear();
}

EngineHash EngineTwin::hash_of(std::uint32_t which) const {
  return mixed(number_ * 100'000 + which + 1) | 1;
}

bool EngineTwin::holds(EngineHash hash) const {
  bool any = false;
  for (std::size_t medium = 0; medium < policies::kMedia; ++medium) {
    any = any || held_.contains(in_medium(hash, static_cast<policies::Medium>(medium)));
  }
  return any;
}

void EngineTwin::count(EngineHash map_key, int by) {
  auto& changes = life().copies[map_key];
  const int before = changes.empty() ? 0 : changes.back().second;
  changes.emplace_back(life().end(), std::max(0, before + by));
}

void EngineTwin::produce(std::mt19937_64& random) {
  std::vector<EngineEvent> batch;
  life().batches.emplace_back();
  const std::size_t changes = random() % (habits_.changes + 1);
  if (std::generate_canonical<double, 32>(random) < habits_.clears) {
    for (const auto& [key, block] : held_) count(key, -block.second);
    held_.clear();
    batch.push_back({BlockMap::Kind::clear, 0, {}});
  }
  for (std::size_t i = 0; i < changes; ++i) {
    const bool add = held_.empty() || random() % habits_.most_blocks >= held_.size();
    auto any = held_.begin();
    if (!held_.empty()) std::advance(any, random() % held_.size());
    if (add) {
      EngineEvent event;
      // A block's place in its prompt follows from its hash, so that equal hashes are equal blocks.
      // It is stored only after its parent.
      auto which = static_cast<std::uint32_t>(random() % habits_.hashes);
      while (which % 8 > 0 && !holds(hash_of(which - 1))) --which;
      event.hash = hash_of(which);
      event.depth = static_cast<std::uint16_t>(which % 8);
      if (event.depth > 0) event.parent = hash_of(which - 1);
      event.medium = static_cast<policies::Medium>(random() % 8 == 0 ? random() % 4 : 0);
      const EngineHash key = in_medium(event.hash, event.medium);
      auto& there = held_.try_emplace(key, event, 0).first->second;
      ++there.second;
      count(key, 1);
      batch.push_back(event);
    } else {
      EngineEvent event = any->second.first;
      event.kind = BlockMap::Kind::remove;
      count(any->first, -1);
      if (--any->second.second == 0) held_.erase(any);
      batch.push_back(event);
    }
  }
  life().batches.back() = std::move(batch);
}

policies::BlockKey EngineTwin::key_of(EngineHash hash) {
  return policies::block_name(mixed(hash) | 1);
}

std::vector<BlockChange> EngineTwin::translate(const std::vector<EngineEvent>& batch,
                                               const BlockMap* map) {
  std::map<EngineHash, bool> known;  // by this batch itself
  std::vector<BlockChange> changes;
  const auto is_known = [&](EngineHash hash) {
    if (const auto found = known.find(hash); found != known.end()) return found->second;
    if (map == nullptr) return false;
    for (std::size_t medium = 0; medium < policies::kMedia; ++medium) {
      const auto* entry = map->find(in_medium(hash, static_cast<policies::Medium>(medium)));
      if (entry != nullptr && entry->visible()) return true;
    }
    return false;
  };
  for (const EngineEvent& event : batch) {
    BlockChange change;
    change.kind = event.kind;
    if (event.kind != BlockMap::Kind::clear) change.key = in_medium(event.hash, event.medium);
    if (event.kind == BlockMap::Kind::clear) known.clear(), map = nullptr;
    if (event.kind == BlockMap::Kind::add) {
      const bool has_key = event.parent == 0 || is_known(event.parent) || is_known(event.hash);
      if (has_key) known[event.hash] = true;
      change.value = {has_key ? key_of(event.hash) : 0, event.depth, event.medium};
    }
    changes.push_back(change);
  }
  return changes;
}

}  // namespace dualmesh::node
