// What peers say, taken in.
#include <algorithm>
#include <set>
#include <utility>

#include "node/kv/kv_exchange_state.h"
#include "node/kv/kv_runs.h"

namespace dualmesh::node {

void KvExchange::received(crdt::NodeId from, std::string_view message, policies::Time now) {
  State& state = *state_;
  state.sync(now);
  ++state.counters.messages_received;
  state.counters.bytes_received += message.size();
  const auto peer = state.peers.find(from);
  if (peer == state.peers.end() || message.empty()) return;
  std::size_t absurd = 0;
  auto sections = read_message(message, &absurd, state.most_epoch());
  state.counters.absurd += absurd;
  if (sections.has_error()) {
    ++state.counters.malformed;
    return;
  }
  peer->second.spoke = true;  // what we understand
  if (std::exchange(peer->second.mute, false)) state.place_observers();
  for (KvSection& section : *sections) {
    std::visit([&](auto& what) { state.receive(peer->second, what, now); }, section);
    state.sync(now);
    state.rank_if_due();
  }
  state.start_fetches(now);
}

std::uint64_t KvExchange::State::most_epoch() const {
  if (!settings.wall_us) return kMostEpoch;
  return std::min(kMostEpoch,
                  settings.wall_us() + static_cast<std::uint64_t>(kLatestLife.count()));
}

void KvExchange::State::receive(Peer& from, const KvSummary& theirs, Time now) {
  if (theirs.sum == summary(now) || now - from.all_at < settings.compare_interval / 2) return;
  from.all_due = true;
}

void KvExchange::State::receive(Peer& from, const KvHeads& heads, Time now) {
  // One that is under way goes on: two that ask each other with every part would never end.
  if (heads.say_all && now - from.all_at >= kAckEvery) from.all_due = true;
  for (const KvHead& said : heads.heads) {
    const auto slot = by_name.find(said.stream);
    if (slot == by_name.end()) continue;
    head(from, slot->second, said, now);
    sync(now);
    Said& theirs = from.said[slot->second];
    if (heads.all) theirs.round = heads.round;
    if (!heads.answer) continue;
    if (heads.all && theirs.position == streams[slot->second].position) continue;
    theirs.head_due = true;
    due(from, slot->second);
  }
  if (!heads.all) return;
  for (const StreamName refused : heads.refused) {  // it holds what it has said before
    const auto slot = by_name.find(refused);
    if (slot != by_name.end()) from.said[slot->second].round = heads.round;
  }
  list_heard(from, heads, now);
}

// Of a list heard whole: what it does not name, its sender does not know.
void KvExchange::State::list_heard(Peer& from, const KvHeads& heads, Time now) {
  if (heads.part == 0) from.round = heads.round, from.parts = 0;
  if (heads.round != from.round || heads.part != from.parts) return;
  ++from.parts;
  if (!heads.last) return;
  from.heard = true;
  from.ask_all = false;
  for (std::size_t slot = 0; slot < streams.size(); ++slot) {
    Said& said = from.said[slot];
    if (said.round == heads.round) continue;
    said.known = true;
    rank_due = rank_due || !said.reaches || said.flooded;
    said.reaches = true;
    said.flooded = said.unheard = false;
    said.position = {};
    said.fresh = true;
    said.sent = {};
    said.answered_at = now;
    if (streams[slot].position.epoch.value == 0) continue;
    if (heads.answer) said.head_due = true;
    due(from, slot);
  }
}

void KvExchange::State::head(Peer& from, std::size_t slot, const KvHead& head, Time now) {
  StreamHere& stream = streams[slot];
  Said& said = from.said[slot];
  const bool moved_on = !said.known || said.position.epoch != head.position.epoch ||
                        said.position.end < head.position.end;
  if (moved_on) said.behind_since.reset();
  const bool other_rank = said.reaches != head.reaches || said.flooded != head.flooded;
  said.known = said.fresh = true;
  said.position = head.position;
  said.reaches = head.reaches;
  said.flooded = head.flooded;
  said.unheard = head.unheard;
  said.fetch_it = head.fetch_me;
  said.answered_at = now;
  if (said.sent_epoch == head.position.epoch) said.sent = head.position.end;
  rank_due = rank_due || other_rank;

  const StreamPosition& ours = stream.position;
  const StreamPosition& theirs = head.position;
  if (theirs.epoch > ours.epoch) {
    // An empty life is all in its head.
    const bool taken =
        rename_if_same(slot, theirs) ||
        (theirs.end.value == 0 && kv.begun(stream.key, theirs.epoch) == Taken::changed);
    if (!taken && !stream.newer_since) stream.newer_since = now;
  } else if (theirs.epoch == ours.epoch && ours.epoch.value != 0) {
    const bool same_bounds = theirs.base == ours.base && theirs.end == ours.end;
    const bool held = !head.flooded && !stream.flooded;
    learn_away(slot, theirs);
    if (same_bounds && held && theirs.digest != ours.digest) contradiction(slot, from.life.node);
  }
  if (pushes(slot, said)) due(from, slot);
}

// Both cannot be right, and nobody can say which: whoever is behind in rank takes the other's.
void KvExchange::State::contradiction(std::size_t slot, crdt::NodeId other) {
  ++counters.contradictions;
  StreamHere& stream = streams[slot];
  if (rank_of(stream, other) < rank_of(stream, self)) kv.forget(stream.key);
}

void KvExchange::State::receive(Peer& from, const KvEnds& ends, Time now) {
  for (const KvEnd& said : ends.ends) {
    const auto slot = by_life.find(said.life);
    if (slot == by_life.end()) continue;
    end_said(from, slot->second, said.end, now);
    if (!ends.answer) continue;
    from.said[slot->second].ack_due = true;
    due(from, slot->second);
  }
}

void KvExchange::State::end_said(Peer& from, std::size_t slot, crdt::Version end, Time now) {
  Said& said = from.said[slot];
  const StreamPosition& ours = streams[slot].position;
  if (!said.known || said.position.epoch != ours.epoch) {  // it has taken the life that we sent it
    said.position = {.epoch = ours.epoch};
    said.known = true;
    said.flooded = false;
  }
  if (end > said.position.end) {
    said.position.end = end;
    said.position.last_batch = 0;
    said.behind_since.reset();
    if (said.takeover && end > said.sent) said.takeover = false;  // somebody else pushes
  }
  if (said.sent_epoch != ours.epoch) {
    said.sent_epoch = ours.epoch;
    said.sent = end;
  }
  said.sent = std::max(said.sent, end);
  said.fresh = true;
  said.answered_at = now;
  if (pushes(slot, said)) due(from, slot);
}

// Names of removed blocks to their hashes; false: not by what we hold.
bool KvExchange::State::resolve(std::size_t slot, KvChanges& changes) const {
  const StreamHere& stream = streams[slot];
  const BlockMap& map = *kv.map(stream.key);
  const bool any = std::any_of(changes.changes.begin(), changes.changes.end(), is_short);
  if (!any) return true;
  if (!map.complete() || changes.from != map.end()) return false;
  boost::unordered_flat_map<ShortName, EngineHash> added;
  std::vector<BlockChange> resolved;
  resolved.reserve(changes.changes.size());
  std::size_t next = 0;
  for (LoggedStep& step : changes.steps) {
    const std::size_t end = next + step.changes, before = resolved.size();
    for (; next < end; ++next) {
      BlockChange change = changes.changes[next];
      if (change.kind == BlockMap::Kind::add) {
        added.emplace(short_name(change.key, changes.name_bits), change.key);
      }
      if (is_short(change)) {
        const auto name = static_cast<ShortName>(change.key);
        std::optional<EngineHash> found;
        if (const auto here = added.find(name); here != added.end()) found = here->second;
        bool ambiguous = false;
        for_each_named(map, name, changes.name_bits, [&](EngineHash hash) {
          ambiguous = ambiguous || (found && *found != hash);
          found = hash;
        });
        if (ambiguous) return false;
        if (!found) continue;  // the engine removed what it did not hold
        change = {BlockMap::Kind::remove, *found, {}};
      }
      resolved.push_back(change);
    }
    step.changes = resolved.size() - before;
  }
  changes.changes = std::move(resolved);
  return true;
}

void KvExchange::State::receive(Peer& from, const KvChanges& sent, Time now) {
  std::size_t slot = streams.size();
  if (sent.stream) {
    const auto found = by_name.find(sent.stream->first);
    if (found != by_name.end()) slot = found->second;
  } else if (const auto found = by_life.find(sent.life); found != by_life.end()) {
    slot = found->second;
  }
  if (slot == streams.size()) return;
  const StreamKey& key = streams[slot].key;
  const crdt::Epoch epoch = sent.stream ? sent.stream->second : streams[slot].position.epoch;
  counters.changes_received += sent.changes.size();
  Said& said = from.said[slot];

  KvChanges changes = sent;
  const crdt::Version to = changes.steps.back().to;
  const bool same = epoch == streams[slot].position.epoch;
  if (same && to <= streams[slot].position.end) {
    end_said(from, slot, to, now);
    said.ack_wanted = true;
    return;
  }
  Taken taken = resolve(slot, changes) ? Taken::nothing_new : Taken::gap;
  crdt::Version before = changes.from;
  std::size_t next = 0;
  for (const LoggedStep& step : changes.steps) {
    if (taken != Taken::changed && taken != Taken::nothing_new) break;
    const std::span all(changes.changes);
    taken = kv.take_delta(key, {epoch,
                                before,
                                step.to,
                                all.subspan(next, step.changes),
                                step.last_batch,
                                {changes.block_tokens, changes.main_group}});
    next += step.changes;
    before = step.to;
  }
  sync(now);
  if (taken != Taken::changed && taken != Taken::nothing_new) {
    said.head_due = true;  // where we are, and why not further
    due(from, slot);
    return;
  }
  end_said(from, slot, to, now);
  said.ack_wanted = true;
  if (now - said.ack_at >= kAckEvery) {
    said.ack_due = true;
    due(from, slot);
  }
  const StreamPosition& ours = streams[slot].position;
  const bool checked = changes.check != 0 && ours.base.value == 0 && ours.end == to;
  if (checked && changes.check != static_cast<std::uint16_t>(ours.digest.sum)) {
    contradiction(slot, from.life.node);
  }
}

void KvExchange::State::receive(Peer& from, const KvFetch& fetch, Time) {
  if (!by_name.contains(fetch.stream)) return;
  from.asked_of_us[fetch.stream] = fetch;  // at most one per stream
}

void KvExchange::State::receive(Peer& from, KvPiece& piece, Time now) {
  const auto slot = by_name.find(piece.stream);
  if (slot == by_name.end()) return;
  auto& fetch = streams[slot->second].fetch;
  if (!fetch || fetch->from() != from.life.node) return;
  switch (fetch->take(std::move(piece), kv.limits().max_stream_blocks, now)) {
    case KvStateFetch::Took::useless:
      return;
    case KvStateFetch::Took::more:
      fetch->asked_at = kNever;
      return;
    case KvStateFetch::Took::whole:
      return finish_fetch(slot->second, now);
    case KvStateFetch::Took::failed:
      return fail_fetch(slot->second, now);
  }
}

void KvExchange::State::receive(Peer& from, const KvSameLife& same, Time) {
  const auto slot = by_name.find(same.stream);
  if (slot == by_name.end()) return;
  const StreamHere& stream = streams[slot->second];
  const std::uint64_t batch = kv.batch_at(stream.key, same.step);
  const bool ours = stream.position.epoch == same.old_epoch && batch != 0 && batch == same.batch;
  if (ours && kv.rename(stream.key, same.epoch)) ++counters.renamed;
  from.said[slot->second].head_due = true;
  due(from, slot->second);
}

}  // namespace dualmesh::node
