#include "policies/block_index.h"

#include <algorithm>
#include <atomic>
#include <boost/assert.hpp>
#include <boost/container/small_vector.hpp>

#include "policies/index/block_table.h"
#include "policies/index/holder_sets.h"
#include "policies/index/reclaimer.h"

namespace dualmesh::policies {

namespace {

// A holder word is either one holder, or the number of a set of two and more under this bit.
constexpr HolderWord kIsSet = HolderWord{1} << kHolderSetBits;
static_assert(kHolderSetBits < kHolderWordBits);
static_assert(kMedia <= kMediaBits && kMaxCaches << kMediaBits <= 1 << 16);

constexpr std::uint32_t kUnlimited = UINT32_MAX;
constexpr std::size_t kDepths = 1 << 16;
constexpr std::size_t kSweptPerAdd =
    8;  // buckets: 30 entries, of which 2 go when the limit has fallen

constexpr std::uint32_t cache_of(Holder holder) { return holder >> kMediaBits; }
constexpr std::uint32_t media_of(Holder holder) { return holder & ((1u << kMediaBits) - 1); }
Holder holder_of(CacheId cache, Medium medium) {
  BOOST_ASSERT(cache != kSharedCache && cache < kMaxCaches);
  return static_cast<Holder>(cache << kMediaBits | 1u << static_cast<unsigned>(medium));
}

// The best weight of each combination of media.
using MediaWeights = std::array<float, std::size_t{1} << kMediaBits>;
MediaWeights best_weights(const MediumWeights& weights) {
  MediaWeights best{};
  for (std::size_t media = 1; media < best.size(); ++media) {
    for (std::size_t medium = 0; medium < kMedia; ++medium) {
      if (media >> medium & 1) best[media] = std::max(best[media], weights[medium]);
    }
  }
  return best;
}

// The holders that a word stands for, while it and the reading last.
class Holders {
 public:
  Holders(const HolderSets& sets, HolderWord word) : one_(static_cast<Holder>(word)) {
    holders_ = (word & kIsSet) != 0 ? sets.holders_of(word ^ kIsSet) : std::span(&one_, 1);
  }
  Holders(const Holders&) = delete;
  Holders& operator=(const Holders&) = delete;
  auto begin() const { return holders_.begin(); }
  auto end() const { return holders_.end(); }
  std::size_t size() const { return holders_.size(); }

 private:
  Holder one_;
  std::span<const Holder> holders_;
};

// Goes along a prompt and keeps who still has all of it.
class PrefixWalk {
 public:
  PrefixWalk(const HolderSets& sets, const MediumWeights& weights, const CacheGroup* group,
             std::vector<CacheMatch>& out)
      : sets_(sets), worth_(best_weights(weights)), group_(group), out_(out) {
    out.clear();
  }

  // The next block is held by these; false once nobody has it all.
  bool step(HolderWord word) {
    if (word != last_ || word == 0) {
      settle();
      if (word == 0) return false;
      const Holders holders(sets_, word);
      if (last_ == 0) {
        begin(holders);
      } else {
        keep(holders);
      }
      last_ = word;
    }
    ++run_;
    return !going_.empty();
  }
  // Writes down the blocks since the holders last changed.
  void settle() {
    for (const Going& one : going_) {
      out_[one.at].blocks += run_;
      out_[one.at].weighted += static_cast<float>(run_) * one.weight;
    }
    run_ = 0;
  }

 private:
  struct Going {
    std::uint32_t at;  // in `out`
    std::uint32_t cache;
    float weight;  // of each block at present
  };

  static constexpr std::uint32_t kShared = 1U << static_cast<unsigned>(Medium::shared);

  // The shared medium, if one of the group has the block there.
  std::uint32_t shared_media(const Holders& holders) const {
    if (group_ == nullptr) return 0;
    const bool is_shared = std::any_of(holders.begin(), holders.end(), [&](Holder holder) {
      return (media_of(holder) & kShared) != 0 && group_->test(cache_of(holder));
    });
    return is_shared ? kShared : 0;
  }
  bool reaches_shared(std::uint32_t cache) const {
    return cache == kSharedCache || (group_ != nullptr && group_->test(cache));
  }
  void go(std::uint32_t cache, std::uint32_t media) {
    going_.push_back({static_cast<std::uint32_t>(out_.size()), cache, worth_[media]});
    out_.push_back({static_cast<CacheId>(cache), 0, 0.0f});
  }
  void begin(const Holders& holders) {
    const std::uint32_t shared = shared_media(holders);
    if (shared != 0) go(kSharedCache, shared);
    for (const Holder holder : holders) {
      const std::uint32_t cache = cache_of(holder);
      go(cache, media_of(holder) | (reaches_shared(cache) ? shared : 0));
    }
  }
  void keep(const Holders& holders) {
    const std::uint32_t shared = shared_media(holders);
    auto at = holders.begin();
    const auto ends = [&](Going& one) {
      while (at != holders.end() && cache_of(*at) < one.cache) ++at;
      const bool has = at != holders.end() && cache_of(*at) == one.cache;
      const std::uint32_t media =
          (has ? media_of(*at) : 0) | (shared != 0 && reaches_shared(one.cache) ? shared : 0);
      one.weight = worth_[media];
      return media == 0;
    };
    going_.erase(std::remove_if(going_.begin(), going_.end(), ends), going_.end());
  }

