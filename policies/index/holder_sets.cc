#include "policies/index/holder_sets.h"

#include <xxhash.h>

#include <algorithm>
#include <boost/assert.hpp>
#include <new>

namespace dualmesh::policies {

HolderSets::~HolderSets() {
  for (HolderSetId id = 0; id < next_id_; ++id) ::operator delete(entry(id).load());
  for (auto& chunk : chunks_) delete chunk.load();
}

HolderSetId HolderSets::new_id() {
  if (!free_ids_.empty()) {
    const HolderSetId id = free_ids_.back();
    free_ids_.pop_back();
    return id;
  }
  BOOST_ASSERT(next_id_ >> kHolderSetBits == 0);
  std::atomic<Chunk*>& chunk = chunks_[next_id_ >> kChunkBits];
  if (chunk.load() == nullptr) chunk.store(new Chunk{}, std::memory_order_release);
  return next_id_++;
}

HolderSetId HolderSets::intern(std::span<const Holder> holders) {
  const std::uint64_t hash = XXH3_64bits(holders.data(), holders.size_bytes());
  const auto known = by_hash_.find(hash);
  if (known != by_hash_.end()) {
    const auto theirs = holders_of(known->second);
    if (std::equal(theirs.begin(), theirs.end(), holders.begin(), holders.end())) {
      ++entry(known->second).load()->references;
      return known->second;
    }
    ++unshared_;
  }
  void* const memory = ::operator new(sizeof(Set) + holders.size_bytes());
  Set* const set = new (memory) Set{hash, 1, static_cast<std::uint32_t>(holders.size())};
  std::copy(holders.begin(), holders.end(), set->holders());
  set_bytes_ += set->bytes();
  const HolderSetId id = new_id();
  entry(id).store(set, std::memory_order_release);
  by_hash_.try_emplace(hash, id);
  return id;
}

void HolderSets::release(HolderSetId id) {
  Set* const set = entry(id).load();
  if (--set->references > 0) return;
  const auto known = by_hash_.find(set->hash);
  if (known != by_hash_.end() && known->second == id) {
    by_hash_.erase(known);
  } else {
    --unshared_;
  }
  reclaimer_.retire(
      [](void* self, std::uint64_t what) {
        static_cast<HolderSets*>(self)->free(static_cast<HolderSetId>(what));
      },
      this, id);
}

void HolderSets::free(HolderSetId id) {
  Set* const set = entry(id).exchange(nullptr);
  set_bytes_ -= set->bytes();
  ::operator delete(set);
  free_ids_.push_back(id);
}

std::size_t HolderSets::memory_bytes() const {
  const std::size_t chunks = (next_id_ + (1u << kChunkBits) - 1) >> kChunkBits;
  return chunks_.size() * sizeof(chunks_[0]) + chunks * sizeof(Chunk) + set_bytes_ +
         by_hash_.bucket_count() * (sizeof(std::pair<std::uint64_t, HolderSetId>) + 1) +
         free_ids_.capacity() * sizeof(HolderSetId);
}

}  // namespace dualmesh::policies
