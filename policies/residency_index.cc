#include "policies/residency_index.h"

#include <algorithm>
#include <boost/assert.hpp>
#include <boost/container/small_vector.hpp>
#include <boost/unordered/unordered_flat_map.hpp>

namespace dualmesh::policies {

namespace {

using Index = std::uint32_t;
constexpr Index kNone = 0xffffffff;
// Ages beyond half the range of a placement's clock would look negative.
constexpr Duration kLongestLife = std::chrono::hours(24 * 20);

// One block at one instance: on the list of its instance by touch, and on the list of its block's
// holders. 32 bytes.
struct Placement {
  BlockKey block;
  std::uint32_t touched_ms;  // wraps after 49 days; ages are differences
  Index newer, older;        // of the same slot
  Index next_holder, previous_holder;
  Slot slot;
};
static_assert(sizeof(Placement) == 32);

struct SlotList {
  Index newest = kNone;
  Index oldest = kNone;
  std::uint32_t size = 0;
};

// In pieces: growing moves nothing, and what is touched together mostly lies together.
class Placements {
 public:
  Placement& operator[](Index at) { return pieces_[at >> kPieceBits][at & (kPiece - 1)]; }
  const Placement& operator[](Index at) const {
    return pieces_[at >> kPieceBits][at & (kPiece - 1)];
  }
  Index grow() {
    if (size_ % kPiece == 0) pieces_.push_back(std::make_unique<Placement[]>(kPiece));
    return size_++;
  }

 private:
  static constexpr int kPieceBits = 9;
  static constexpr Index kPiece = 1 << kPieceBits;
  std::vector<std::unique_ptr<Placement[]>> pieces_;
  Index size_ = 0;
};

std::uint32_t in_ms(Duration d) {
  return static_cast<std::uint32_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(d).count());
}

}  // namespace

struct ResidencyIndex::State {
  Limits limits;
  std::uint32_t time_to_live_ms = 0;
  Placements placements;
  Index free = kNone;                                  // linked by next_holder
  boost::unordered_flat_map<BlockKey, Index> holders;  // first holder of a block
  std::vector<SlotList> slots;
  std::size_t expire_from = 0;
  std::size_t count = 0;

  Index first_holder(BlockKey block) const {
    const auto first = holders.find(block);
    return first == holders.end() ? kNone : first->second;
  }

  Index find(Slot slot, BlockKey block) const {
    Index at = first_holder(block);
    while (at != kNone && placements[at].slot != slot) at = placements[at].next_holder;
    return at;
  }

  void unlink_by_touch(Index at) {
    const Placement& p = placements[at];
    SlotList& list = slots[p.slot];
    (p.newer == kNone ? list.newest : placements[p.newer].older) = p.older;
    (p.older == kNone ? list.oldest : placements[p.older].newer) = p.newer;
  }

  void link_newest(Index at) {
    Placement& p = placements[at];
    SlotList& list = slots[p.slot];
    p.newer = kNone;
    p.older = list.newest;
    (list.newest == kNone ? list.oldest : placements[list.newest].newer) = at;
    list.newest = at;
  }

  void add(Slot slot, BlockKey block, std::uint32_t now_ms) {
    Index at = free;
    if (at == kNone) {
      at = placements.grow();
    } else {
      free = placements[at].next_holder;
    }
    Placement& p = placements[at];
    p.block = block;
    p.touched_ms = now_ms;
    p.slot = slot;
    p.previous_holder = kNone;
    const auto [first, is_new] = holders.try_emplace(block, at);
    p.next_holder = is_new ? kNone : first->second;
    if (!is_new) {
      placements[p.next_holder].previous_holder = at;
      first->second = at;
    }
    link_newest(at);
    ++slots[slot].size;
    ++count;
  }

  void remove(Index at) {
    Placement& p = placements[at];
    unlink_by_touch(at);
    if (p.next_holder != kNone) placements[p.next_holder].previous_holder = p.previous_holder;
    if (p.previous_holder != kNone) {
      placements[p.previous_holder].next_holder = p.next_holder;
    } else if (p.next_holder != kNone) {
      holders.find(p.block)->second = p.next_holder;
    } else {
      holders.erase(p.block);
    }
    --slots[p.slot].size;
    --count;
    p.next_holder = free;
    free = at;
  }

  std::int32_t age_ms(Index at, std::uint32_t now_ms) const {
    return static_cast<std::int32_t>(now_ms - placements[at].touched_ms);
  }

  bool expired(Index at, std::uint32_t now_ms) const {
    const std::int32_t age = age_ms(at, now_ms);
    return age >= 0 && static_cast<std::uint32_t>(age) >= time_to_live_ms;
  }
};

