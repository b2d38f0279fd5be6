#include "node/router/cache_knowledge.h"

#include <algorithm>
#include <boost/container/small_vector.hpp>
#include <utility>

#include "policies/hits.h"

namespace dualmesh::node {

using policies::HitSource;
using policies::Slot;

namespace {

using policies::BlockKey;

using Chains = std::vector<std::vector<BlockKey>>;  // by KvView::block_sizes

// The blocks of a prompt in the index: hits in tokens, by cache.
struct BlockLookUp {
  const KvView& known;
  const policies::MediumWeights& weights;
  std::optional<bool> of_adapter;  // nothing: not known
  const policies::CacheGroup* group = nullptr;

  // False: it is not known whose blocks to look for.
  bool run(std::string_view model, const KnownTokens& tokens, std::vector<std::uint32_t>& hits,
           Chains& chains) {
    bool known_whose = of_adapter.has_value();
    hits.assign(known.caches.size(), 0);
    group = known.group_of(model);
    chains.resize(std::max(chains.size(), known.block_sizes.size()));
    for (std::size_t size = 0; size < known.block_sizes.size(); ++size) {
      const std::uint32_t block_tokens = known.block_sizes[size];
      std::vector<BlockKey>& keys = chains[size];
      keys.clear();
      const std::size_t blocks = std::min<std::size_t>(tokens.ids.size(), tokens.prompt_tokens - 1);
      const auto ids = tokens.ids.first(blocks / block_tokens * block_tokens);
      if (ids.empty()) continue;
      const auto root = root_of(model, tokens.cache_salt, block_tokens, ids);
      if (!root) continue;
      known_whose = true;
      policies::token_chain(*root, block_tokens, ids, keys);
      thread_local std::vector<policies::CacheMatch> matches;
      known.index->longest_prefix(keys, weights, matches, group);
      for (const policies::CacheMatch& match : matches) take(match, block_tokens, hits);
    }
    return known_whose;
  }

 private:
  // An adapter is asked for by its name in place of the model's, and engines tell caches by it.
  // Where nobody has said that it is one, its blocks do; and where there are none of it, those of
  // its model must not be taken for them.
  std::optional<BlockKey> root_of(std::string_view model, std::string_view salt,
                                  std::uint32_t block_tokens,
                                  std::span<const policies::TokenId> ids) const {
    const BlockKey adapter = policies::token_root(block_tokens, model, salt);
    if (of_adapter.value_or(false) ||
        known.index->holds(policies::token_block_key(adapter, ids.first(block_tokens)))) {
      return adapter;
    }
    if (!of_adapter) return std::nullopt;
    return policies::token_root(block_tokens, {}, salt);
  }

  void take(const policies::CacheMatch& match, std::uint32_t block_tokens,
            std::vector<std::uint32_t>& hits) const {
    const auto tokens =
        static_cast<std::uint32_t>(match.weighted * static_cast<float>(block_tokens));
    if (match.cache == policies::kSharedCache) {
      for (std::size_t cache = 0; cache < hits.size(); ++cache) {
        if (group->test(cache) && known.caches[cache].block_tokens == block_tokens) {
          hits[cache] = std::max(hits[cache], tokens);
        }
      }
      return;
    }
    if (match.cache >= hits.size()) return;  // newer than this view
    hits[match.cache] = std::max(hits[match.cache], tokens);
  }
};

struct Expected {
  std::uint32_t tokens = 0;
  HitSource source = HitSource::unknown;
};

}  // namespace

// All that is known of a prompt, before it is said of instances.
struct CacheKnowledge::Joined {
  const KvView& known;
  const SharedResidency& residency;
  const policies::Arrival& arrival;
  const Chains& chains;
  std::span<const std::uint32_t> held;            // by cache
  std::span<const std::uint32_t> placed, recent;  // by slot: ever, and in the last seconds
  std::size_t ids;
  bool whole;  // they are all of it

  // Has the engine said of what was placed at `slot` lately that it came and is gone?
  bool is_gone(policies::CacheId cache, Slot slot) const {
    const std::uint32_t block_tokens = known.caches[cache].block_tokens;
    if (known.removals == nullptr || block_tokens == 0 || recent[slot] <= held[cache]) return false;
    const auto size = std::ranges::lower_bound(known.block_sizes, block_tokens);
    const std::vector<BlockKey>& chain = chains[size - known.block_sizes.begin()];
    const std::size_t next = held[cache] / block_tokens, text = held[cache] / arrival.block_tokens;
    if (next >= chain.size() || text >= arrival.chain.blocks.size()) return false;
    for (const BlockKey key : {chain[next], policies::RemovalMarks::kAll}) {
      const auto at = known.removals->removed_at(key, cache);
      if (at && residency.placed_before(slot, arrival.chain.blocks[text], *at)) return true;
    }
    return false;
  }

