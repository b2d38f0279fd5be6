#include "node/kv/kv_state.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "node/kv/kv_index_feed.h"
#include "node/kv/kv_state_stream.h"

namespace dualmesh::node {

struct KvState::State {
  explicit State(KvLimits kv_limits)
      : limits(kv_limits), feed(limits.max_blocks - limits.max_blocks / 8) {}

  Stream* find(const StreamKey& key) {
    const auto found = streams.find(key);
    return found == streams.end() ? nullptr : found->second.get();
  }
  // What is done to a stream, with all that hangs on its size.
  template <class Change>
  Taken change(const StreamKey& key, std::size_t changes, Change&& what) {
    Stream* const stream = find(key);
    if (stream == nullptr) return Taken::refused;
    const std::size_t size = stream->map.size();
    const auto place = [&] {
      return std::tuple(stream->epoch, stream->map.base(), stream->map.end(), stream->flooded);
    };
    const auto before = place();
    const Taken taken = what(*stream);
    blocks += stream->map.size() - size;
    if (taken == Taken::changed || place() != before) mark_moved(key, *stream);
    if (taken == Taken::changed) stream->changes += changes;
    if (blocks <= limits.max_blocks) return taken;
    const bool over_its_share = stream->map.size() > limits.max_blocks / streams.size();
    if (over_its_share) give_up(key, *stream);
    give_up_largest();
    return stream->flooded ? Taken::refused : taken;
  }
  void mark_moved(const StreamKey& key, Stream& stream) {
    if (!std::exchange(stream.moved, true)) moved.push_back(key);
  }
  void give_up(const StreamKey& key, Stream& stream);
  void give_up_largest();
  void look_for_deep_blocks();
  void refill_index(std::size_t at_most);

