#include "node/router/cache_knowledge.h"

#include <algorithm>

#include "policies/hits.h"

namespace dualmesh::node {

using policies::HitSource;
using policies::Slot;

namespace {

using policies::BlockKey;

// The blocks of a prompt in the index: hits in tokens, by slot.
struct BlockLookUp {
  const KvView& known;
  const policies::MediumWeights& weights;
  bool of_adapter = false;  // the model is known to be one

  void run(std::string_view model, const KnownTokens& tokens, std::vector<std::uint32_t>& hits) {
    hits.assign(known.by_slot.size(), 0);
    for (const std::uint32_t block_tokens : known.block_sizes) {
      const std::size_t blocks = std::min<std::size_t>(tokens.ids.size(), tokens.prompt_tokens - 1);
      const auto ids = tokens.ids.first(blocks / block_tokens * block_tokens);
      if (ids.empty()) continue;
      thread_local std::vector<BlockKey> keys;
      keys.clear();
      policies::token_chain(root_of(model, tokens.cache_salt, block_tokens, ids), block_tokens, ids,
                            keys);
      thread_local std::vector<policies::CacheMatch> matches;
      known.index->longest_prefix(keys, weights, matches);
      for (const policies::CacheMatch& match : matches) take(match, block_tokens, hits);
    }
  }

 private:
  // An adapter is asked for by its name in place of the model's, and engines tell caches by it.
  // Where nobody has said that it is one, its blocks do.
  BlockKey root_of(std::string_view model, std::string_view salt, std::uint32_t block_tokens,
                   std::span<const policies::TokenId> ids) const {
    const BlockKey adapter = policies::token_root(block_tokens, model, salt);
    if (of_adapter ||
        known.index->holds(policies::token_block_key(adapter, ids.first(block_tokens)))) {
      return adapter;
    }
    return policies::token_root(block_tokens, {}, salt);
  }

  void take(const policies::CacheMatch& match, std::uint32_t block_tokens,
            std::vector<std::uint32_t>& hits) const {
    const auto tokens =
        static_cast<std::uint32_t>(match.weighted * static_cast<float>(block_tokens));
    if (match.cache == policies::kSharedCache) {
      for (std::size_t slot = 0; slot < hits.size(); ++slot) {
        if (known.by_slot[slot].block_tokens == block_tokens) {
          hits[slot] = std::max(hits[slot], tokens);
        }
      }
      return;
    }
    if (match.cache >= known.caches.size()) return;  // newer than this view
    const Slot slot = known.caches[match.cache].slot;
    if (slot < hits.size()) hits[slot] = std::max(hits[slot], tokens);
  }
};

}  // namespace

void KvView::derive() {
  by_slot.clear();
  block_sizes.clear();
  for (const CacheOwner& cache : caches) {
    if (cache.slot == policies::kNoSlot) continue;
    // Predicted is for those who publish nothing.
    const HitSource confidence =
        cache.confidence == HitSource::predicted ? HitSource::unknown : cache.confidence;
    const bool first = !has_events(cache.slot);
    if (by_slot.size() <= cache.slot) by_slot.resize(cache.slot + 1U);
    OfSlot& of_slot = by_slot[cache.slot];
    of_slot.confidence = first ? confidence : std::min(of_slot.confidence, confidence);
    if (cache.block_tokens == 0) continue;
    of_slot.block_tokens = cache.block_tokens;
    block_sizes.push_back(cache.block_tokens);
  }
  std::sort(block_sizes.begin(), block_sizes.end());
  block_sizes.erase(std::unique(block_sizes.begin(), block_sizes.end()), block_sizes.end());
}

bool KvView::has_events(std::span<const Slot> slots) const {
  return std::any_of(slots.begin(), slots.end(), [this](Slot slot) { return has_events(slot); });
}

void CacheKnowledge::publish(ViewPointer view) {
  if (view && view->by_slot.empty()) view.reset();
  residency_.keep_recent(view != nullptr);
  const std::lock_guard lock(mutex_);
  view_.swap(view);
}

void CacheKnowledge::set_adapters(std::set<std::string> names) {
  auto set =
      names.empty() ? nullptr : std::make_shared<const std::set<std::string>>(std::move(names));
  const std::lock_guard lock(mutex_);
  adapters_.swap(set);
}

bool CacheKnowledge::is_adapter(const std::string& model) const {
  const std::lock_guard lock(mutex_);
  return adapters_ != nullptr && adapters_->contains(model);
}

CacheKnowledge::ViewPointer CacheKnowledge::view() const {
  const std::lock_guard lock(mutex_);
  return view_;
}

bool CacheKnowledge::wants_tokens(const policies::FleetView& fleet, std::string_view model) const {
  const ViewPointer known = view();
  if (!known) return false;
  const auto served = fleet.models.find(std::string(model));
  return served != fleet.models.end() && known->has_events(served->second.serving);
}

void CacheKnowledge::look_up(policies::Arrival& arrival, const KnownTokens& tokens) const {
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
  if (const ViewPointer known = view()) join(*known, arrival, tokens);
}

void CacheKnowledge::join(const KvView& known, policies::Arrival& arrival,
                          const KnownTokens& tokens) const {
  thread_local std::vector<std::uint32_t> held, recent;  // by slot; scratch
  BlockLookUp{known, weights_, is_adapter(arrival.model)}.run(arrival.model, tokens, held);
  residency_.longest_recent_prefix(arrival.chain.blocks, recent);
  policies::to_tokens(recent, arrival.block_tokens);
  const std::size_t slots = known.by_slot.size();
  if (arrival.hit_tokens.size() < slots) arrival.hit_tokens.resize(slots);
  recent.resize(std::max(recent.size(), slots));
  arrival.hit_sources.assign(slots, HitSource::predicted);
  const bool whole = tokens.ids.size() == tokens.prompt_tokens;
  for (std::size_t slot = 0; slot < slots; ++slot) {
    const KvView::OfSlot& of_slot = known.by_slot[slot];
    std::uint32_t& hit = arrival.hit_tokens[slot];
    arrival.hit_sources[slot] = of_slot.confidence;
    if (of_slot.confidence < HitSource::degraded) continue;
    // All we could ask for is there, but that is not all of the prompt: more may be.
    const bool beyond = !whole && held[slot] + of_slot.block_tokens > tokens.ids.size();
    if (!whole) arrival.hit_sources[slot] = HitSource::degraded;
    const bool proven = of_slot.confidence == HitSource::exact && !beyond;
    hit = std::max(held[slot], proven ? recent[slot] : hit);
    hit = std::min(hit, arrival.input_tokens - 1);
  }
}

}  // namespace dualmesh::node