  // Of a cache of `slot`. What was placed there lies in one of its `ranks`, unless it is `found`.
  Expected at(policies::CacheId cache, Slot slot, std::uint32_t ranks, std::uint32_t found) const {
    const CacheOwner& owner = known.caches[cache];
    const bool is_known = owner.confidence >= HitSource::degraded;
    const std::uint32_t here = is_known ? held[cache] : 0;
    // All we could ask for is there, but that is not all of the prompt: more may be.
    const bool beyond = !whole && here + owner.block_tokens > ids;
    const bool proven = owner.confidence == HitSource::exact && !beyond;
    const std::uint32_t there = proven ? recent[slot] : placed[slot];
    const std::uint32_t more = there > std::max(here, found) ? there - here : 0;
    const HitSource source =
        owner.confidence == HitSource::predicted ? HitSource::unknown : owner.confidence;
    return {here + more / ranks, whole ? source : std::min(source, HitSource::degraded)};
  }
};

void KvView::derive() {
  by_slot.clear();
  by_rank.clear();
  block_sizes.clear();
  for (const CacheOwner& cache : caches) {
    if (cache.slot == policies::kNoSlot) continue;
    // Predicted is for those who publish nothing.
    const HitSource confidence =
        cache.confidence == HitSource::predicted ? HitSource::unknown : cache.confidence;
    const bool first = !has_events(cache.slot);
    if (by_slot.size() <= cache.slot) by_slot.resize(cache.slot + 1U);
    OfSlot& of_slot = by_slot[cache.slot];
    ++of_slot.ranks;
    of_slot.instance = cache.instance;
    by_rank.push_back(static_cast<policies::CacheId>(&cache - caches.data()));
    of_slot.confidence = first ? confidence : std::min(of_slot.confidence, confidence);
    if (cache.block_tokens == 0) continue;
    of_slot.block_tokens = cache.block_tokens;
    block_sizes.push_back(cache.block_tokens);
  }
  std::sort(by_rank.begin(), by_rank.end(), [this](auto a, auto b) {
    return std::pair(caches[a].slot, caches[a].rank) < std::pair(caches[b].slot, caches[b].rank);
  });
  std::uint32_t next = 0;
  for (OfSlot& of_slot : by_slot) of_slot.first_cache = std::exchange(next, next + of_slot.ranks);
  std::sort(block_sizes.begin(), block_sizes.end());
  block_sizes.erase(std::unique(block_sizes.begin(), block_sizes.end()), block_sizes.end());
}

void KvView::derive_groups(const policies::FleetView& fleet) {
  groups.clear();
  std::vector<policies::CacheId> sharing;
  for (std::size_t cache = 0; cache < caches.size(); ++cache) {
    if (caches[cache].shares) sharing.push_back(static_cast<policies::CacheId>(cache));
  }
  if (sharing.empty()) return;
  for (const auto& [name, model] : fleet.models) {
    policies::CacheGroup group;
    for (const policies::CacheId cache : sharing) {
      if (std::ranges::find(model.serving, caches[cache].slot) != model.serving.end()) {
        group.set(cache);
      }
    }
    if (group.any()) groups.emplace(name, group);
  }
}

const policies::CacheGroup* KvView::group_of(std::string_view model) const {
  const auto found = groups.find(model);
  return found == groups.end() ? nullptr : &found->second;
}

bool KvView::has_events(std::span<const Slot> slots) const {
  return std::any_of(slots.begin(), slots.end(), [this](Slot slot) { return has_events(slot); });
}

void CacheKnowledge::publish(ViewPointer view) {
  if (view && view->by_slot.empty()) view.reset();
  residency_.keep_recent(view != nullptr);
  const std::lock_guard lock(mutex_);
  view_.swap(view);
  has_view_.store(view_ != nullptr, std::memory_order_release);
}

void CacheKnowledge::set_kinds(ModelKinds kinds) {
  const std::lock_guard lock(mutex_);
  kinds_.swap(kinds);
}

std::optional<bool> CacheKnowledge::is_adapter(const std::string& model) const {
  const std::lock_guard lock(mutex_);
  const auto found = kinds_.find(model);
  return found == kinds_.end() ? std::nullopt : std::optional(found->second);
}

CacheKnowledge::ViewPointer CacheKnowledge::view() const {
  if (!has_view()) return nullptr;
  const std::lock_guard lock(mutex_);
  return view_;
}

bool CacheKnowledge::wants_tokens(const policies::FleetView& fleet, std::string_view model) const {
  const ViewPointer known = view();
  if (!known) return false;
  const auto served = fleet.models.find(std::string(model));
  return served != fleet.models.end() && known->has_events(served->second.serving);
}

void CacheKnowledge::look_up(policies::Arrival& arrival, const KnownTokens& tokens,
                             RankChoices& ranks) const {
  if (tokens.prompt_tokens > 0) {
    arrival.input_tokens = tokens.prompt_tokens;
    // What a block of its text has turned out to be.
    const std::uint64_t bytes = std::max<std::uint64_t>(arrival.chain.bytes, 1);
    arrival.block_tokens = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(
        std::uint64_t{tokens.block_bytes} * tokens.prompt_tokens / bytes, 1, UINT32_MAX));
  }
  residency_.longest_prefix(arrival.chain.blocks, arrival.hit_tokens);
  policies::to_tokens(arrival.hit_tokens, arrival.block_tokens);
  if (tokens.ids.empty()) return;
  if (const ViewPointer known = view()) join(*known, arrival, tokens, ranks);
}

