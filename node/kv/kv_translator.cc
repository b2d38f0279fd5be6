#include "node/kv/kv_translator.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <string>

namespace dualmesh::node {
namespace {

constexpr std::uint32_t kMaxBlockTokens = 65'536;
constexpr std::uint32_t kMaxDepth = UINT16_MAX;
constexpr std::array<policies::Medium, policies::kMedia> kMedia{
    policies::Medium::gpu, policies::Medium::cpu, policies::Medium::disk, policies::Medium::shared};

std::uint64_t sum(const IssueCounts& issues, EventIssue first, EventIssue last) {
  std::uint64_t total = 0;
  for (auto i = static_cast<std::size_t>(first); i <= static_cast<std::size_t>(last); ++i) {
    total += issues[i];
  }
  return total;
}

// An adapter that is known by number alone is told from every name by the byte before it.
policies::BlockKey root_of(const EngineEvent& event) {
  if (!event.lora.empty() || event.lora_id == 0) {
    return policies::token_root(event.block_tokens, event.lora, event.salt);
  }
  const std::string name = '\0' + std::to_string(event.lora_id);
  return policies::token_root(event.block_tokens, name, event.salt);
}

// Cache misses overlap best when asked for so many at a time.
constexpr std::size_t kAtOnce = 32;

// What is no token enters the chain before the block it belongs to.
policies::BlockKey with_extra(policies::BlockKey parent, std::uint64_t extra) {
  if (extra == 0 || parent == 0) return parent;
  const policies::BlockKey key = XXH3_64bits_withSeed(&extra, sizeof extra, parent);
  return key != 0 ? key : 1;
}

}  // namespace

std::uint64_t TranslatorCounters::skipped_events() const {
  return sum(issues, EventIssue::unknown_tag, EventIssue::other_group);
}

std::uint64_t TranslatorCounters::skipped_blocks() const {
  return sum(issues, EventIssue::token_mismatch, EventIssue::contradiction);
}

void KvTranslator::restart(const StreamFacts& facts) {
  facts_ = facts;
  groups_ = {};
}

void KvTranslator::learn(const StreamFacts& facts) {
  if (facts_.block_tokens == 0) facts_.block_tokens = facts.block_tokens;
  if (facts_.main_group < 0) facts_.main_group = facts.main_group;
}

// The first group of main attention that is stored is the stream's: of several, each holds every
// block, and the copies of one must not stand for those of another.
bool KvTranslator::stored_in_main_group(const EngineEvent& event) {
  const std::size_t group = event.group < 0 ? 0 : static_cast<std::size_t>(event.group);
  if (group >= kGroups) return false;
  GroupKind& kind = groups_[group];
  if (event.group_kind != GroupKind::unsaid) kind = event.group_kind;
  if (kind == GroupKind::other || (kind == GroupKind::unsaid && group != 0)) return false;
  if (facts_.main_group < 0) facts_.main_group = static_cast<std::int16_t>(group);
  return static_cast<std::size_t>(facts_.main_group) == group;
}

// In doubt a removal counts: it costs knowledge, not truth.
bool KvTranslator::removed_from_main_group(const EngineEvent& event) const {
  if (event.group < 0) return true;
  if (facts_.main_group >= 0) return event.group == facts_.main_group;
  return static_cast<std::size_t>(event.group) >= kGroups ||
         groups_[static_cast<std::size_t>(event.group)] != GroupKind::other;
}

void KvTranslator::begin_batch(const EngineBatch& batch) {
  std::size_t hashes = 0;
  for (const EngineEvent& event : batch.events) {
    if (event.kind == EngineEvent::Kind::stored) hashes += event.hashes;
  }
  constexpr std::size_t kKept = 1 << 14;
  mask_ = std::bit_ceil(std::max<std::size_t>(64, 2 * hashes)) - 1;
  const bool wraps = event_ > UINT32_MAX - batch.events.size() - 1;
  if (wraps || (stored_.size() > kKept && mask_ < kKept)) {
    stored_ = {};
    event_ = 0;
  }
  if (stored_.size() <= mask_) stored_.resize(mask_ + 1);
  first_event_ = event_ + 1;
}

// Where the hash is, or a free place for it. Of hashes that somebody chose to collide some are
// forgotten, instead of all being searched again and again.
KvTranslator::Stored& KvTranslator::place(EngineHash hash) {
  constexpr std::size_t kMaxProbes = 64;
  const std::size_t home = hash * 0x9e3779b97f4a7c15ULL >> 32;
  for (std::size_t i = 0; i < kMaxProbes; ++i) {
    Stored& stored = stored_[(home + i) & mask_];
    if (stored.event < first_event_ || stored.hash == hash) return stored;
  }
  return nowhere_ = {};
}

KvTranslator::Prefix KvTranslator::known_in(EngineHash hash, policies::Medium medium) const {
  const BlockMap::Entry* entry = map_ == nullptr ? nullptr : map_->find(in_medium(hash, medium));
  if (entry == nullptr || !entry->value.known()) return {};
  return {entry->value.key, entry->value.depth};
}

KvTranslator::Prefix KvTranslator::known(EngineHash hash, policies::Medium first) {
  const Stored& stored = place(hash);
  if (stored.event >= first_event_ && stored.key != 0) return {stored.key, stored.depth};
  Prefix found = known_in(hash, first);
  for (const policies::Medium medium : kMedia) {
    if (found.key != 0) break;
    if (medium != first) found = known_in(hash, medium);
  }
  return found;
}

void KvTranslator::add(EngineHash hash, policies::Medium medium, const Prefix& prefix) {
  ++counters_.stored;
  if (prefix.key == 0) count(EventIssue::unknown_parent);
  changes_->push_back(
      {BlockMap::Kind::add,
       in_medium(hash, medium),
       {.key = prefix.key, .depth = static_cast<std::uint16_t>(prefix.depth), .medium = medium}});
}

// Blocks of which the tokens are not said have the key that their hash is known by. Which blocks
// come must not depend on what is known: maps of equal bounds have equal blocks.
void KvTranslator::store_known(const EngineBatch& batch, const EngineEvent& event) {
  for (const EngineHash hash : batch.hashes_of(event)) {
    const Prefix prefix = known(hash, event.medium);
    if (prefix.key == 0) count(EventIssue::no_tokens);
    add(hash, event.medium, prefix);
  }
}

// Where the chain of an event begins: after its parent, or at the root.
KvTranslator::Prefix KvTranslator::before_first(const EngineEvent& event) {
  if (!event.has_parent) return {root_of(event), 0};
  Prefix parent = known(event.parent, event.medium);
  if (parent.key != 0) ++parent.depth;
  return parent;
}

// Is the hash, which by its chain is `prefix`, one to be held? Where only one of the two is known,
// `prefix` becomes what is.
bool KvTranslator::settle(EngineHash hash, policies::Medium medium, Prefix& prefix) {
  Stored& stored = place(hash);
  const bool in_batch = stored.event >= first_event_;
  if (in_batch && stored.event == event_) {
    count(EventIssue::repeated);
    return false;
  }
  Prefix held = in_batch ? Prefix{stored.key, stored.depth} : known_in(hash, medium);
  if (held.key == 0 && prefix.key == 0) held = known(hash, medium);
  if (prefix.key == 0) prefix = held;
  stored = {hash, held.key != 0 ? held.key : prefix.key, held.key != 0 ? held.depth : prefix.depth,
            event_};
  if (held.key == 0 || held.key == prefix.key) return true;
  count(EventIssue::contradiction);
  return false;
}

void KvTranslator::store_chain(const EngineBatch& batch, const EngineEvent& event) {
  const auto hashes = batch.hashes_of(event);
  const auto tokens = batch.tokens_of(event);
  const auto extras = batch.extras_of(event);
  Prefix prefix = before_first(event);
  for (std::size_t i = 0; i < hashes.size(); ++i) {
    if (i % kAtOnce == 0) {
      prefetch(batch, event.first_hash + i + 2 * kAtOnce);
      prefetch_entries(hashes.subspan(i, std::min(kAtOnce, hashes.size() - i)), event.medium);
    }
    if (prefix.key != 0) {
      const policies::BlockKey parent = with_extra(prefix.key, extras.empty() ? 0 : extras[i]);
      prefix.key = policies::token_block_key(
          parent, tokens.subspan(i * event.block_tokens, event.block_tokens));
    }
    if (prefix.depth > kMaxDepth) {
      count(EventIssue::depth_saturated);
      prefix.depth = kMaxDepth;
    }
    const bool own_parent = event.has_parent && hashes[i] == event.parent;
    if (own_parent) {
      count(EventIssue::own_parent);
    } else if (settle(hashes[i], event.medium, prefix)) {
      add(hashes[i], event.medium, prefix);
    }
    if (prefix.key != 0) ++prefix.depth;
  }
}

void KvTranslator::store(const EngineBatch& batch, const EngineEvent& event) {
  const std::uint32_t size = event.block_tokens;
  if (event.tokens == 0) return store_known(batch, event);
  if (size == 0 || size > kMaxBlockTokens) {
    return count(EventIssue::absurd_block_size, event.hashes);
  }
  if (std::uint64_t{size} * event.hashes != event.tokens) {
    return count(EventIssue::token_mismatch, event.hashes);
  }
  if (event.hashes == 1 && size < facts_.block_tokens) {
    return count(EventIssue::partial_block, event.hashes);
  }
  if (facts_.block_tokens != 0 && facts_.block_tokens != size) {
    count(EventIssue::block_size_changed);
  }
  facts_.block_tokens = size;
  store_chain(batch, event);
}

// Blocks and parents up to the batch's hash number `end`, removals included: their turn comes when
// the changes are applied.
void KvTranslator::prefetch(const EngineBatch& batch, std::size_t end) {
  if (map_ == nullptr) return;
  end = std::min(end, batch.hashes.size());
  while (next_hash_ < end) {
    const EngineEvent& event = batch.events[next_event_];
    const std::size_t event_end = event.first_hash + event.hashes;
    if (next_hash_ >= event_end) {
      ++next_event_;
      continue;
    }
    if (next_hash_ == event.first_hash && event.has_parent) {
      map_->prefetch(in_medium(event.parent, event.medium));
    }
    for (; next_hash_ < std::min(end, event_end); ++next_hash_) {
      map_->prefetch(in_medium(batch.hashes[next_hash_], event.medium));
    }
  }
}

// Of those prefetched before.
void KvTranslator::prefetch_entries(std::span<const EngineHash> hashes,
                                    policies::Medium medium) const {
  if (map_ == nullptr) return;
  for (const EngineHash hash : hashes) map_->prefetch_entry(in_medium(hash, medium));
}

void KvTranslator::remove(const EngineBatch& batch, const EngineEvent& event) {
  for (const EngineHash hash : batch.hashes_of(event)) {
    changes_->push_back({BlockMap::Kind::remove, in_medium(hash, event.medium), {}});
  }
  counters_.removed += event.hashes;
}

void KvTranslator::translate(const EngineBatch& batch, const BlockMap* map,
                             std::vector<BlockChange>& changes) {
  map_ = map;
  changes_ = &changes;
  begin_batch(batch);
  next_event_ = next_hash_ = 0;
  ++counters_.batches;
  for (std::size_t i = 0; i < kEventIssues; ++i) counters_.issues[i] += batch.issues[i];
  for (const EngineEvent& event : batch.events) {
    ++event_;
    ++counters_.events;
    prefetch(batch, event.first_hash + 2 * kAtOnce);
    switch (event.kind) {
      case EngineEvent::Kind::stored:
        if (stored_in_main_group(event)) {
          store(batch, event);
        } else {
          count(EventIssue::other_group);
        }
        break;
      case EngineEvent::Kind::removed:
        if (removed_from_main_group(event)) {
          remove(batch, event);
        } else {
          count(EventIssue::other_group);
        }
        break;
      case EngineEvent::Kind::cleared:
        changes.push_back({BlockMap::Kind::clear, 0, {}});
        ++counters_.cleared;
        break;
    }
  }
}

}  // namespace dualmesh::node