  const KvLimits limits;
  KvIndexFeed feed;
  std::map<StreamKey, std::unique_ptr<Stream>> streams;
  std::vector<StreamKey> moved;
  std::size_t blocks = 0;
  std::uint64_t generation = 1;
};

void KvState::State::give_up_largest() {
  while (blocks > limits.max_blocks) {
    const auto largest = std::max_element(
        streams.begin(), streams.end(),
        [](const auto& a, const auto& b) { return a.second->map.size() < b.second->map.size(); });
    give_up(largest->first, *largest->second);
  }
}

void KvState::State::give_up(const StreamKey& key, Stream& stream) {
  blocks -= stream.map.size();
  stream.give_up(stream.map.end());
  mark_moved(key, stream);
}

// One stream at a time, and only while little else is to leave.
void KvState::State::look_for_deep_blocks() {
  if (feed.depth_limit_fell()) {
    for (auto& [key, stream] : streams) stream->scan_deep = true;
  }
  for (auto& [key, stream] : streams) {
    if (feed.leaving() > 0) return;
    if (std::exchange(stream->scan_deep, false)) feed.drop_deep(stream->cache, stream->map);
  }
}

// Once there is room again; a piece of one stream at a time.
void KvState::State::refill_index(std::size_t at_most) {
  std::size_t present = 0;
  for (const auto& [key, stream] : streams) present += stream->map.present();
  const bool begins = feed.refill(present);
  for (auto& [key, stream] : streams) {
    if (begins) stream->refill_at = 0;
  }
  for (auto& [key, stream] : streams) {
    if (stream->refill_at) return stream->refill(at_most);
  }
}

KvState::KvState(KvLimits limits) : state_(std::make_unique<State>(limits)) {}
KvState::~KvState() = default;

const KvLimits& KvState::limits() const { return state_->limits; }

void KvState::set_streams(std::span<const StreamKey> streams,
                          std::span<const std::uint64_t> sources) {
  std::map<StreamKey, std::uint64_t> wanted;
  for (std::size_t i = 0; i < streams.size(); ++i) {
    wanted.emplace(streams[i], i < sources.size() ? sources[i] : 0);
  }
  const std::uint64_t before = state_->generation;
  for (auto held = state_->streams.begin(); held != state_->streams.end();) {
    const auto kept = wanted.find(held->first);
    if (kept != wanted.end() && kept->second == held->second->source) {
      ++held;
      continue;
    }
    state_->blocks -= held->second->map.size();
    state_->feed.retire(held->second->cache, held->second->map);
    held = state_->streams.erase(held);
    state_->generation = before + 1;
  }
  for (const auto& [key, source] : wanted) {
    if (state_->streams.contains(key)) continue;
    const auto id = state_->feed.take_id();
    if (!id) break;  // more streams than the index tells apart
    auto& stream = state_->streams[key];
    stream = std::make_unique<Stream>(state_->feed, state_->limits, *id);
    stream->source = source;
    state_->generation = before + 1;
  }
}

std::uint64_t KvState::source(const StreamKey& stream) const {
  const Stream* const held = state_->find(stream);
  return held != nullptr ? held->source : 0;
}

std::uint64_t KvState::generation() const { return state_->generation; }

std::optional<policies::CacheId> KvState::cache_of(const StreamKey& stream) const {
  const Stream* const held = state_->find(stream);
  return held != nullptr ? std::optional(held->cache) : std::nullopt;
}

Taken KvState::observed(const StreamKey& stream, const ObservedBatches& batches) {
  return state_->change(stream, batches.changes.size(), [&](Stream& held) {
    if (batches.epoch.value == 0 || batches.to < batches.from) return Taken::refused;
    if (batches.epoch < held.epoch) return Taken::older;
    const bool new_life = batches.epoch > held.epoch;
    if (new_life) {
      held.begin_life(batches.epoch, batches.facts, batches.from);
    } else if (batches.from > held.map.end() && !held.flooded) {
      held.begin_anew(batches.from);
    }
    if (batches.to != batches.from) return held.append(batches);
    if (held.flooded || held.map.end() != batches.to) return Taken::nothing_new;
    held.last_batch = batches.last_batch;
    return Taken::changed;
  });
}

Taken KvState::begun(const StreamKey& stream, crdt::Epoch epoch) {
  return state_->change(stream, 0, [&](Stream& held) {
    if (epoch <= held.epoch) return Taken::older;
    held.begin_life(epoch, {}, {});
    return Taken::changed;
  });
}

Taken KvState::take_delta(const StreamKey& stream, const ObservedBatches& delta) {
  return state_->change(stream, delta.changes.size(), [&](Stream& held) {
    if (delta.epoch.value == 0 || delta.to <= delta.from) return Taken::refused;
    if (delta.epoch < held.epoch) return Taken::older;
    if (delta.epoch > held.epoch) {
      if (delta.from.value != 0) return Taken::gap;
      held.begin_life(delta.epoch, delta.facts, delta.from);
    }
    return held.append(delta);
  });
}

Taken KvState::take_state(const StreamKey& stream, const StreamPosition& position,
                          const StreamFacts& facts, BlockMap&& map) {
  return state_->change(stream, 0, [&](Stream& held) {
    if (position.epoch.value == 0 || map.base() != position.base || map.end() != position.end) {
      return Taken::refused;
    }
    if (position.epoch < held.epoch) return Taken::older;
    const bool is_new_life = position.epoch > held.epoch;
    if (is_new_life) held.begin_life(position.epoch, facts, position.base);
    if (held.flooded && !held.takes_back(position, map.size())) return Taken::refused;
    if (held.flooded) held.begin_anew(position.base);
    if (position.end >= held.map.end()) held.learn(facts);
    const Taken taken = held.join(position, std::move(map));
    if (taken != Taken::nothing_new || !is_new_life) return taken;
    held.last_batch = position.last_batch;  // an interval without steps
    return Taken::changed;
  });
}

bool KvState::doubt(const StreamKey& stream, crdt::Epoch epoch, crdt::Version step) {
  return state_->change(stream, 0, [&](Stream& held) {
    if (epoch > held.epoch) {
      const bool is_later = epoch > held.later_life;
      if (is_later || (epoch == held.later_life && step > held.later_away)) {
        held.later_life = epoch;
        held.later_away = step;
      }
      return Taken::nothing_new;
    }
    const bool is_passed = epoch < held.first_name || step < held.map.end();
    if (is_passed || step <= held.away) return Taken::nothing_new;
    held.away = step;
    held.cut.reset();  // it says so
    return Taken::changed;
  }) == Taken::changed;
}

bool KvState::rename(const StreamKey& stream, crdt::Epoch epoch) {
  return state_->change(stream, 0, [&](Stream& held) {
    if (held.epoch.value == 0 || epoch <= held.epoch) return Taken::older;
    held.epoch = epoch;
    if (held.later_life == epoch) held.away = std::max(held.away, held.later_away);
    held.cut.reset();
    return Taken::changed;
  }) == Taken::changed;
}

void KvState::forget(const StreamKey& stream) {
  state_->change(stream, 0, [&](Stream& held) {
    if (held.flooded) return Taken::refused;
    held.begin_life({}, {}, {});
    return Taken::changed;
  });
}

StreamPosition KvState::position(const StreamKey& stream) const {
  const Stream* const held = state_->find(stream);
  return held != nullptr ? held->position() : StreamPosition{};
}

StreamFacts KvState::facts(const StreamKey& stream) const {
  const Stream* const held = state_->find(stream);
  return held != nullptr ? held->facts : StreamFacts{};
}

const BlockMap* KvState::map(const StreamKey& stream) const {
  const Stream* const held = state_->find(stream);
  return held != nullptr ? &held->map : nullptr;
}

std::optional<LoggedChanges> KvState::changes_since(const StreamKey& stream, crdt::Version from,
                                                    std::size_t max_changes) const {
  const Stream* const held = state_->find(stream);
  return held != nullptr ? held->log.since(from, max_changes) : std::nullopt;
}

std::uint64_t KvState::batch_at(const StreamKey& stream, crdt::Version step) const {
  const Stream* const held = state_->find(stream);
  if (held == nullptr) return 0;
  return step == held->map.end() ? held->last_batch : held->log.batch_at(step);
}

std::shared_ptr<const StreamCut> KvState::cut(const StreamKey& stream, crdt::Version least) {
  Stream* const held = state_->find(stream);
  if (held == nullptr || held->flooded) return nullptr;
  if (auto shared = held->cut.lock()) {
    const StreamPosition& at = shared->position;
    const bool late_enough = at.end >= std::min(least, held->map.end());
    if (late_enough && at.end >= held->log.begin() && at.base == held->map.base()) return shared;
  }
  auto made = std::make_shared<StreamCut>();
  made->position = held->position();
  made->facts = held->facts;
  made->entries.reserve(held->map.size());
  held->map.for_each([&](EngineHash hash, const BlockMap::Entry& entry) {
    made->entries.emplace_back(hash, entry);
  });
  held->cut = made;
  return made;
}

bool KvState::flooded(const StreamKey& stream) const {
  const Stream* const held = state_->find(stream);
  return held != nullptr && held->flooded;
}

bool KvState::takes_back(const StreamKey& stream, const StreamPosition& position) const {
  const Stream* const held = state_->find(stream);
  return held != nullptr && held->flooded && position.epoch == held->epoch &&
         held->takes_back(position, position.digest.count);
}

bool KvState::shares(const StreamKey& stream) const {
  const Stream* const held = state_->find(stream);
  return held != nullptr && held->shares;
}

bool KvState::indexed_whole(const StreamKey& stream) const {
  const Stream* const held = state_->find(stream);
  if (held == nullptr || held->flooded || held->refill_at) return false;
  return held->deepest < index().depth_limit();
}

std::vector<StreamKey> KvState::take_moved() {
  for (const StreamKey& key : state_->moved) {
    if (Stream* const held = state_->find(key)) held->moved = false;
  }
  return std::exchange(state_->moved, {});
}

std::vector<StreamKey> KvState::streams() const {
  std::vector<StreamKey> keys;
  keys.reserve(state_->streams.size());
  for (const auto& [key, stream] : state_->streams) keys.push_back(key);
  return keys;
}

std::size_t KvState::blocks() const { return state_->blocks; }

std::uint64_t KvState::changes(const StreamKey& stream) const {
  const Stream* held = state_->find(stream);
  return held == nullptr ? 0 : held->changes;
}

std::size_t KvState::present(const StreamKey& stream) const {
  const Stream* const held = state_->find(stream);
  return held != nullptr ? held->map.present() : 0;
}

const policies::BlockIndex& KvState::index() const { return state_->feed.index(); }

const policies::RemovalMarks& KvState::removals() const { return state_->feed.removals(); }

void KvState::set_time(policies::Time now) { state_->feed.set_time(now); }

void KvState::upkeep(std::size_t at_most) {
  state_->look_for_deep_blocks();
  state_->refill_index(at_most);
  state_->feed.upkeep(at_most);
}

}  // namespace dualmesh::node