ResidencyIndex::ResidencyIndex(Limits limits) : state_(std::make_unique<State>()) {
  state_->limits = limits;
  state_->limits.capacity_blocks = std::max(limits.capacity_blocks, 1U);
  state_->time_to_live_ms = in_ms(std::min<Duration>(limits.time_to_live, kLongestLife));
}

ResidencyIndex::~ResidencyIndex() = default;
ResidencyIndex& ResidencyIndex::operator=(ResidencyIndex&&) noexcept = default;

std::optional<Duration> ResidencyIndex::touch(Slot slot, std::span<const BlockKey> blocks,
                                              Time now) {
  BOOST_ASSERT(slot != kNoSlot);
  State& s = *state_;
  if (s.slots.size() <= slot) s.slots.resize(slot + 1U);
  const std::uint32_t now_ms = in_ms(now);
  std::optional<Duration> age;  // of the last before the first that is missing
  // From the back: of one prompt the last block is the first to go, as in the engine, since without
  // its beginning the rest of a prefix is worth nothing. So at an instance the block before this
  // one is mostly the next newer, and needs no look-up.
  Index expected = kNone;
  for (auto block = blocks.rbegin(); block != blocks.rend(); ++block) {
    const bool is_next = expected != kNone && s.placements[expected].block == *block;
    const Index at = is_next ? expected : s.find(slot, *block);
    if (at != kNone) {
      Placement& placement = s.placements[at];
      if (!age) age = std::chrono::milliseconds(s.age_ms(at, now_ms));
      placement.touched_ms = now_ms;
      expected = placement.newer;
      s.unlink_by_touch(at);
      s.link_newest(at);
      continue;
    }
    age.reset();
    expected = kNone;
    if (s.slots[slot].size >= s.limits.capacity_blocks) s.remove(s.slots[slot].oldest);
    s.add(slot, *block, now_ms);
  }
  return age;
}

void ResidencyIndex::forget(Slot slot) {
  State& s = *state_;
  if (slot >= s.slots.size()) return;
  while (s.slots[slot].oldest != kNone) s.remove(s.slots[slot].oldest);
}

bool ResidencyIndex::touched_before(Slot slot, BlockKey block, Time then) const {
  const Index at = state_->find(slot, block);
  return at != kNone && state_->age_ms(at, in_ms(then)) > 0;
}

void ResidencyIndex::forget_older(Slot slot, Duration age, Time now) {
  State& s = *state_;
  if (slot >= s.slots.size()) return;
  const std::int64_t least_ms = in_ms(std::min(age, kLongestLife));
  while (s.slots[slot].oldest != kNone && s.age_ms(s.slots[slot].oldest, in_ms(now)) >= least_ms) {
    s.remove(s.slots[slot].oldest);
  }
}

void ResidencyIndex::expire(Time now, std::size_t at_most) {
  State& s = *state_;
  const std::uint32_t now_ms = in_ms(now);
  const std::size_t slots = s.slots.size();
  for (std::size_t i = 0; i < slots; ++i) {
    const std::size_t slot = (s.expire_from + i) % slots;
    SlotList& list = s.slots[slot];
    while (list.oldest != kNone && s.expired(list.oldest, now_ms)) {
      if (at_most-- == 0) {
        s.expire_from = slot;
        return;
      }
      s.remove(list.oldest);
    }
  }
}

void ResidencyIndex::longest_prefix(std::span<const BlockKey> blocks,
                                    std::vector<std::uint32_t>& hits) const {
  const State& s = *state_;
  hits.assign(s.slots.size(), 0);
  // Those that have all so far, where they have the last of it: what was touched before that at the
  // same instance is mostly the next block (see touch).
  boost::container::small_vector<Index, 32> going;
  for (std::uint32_t depth = 0; depth < blocks.size(); ++depth) {
    const BlockKey block = blocks[depth];
    const std::size_t before = going.size();
    std::size_t kept = 0;
    for (const Index last : going) {
      const Index at = s.placements[last].older;
      if (at == kNone || s.placements[at].block != block) continue;
      hits[s.placements[at].slot] = depth + 1;
      going[kept++] = at;
    }
    going.resize(kept);
    if (kept == before && depth > 0) continue;
    for (Index at = s.first_holder(block); at != kNone; at = s.placements[at].next_holder) {
      std::uint32_t& hit = hits[s.placements[at].slot];
      if (hit != depth) continue;
      hit = depth + 1;
      going.push_back(at);
    }
    if (going.empty()) return;
  }
}

std::size_t ResidencyIndex::size() const { return state_->count; }

std::size_t ResidencyIndex::size(Slot slot) const {
  return slot < state_->slots.size() ? state_->slots[slot].size : 0;
}

}  // namespace dualmesh::policies