void CacheKnowledge::join(const KvView& known, policies::Arrival& arrival,
                          const KnownTokens& tokens, RankChoices& ranks) const {
  thread_local std::vector<std::uint32_t> held, placed, recent;  // scratch, as is the next
  thread_local Chains chains;
  const std::size_t slots = known.by_slot.size();
  if (arrival.hit_tokens.size() < slots) arrival.hit_tokens.resize(slots);
  arrival.hit_sources.assign(slots, HitSource::predicted);
  BlockLookUp look_up{known, weights_, is_adapter(arrival.model)};
  if (!look_up.run(arrival.model, tokens, held, chains)) {
    for (Slot slot = 0; slot < slots; ++slot) {
      if (known.has_events(slot)) arrival.hit_sources[slot] = HitSource::unknown;
    }
    return;
  }
  residency_.longest_recent_prefix(arrival.chain.blocks, recent);
  policies::to_tokens(recent, arrival.block_tokens);
  recent.resize(std::max(recent.size(), slots));
  placed = arrival.hit_tokens;
  const bool whole = tokens.ids.size() == tokens.prompt_tokens;
  const Joined joined{known,  residency_, arrival,           chains, held,
                      placed, recent,     tokens.ids.size(), whole};
  for (Slot slot = 0; slot < slots; ++slot) {
    const KvView::OfSlot& of_slot = known.by_slot[slot];
    if (of_slot.ranks == 0) continue;
    if (of_slot.ranks > 1) {
      join_ranks(joined, slot, arrival, ranks);
    } else {
      const policies::CacheId cache = known.by_rank[of_slot.first_cache];
      const std::uint32_t found = joined.is_gone(cache, slot) ? recent[slot] : 0;
      const Expected expected = joined.at(cache, slot, 1, found);
      arrival.hit_tokens[slot] = expected.tokens;
      arrival.hit_sources[slot] = expected.source;
    }
    if (arrival.hit_sources[slot] < HitSource::degraded) continue;
    arrival.hit_tokens[slot] = std::min(arrival.hit_tokens[slot], arrival.input_tokens - 1);
  }
}

void CacheKnowledge::join_ranks(const Joined& joined, Slot slot, policies::Arrival& arrival,
                                RankChoices& ranks) const {
  const KvView& known = joined.known;
  const KvView::OfSlot& of_slot = known.by_slot[slot];
  // The longest of those that are known for certain, and the shortest.
  std::uint32_t longest = 0, shortest = UINT32_MAX;
  bool gone = false;
  for (const policies::CacheId cache : known.ranks_of(of_slot)) {
    if (known.caches[cache].confidence == HitSource::exact) {
      longest = std::max(longest, joined.held[cache]);
    }
    shortest = std::min(shortest, joined.held[cache]);
    gone |= joined.is_gone(cache, slot);
  }
  std::uint32_t found = longest > 0 ? longest + of_slot.block_tokens - 1 : 0;
  if (gone) found = std::max(found, joined.recent[slot]);
  std::uint64_t sum = 0;
  Expected named, anywhere{0, HitSource::exact};
  boost::container::small_vector<std::uint32_t, 16> among;
  RankChoice choice{.slot = slot, .instance = of_slot.instance, .ranks = of_slot.ranks};
  for (const policies::CacheId cache : known.ranks_of(of_slot)) {
    const CacheOwner& owner = known.caches[cache];
    const Expected expected = joined.at(cache, slot, of_slot.ranks, found);
    sum += expected.tokens;
    anywhere.source = std::min(anywhere.source, expected.source);
    if (ranks.wanted == owner.rank) {
      choice.rank = owner.rank;
      named = expected;
    }
    const bool is_best = owner.confidence == HitSource::exact && joined.held[cache] == longest;
    if (is_best) among.push_back(owner.rank);
  }
  anywhere.tokens = static_cast<std::uint32_t>(sum / of_slot.ranks);
  const bool worth_it = joined.whole && longest >= std::uint64_t{shortest} + of_slot.block_tokens;
  if (!ranks.wanted && worth_it) {
    choice.rank = rank_load_.pick(of_slot.instance, of_slot.ranks, among);
    named = {longest, HitSource::exact};
  }
  choice.anywhere_tokens = anywhere.tokens;
  choice.anywhere_source = anywhere.source;
  ranks.of_instances.push_back(choice);
  const Expected& expected = choice.rank ? named : anywhere;
  arrival.hit_tokens[slot] = expected.tokens;
  arrival.hit_sources[slot] = expected.source;
}

}  // namespace dualmesh::node