  const HolderSets& sets_;
  const MediaWeights worth_;
  const CacheGroup* group_;  // null: nobody shares
  std::vector<CacheMatch>& out_;
  boost::container::small_vector<Going, 64> going_;  // in order of caches
  HolderWord last_ = 0;
  std::uint32_t run_ = 0;  // blocks with the holders of the last
};

}  // namespace

struct BlockIndex::State {
  State(Limits limits, std::pmr::memory_resource& memory)
      : limits(limits), table(reclaimer, memory) {}

  HolderWord word_of(std::span<const Holder> holders) {
    return holders.size() == 1 ? holders.front() : kIsSet | sets.intern(holders);
  }
  void give_up(HolderWord word) {
    if ((word & kIsSet) != 0) sets.release(word ^ kIsSet);
  }
  void count(std::uint16_t depth, std::ptrdiff_t pairs) {
    size.store(size.load(std::memory_order_relaxed) + pairs, std::memory_order_relaxed);
    by_depth[depth] += static_cast<std::uint32_t>(pairs);
    if (depth >= depth_limit) beyond += pairs;
  }
  bool full() const { return size.load(std::memory_order_relaxed) >= limits.max_blocks; }
  void lower_limit();
  void sweep(std::size_t buckets);
  bool make_room(std::uint16_t depth);
  void told() {  // for readers of the figures
    memory.store(table.memory_bytes() + sets.memory_bytes() + sizeof(*this) +
                     by_depth.size() * sizeof(by_depth[0]),
                 std::memory_order_relaxed);
  }

