#include "node/kv/kv_state_stream.h"

#include <algorithm>
#include <utility>

namespace dualmesh::node {

void KvState::Stream::begin_anew(crdt::Version at) {
  if (map.present() > 0) {
    if (const auto id = feed.take_id()) {
      feed.retire(std::exchange(cache, *id), map);
      feed.begins_empty(cache);
    } else {  // all ids are in use: under this one, at once
      MapObserver watching = observer();
      map.for_each([&](EngineHash hash, const BlockMap::Entry& entry) {
        if (entry.visible()) watching.vanished(hash, entry.value);
      });
    }
  }
  map = BlockMap::after(at);
  deepest = 0;
  shares = false;
  refill_at.reset();
  flooded = false;
  last_batch = 0;
  cut.reset();
  log.restart(at);
}

void KvState::Stream::begin_life(crdt::Epoch life, const StreamFacts& said, crdt::Version at) {
  epoch = first_name = life;
  facts = said;
  away = later_life == life ? later_away : crdt::Version{};
  begin_anew(at);
}

void KvState::Stream::give_up(crdt::Version end) {
  const std::uint64_t digest = last_batch;
  if (!flooded) given_up_at = map.size();
  begin_anew(end);
  last_batch = digest;
  flooded = true;
}

void KvState::Stream::learn(const StreamFacts& said) {
  if (said.block_tokens != 0) facts.block_tokens = said.block_tokens;
  if (said.main_group >= 0) facts.main_group = said.main_group;
}

Taken KvState::Stream::append(const ObservedBatches& batches) {
  const auto clears = [](const BlockChange& change) {
    return change.kind == BlockMap::Kind::clear;
  };
  if (flooded && std::any_of(batches.changes.begin(), batches.changes.end(), clears)) {
    begin_anew(batches.from);  // what was not held is gone
  }
  if (flooded) {
    give_up(batches.to);
    last_batch = batches.last_batch;
    return Taken::refused;
  }
  const crdt::Applied applied = map.apply(batches.from, batches.to, batches.changes, observer());
  if (applied == crdt::Applied::duplicate) return Taken::nothing_new;
  if (applied == crdt::Applied::gap) return Taken::gap;
  if (applied != crdt::Applied::changed) return Taken::refused;
  log.append(batches.from, batches.to, batches.changes, batches.last_batch);
  last_batch = batches.last_batch;
  learn(batches.facts);
  if (map.size() <= limits.max_stream_blocks) return Taken::changed;
  give_up(batches.to);
  return Taken::refused;
}

Taken KvState::Stream::join(const StreamPosition& theirs, BlockMap&& incoming) {
  // Two states are laid together only where both say the same of the batch at which they meet:
  // an epoch may name two lives, if an observer could not tell.
  const std::uint64_t ours_there =
      incoming.end() == map.end() ? last_batch : log.batch_at(incoming.end());
  const bool meets = ours_there != 0 && ours_there == theirs.last_batch;
  if (incoming.end() <= map.end() && incoming.base() < map.base()) {
    if (!meets) return Taken::nothing_new;
    // It knows more of what was before, and our log brings it up to now.
    if (const auto since = log.since(incoming.end(), SIZE_MAX)) {
      incoming.apply(since->from, since->to, since->changes);
    }
  } else if (incoming.base() == map.end() && incoming.end() > map.end()) {
    begin_anew(incoming.base());
  }
  const bool further = incoming.end() > map.end();
  if (!map.join(std::move(incoming), observer())) return Taken::nothing_new;
  if (further) {
    last_batch = theirs.last_batch;
    log.restart(map.end());
  }
  cut.reset();
  if (map.size() <= limits.max_stream_blocks) return Taken::changed;
  give_up(map.end());
  return Taken::refused;
}

void KvState::Stream::refill(std::size_t at_most) {
  const std::uint64_t lowest = *refill_at;
  const std::uint64_t each = UINT64_MAX / (map.size() + 1);
  const std::uint64_t left = UINT64_MAX - lowest;
  const bool is_last = at_most > map.size() || at_most * each >= left;
  const std::uint64_t highest = is_last ? UINT64_MAX : lowest + at_most * each;
  map.for_each_between(lowest, highest, [&](EngineHash, const BlockMap::Entry& entry) {
    if (entry.visible()) feed.add(cache, entry.value);
  });
  refill_at.reset();
  if (!is_last) refill_at = highest + 1;
}

StreamPosition KvState::Stream::position() const {
  const bool is_doubtful = away >= map.end();
  return {epoch,
          map.base(),
          map.end(),
          map.unknown(),
          last_batch,
          map.digest(),
          is_doubtful ? away : crdt::Version{}};
}

}  // namespace dualmesh::node