  const Limits limits;
  HolderSets sets{reclaimer};
  BlockTable table;
  std::vector<std::uint32_t> by_depth = std::vector<std::uint32_t>(kDepths);  // pairs
  std::uint32_t depth_limit = kUnlimited;
  std::size_t beyond = 0;  // pairs held at the limit or deeper
  std::atomic<std::size_t> size{0}, memory{0};
  Reclaimer reclaimer;  // last: what it still has to release goes before its owners do
};

// The limit falls so far that a sixteenth becomes free; not below 1.
void BlockIndex::State::lower_limit() {
  const std::size_t keep = limits.max_blocks - (limits.max_blocks + 15) / 16;
  std::size_t within = 0;
  std::uint32_t depth = 0;
  while (depth < std::min<std::uint32_t>(depth_limit, kDepths) &&
         within + by_depth[depth] <= keep) {
    within += by_depth[depth++];
  }
  depth_limit = std::max(depth, 1u);
  beyond = size.load(std::memory_order_relaxed) - (depth == 0 ? by_depth[0] : within);
}

void BlockIndex::State::sweep(std::size_t buckets) {
  const auto too_deep = [&](const BlockTable::Place& place) {
    const std::uint16_t depth = place.depth();
    if (depth < depth_limit) return false;
    const HolderWord word = place.holders();
    count(depth, -static_cast<std::ptrdiff_t>(Holders(sets, word).size()));
    give_up(word);
    return true;
  };
  while (buckets > 0 && beyond > 0) {
    const std::size_t piece = std::min(buckets, kSweptPerAdd);
    table.sweep(piece, too_deep);
    buckets -= piece;
  }
}

bool BlockIndex::State::make_room(std::uint16_t depth) {
  if (full() && beyond == 0) lower_limit();
  while (full() && beyond > 0) sweep(kSweptPerAdd);
  return !full() && depth < depth_limit;
}

BlockIndex::BlockIndex(Limits limits, std::pmr::memory_resource* memory)
    : state_(std::make_unique<State>(limits, *memory)) {
  BOOST_ASSERT(limits.max_blocks > 0 && limits.max_blocks >> kHolderSetBits == 0);
  state_->told();
}
BlockIndex::~BlockIndex() = default;

void BlockIndex::prefetch(BlockKey key) const { state_->table.prefetch_to_change(key); }

void BlockIndex::add(BlockKey key, CacheId cache, Medium medium, std::uint16_t depth) {
  State& state = *state_;
  if (state.beyond > 0) state.sweep(kSweptPerAdd);
  if (depth >= state.depth_limit) return;
  const Holder added = holder_of(cache, medium);
  auto place = state.table.find(key);
  if (!place) {
    if (state.full() && !state.make_room(depth)) return;
    state.table.insert(key, depth, added);
    state.count(depth, 1);
    return;
  }
  const HolderWord before = place->holders();
  const Holders holders(state.sets, before);
  const auto at = std::lower_bound(holders.begin(), holders.end(), added,
                                   [](Holder a, Holder b) { return cache_of(a) < cache_of(b); });
  const bool known_cache = at != holders.end() && cache_of(*at) == cache;
  if (known_cache && (*at | added) == *at) return;
  if (!known_cache && state.full()) {
    if (state.make_room(depth)) add(key, cache, medium, depth);  // it may be elsewhere now, or gone
    return;
  }
  boost::container::small_vector<Holder, 64> now(holders.begin(), holders.end());
  const auto here = now.begin() + (at - holders.begin());
  if (known_cache) {
    *here |= added;
  } else {
    now.insert(here, added);
    state.count(place->depth(), 1);
  }
  place->set(state.word_of(now));
  state.give_up(before);
}

void BlockIndex::remove(BlockKey key, CacheId cache, Medium medium) {
  State& state = *state_;
  const Holder removed = holder_of(cache, medium);
  auto place = state.table.find(key);
  if (!place) return;
  const HolderWord before = place->holders();
  if (before == removed) {  // by far the most usual: nobody else has it
    state.count(place->depth(), -1);
    state.table.erase(*place);
    return;
  }
  const Holders holders(state.sets, before);
  boost::container::small_vector<Holder, 64> now(holders.begin(), holders.end());
  const auto here = std::find_if(now.begin(), now.end(),
                                 [&](Holder holder) { return cache_of(holder) == cache; });
  if (here == now.end() || media_of(*here & removed) == 0) return;
  *here = static_cast<Holder>(*here ^ media_of(removed));
  if (media_of(*here) == 0) {
    now.erase(here);
    state.count(place->depth(), -1);
  }
  if (now.empty()) {
    state.table.erase(*place);
  } else {
    place->set(state.word_of(now));
  }
  state.give_up(before);
}

std::uint32_t BlockIndex::depth_limit() const { return state_->depth_limit; }

void BlockIndex::refill() {
  state_->depth_limit = kUnlimited;
  state_->beyond = 0;
}

void BlockIndex::upkeep(std::size_t at_most) {
  State& state = *state_;
  if (state.beyond > 0) state.sweep(at_most);
  state.reclaimer.collect();
  state.told();
}

void BlockIndex::longest_prefix(std::span<const BlockKey> keys, const MediumWeights& weights,
                                std::vector<CacheMatch>& out, const CacheGroup* group) const {
  // Three batches are under way: one prefetched, one begun, one finished.
  constexpr std::size_t kBatch = 16;  // as many cache misses as a core has under way
  const State& state = *state_;
  const Reclaimer::Reading reading = state.reclaimer.read();
  PrefixWalk walk(state.sets, weights, group, out);
  std::array<std::array<HolderWord, kBatch>, 2> words;
  const auto batch = [&](std::size_t number) {
    const std::size_t first = std::min(number * kBatch, keys.size());
    return keys.subspan(first, std::min(kBatch, keys.size() - first));
  };
  const auto prefetch = [&](std::size_t number) {
    for (const BlockKey key : batch(number)) state.table.prefetch(key);
  };
  prefetch(0);
  prefetch(1);
  state.table.begin(batch(0), words[0]);
  for (std::size_t number = 0; number * kBatch < keys.size(); ++number) {
    prefetch(number + 2);
    state.table.begin(batch(number + 1), words[(number + 1) % 2]);
    const auto now = batch(number);
    state.table.finish(now, words[number % 2]);
    for (std::size_t i = 0; i < now.size(); ++i) {
      if (!walk.step(words[number % 2][i])) return;
    }
  }
  walk.settle();
}

bool BlockIndex::holds(BlockKey key) const {
  const Reclaimer::Reading reading = state_->reclaimer.read();
  return state_->table.holders(key) != 0;
}

std::size_t BlockIndex::size() const { return state_->size.load(std::memory_order_relaxed); }
std::size_t BlockIndex::memory_bytes() const {
  return state_->memory.load(std::memory_order_relaxed);
}

}  // namespace dualmesh::policies
