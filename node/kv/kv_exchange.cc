#include "node/kv/kv_exchange.h"

#include <xxhash.h>

#include <algorithm>
#include <set>
#include <utility>

#include "node/kv/kv_exchange_state.h"

namespace dualmesh::node {

void KvExchange::State::sync(Time now) {
  last_now = now;
  if (kv.generation() != generation) take_streams(now);
  for (auto keys = kv.take_moved(); !keys.empty(); keys = kv.take_moved()) {
    for (const StreamKey& key : keys) {
      if (const auto found = slots.find(key); found != slots.end()) moved(found->second, now);
    }
  }
}

// What was known of those that stay moves to their new places; of new ones everybody is asked.
void KvExchange::State::take_streams(Time now) {
  generation = kv.generation();
  std::vector<StreamHere> before = std::exchange(streams, {});
  const std::map<StreamKey, std::size_t> old_slots = std::exchange(slots, {});
  by_name.clear();
  bool any_new = false;
  std::vector<std::optional<std::size_t>> came_from;
  for (const StreamKey& key : kv.streams()) {
    const StreamName name = name_of(key, kv.source(key));
    const auto old = old_slots.find(key);
    const bool is_new = old == old_slots.end() || before[old->second].name != name;
    any_new = any_new || is_new;
    slots.emplace(key, streams.size());
    by_name.emplace(name, streams.size());
    came_from.push_back(is_new ? std::nullopt : std::optional(old->second));
    streams.push_back(is_new ? StreamHere{} : std::move(before[old->second]));
    StreamHere& stream = streams.back();
    stream.key = key;
    stream.name = name;
    stream.position = kv.position(key);
    stream.flooded = kv.flooded(key);
    if (is_new) stream.moved_at = now;
  }
  for (auto& [node, peer] : peers) {
    std::vector<Said> said = std::exchange(peer.said, {});
    peer.due.clear();
    for (std::size_t slot = 0; slot < streams.size(); ++slot) {
      peer.said.push_back(came_from[slot] ? said[*came_from[slot]] : Said{});
      if (std::exchange(peer.said.back().listed, false)) due(peer, slot);
    }
    if (!any_new) continue;
    peer.heard = false;
    peer.awaited_since = now;
    peer.ask_all = peer.all_due = true;
    peer.all_next = 0;
  }
  rebuild_lives();
  place_observers();
}

void KvExchange::State::rebuild_lives() {
  by_life.clear();
  std::set<LifeName> twice;
  for (std::size_t slot = 0; slot < streams.size(); ++slot) {
    StreamHere& stream = streams[slot];
    stream.life = life_name(stream.name, stream.position.epoch);
    if (stream.position.epoch.value == 0) continue;
    if (!by_life.emplace(stream.life, slot).second) twice.insert(stream.life);
  }
  for (const LifeName life : twice) by_life.erase(life);
}

void KvExchange::State::moved(std::size_t slot, Time now) {
  StreamHere& stream = streams[slot];
  const StreamPosition before = std::exchange(stream.position, kv.position(stream.key));
  const bool was_flooded = std::exchange(stream.flooded, kv.flooded(stream.key));
  stream.moved_at = now;
  if (before.epoch != stream.position.epoch) {
    rebuild_lives();
    stream.newer_since.reset();
  }
  if (before.end != stream.position.end) stream.behind_since.reset();
  if (was_flooded != stream.flooded) {
    rank_due = true;
    stream.tell_until = now + kTellAgain * settings.compare_interval;
  }
  if (before.epoch != stream.position.epoch || before.base != stream.position.base ||
      was_flooded != stream.flooded || (before.unknown == 0) != (stream.position.unknown == 0)) {
    heads_to_all(slot);
  }
  spread_away(slot, before.away);
  for (auto& [node, peer] : peers) {
    if (pushes(slot, peer.said[slot])) due(peer, slot);
    if (stream.newer_since) rename_if_same(slot, peer.said[slot].position);
  }
}

// Where nobody is known to have come to, no instance was away. If it was, and we come there, their
// word is looked at again.
void KvExchange::State::learn_away(std::size_t slot, const StreamPosition& theirs) {
  const StreamPosition& ours = streams[slot].position;
  const bool is_new = theirs.epoch == ours.epoch && theirs.away > ours.away;
  if (!is_new || ours.epoch.value == 0 || theirs.away > std::max(theirs.end, ours.end)) return;
  kv.doubt(streams[slot].key, theirs.epoch, theirs.away);
}

// That the instance was away is told to who has not said so itself; what others said of it before
// we came to this life is learnt.
void KvExchange::State::spread_away(std::size_t slot, crdt::Version before) {
  const StreamHere& stream = streams[slot];
  const StreamPosition& ours = stream.position;
  const bool is_new = ours.away.value != 0 && ours.away != before;
  for (auto& [node, peer] : peers) {
    Said& said = peer.said[slot];
    const bool same = said.position.epoch == ours.epoch;
    learn_away(slot, said.position);
    if (!is_new || (same && said.position.away >= ours.away)) continue;
    said.head_due = true;
    due(peer, slot);
  }
}

// Is a greater name that somebody else has of the life we know, by the batch that ends theirs?
bool KvExchange::State::rename_if_same(std::size_t slot, const StreamPosition& theirs) {
  const StreamHere& stream = streams[slot];
  if (theirs.epoch <= stream.position.epoch || theirs.last_batch == 0) return false;
  const bool same = kv.batch_at(stream.key, theirs.end) == theirs.last_batch;
  if (!same || !kv.rename(stream.key, theirs.epoch)) return false;
  ++counters.renamed;
  return true;
}

void KvExchange::State::heads_to_all(std::size_t slot) {
  for (auto& [node, peer] : peers) {
    peer.said[slot].head_due = true;
    due(peer, slot);
  }
}

void KvExchange::State::due(Peer& peer, std::size_t slot) {
  if (std::exchange(peer.said[slot].listed, true)) return;
  peer.due.push_back(static_cast<std::uint32_t>(slot));
}

Said* KvExchange::State::said_of(crdt::NodeId node, std::size_t slot) {
  const auto found = peers.find(node);
  return found == peers.end() ? nullptr : &found->second.said[slot];
}

bool KvExchange::State::is_able(crdt::NodeId node, std::size_t slot) {
  if (node == self) return streams[slot].reaches && !streams[slot].flooded;
  const Said* const said = said_of(node, slot);
  return said != nullptr && said->reaches && !said->flooded;
}

// Of the streams there are and of those who can tell us and we them.
void KvExchange::State::place_observers() {
  std::vector<StreamName> names;
  for (const StreamHere& stream : streams) names.push_back(stream.name);
  std::vector<crdt::NodeId> nodes{self};
  for (const auto& [node, peer] : peers) {
    if (!peer.mute) nodes.push_back(node);
  }
  observers.set(names, std::move(nodes), settings.observers);
  rank();
}

void KvExchange::State::rank() {
  auto orders =
      observers.orders([&](std::size_t slot, crdt::NodeId node) { return is_able(node, slot); });
  for (std::size_t slot = 0; slot < streams.size(); ++slot) {
    StreamHere& stream = streams[slot];
    const bool was_first = !stream.order.empty() && stream.order.front() == self;
    stream.order = std::move(orders[slot]);
    const bool is_first = stream.order.front() == self;
    if (is_first == was_first) continue;
    for (auto& [node, peer] : peers) {
      peer.said[slot].fresh = false;  // the one before has pushed
      peer.said[slot].takeover = false;
      if (is_first) due(peer, slot);
    }
  }
}

std::size_t KvExchange::State::rank_of(const StreamHere& stream, crdt::NodeId node) const {
  return static_cast<std::size_t>(std::find(stream.order.begin(), stream.order.end(), node) -
                                  stream.order.begin());
}

bool KvExchange::State::is_life_known(std::size_t slot, const Said& said) const {
  const StreamHere& stream = streams[slot];
  const auto found = by_life.find(stream.life);
  return said.known && said.position.epoch == stream.position.epoch && found != by_life.end() &&
         found->second == slot;
}

KvExchange::KvExchange(KvState& state, crdt::NodeId self, KvExchangeSettings settings)
    : state_(std::make_unique<State>(state, self, settings)) {}
KvExchange::~KvExchange() = default;

void KvExchange::set_peers(std::span<const KvPeer> living, policies::Time now) {
  State& state = *state_;
  state.sync(now);
  std::map<crdt::NodeId, Peer> before = std::exchange(state.peers, {});
  for (const KvPeer& life : living) {
    if (life.node == state.self) continue;
    const auto old = before.find(life.node);
    if (old != before.end() && old->second.life == life) {
      state.peers.emplace(life.node, std::move(old->second));
      continue;
    }
    Peer peer;
    peer.life = life;
    peer.awaited_since = now;
    peer.said.resize(state.streams.size());
    state.peers.emplace(life.node, std::move(peer));
  }
  for (std::size_t slot = 0; slot < state.streams.size(); ++slot) {
    const auto& fetch = state.streams[slot].fetch;
    if (!fetch) continue;
    const auto now_living = state.peers.find(fetch->from());
    const auto then = before.find(fetch->from());  // moved from where the life is the same
    const bool same = now_living != state.peers.end() && then != before.end() &&
                      now_living->second.life == then->second.life;
    if (!same) state.fail_fetch(slot, now);
  }
  state.place_observers();
}

void KvExchange::reaches(const StreamKey& stream, bool reached, policies::Time now) {
  state_->sync(now);
  const auto found = state_->slots.find(stream);
  if (found == state_->slots.end()) return;
  StreamHere& here = state_->streams[found->second];
  if (std::exchange(here.reaches, reached) == reached) return;
  state_->rank_due = true;
  here.tell_until = now + kTellAgain * state_->settings.compare_interval;
  state_->heads_to_all(found->second);
}

void KvExchange::hears(const StreamKey& stream, bool heard, policies::Time now) {
  state_->sync(now);
  const auto found = state_->slots.find(stream);
  if (found == state_->slots.end()) return;
  StreamHere& here = state_->streams[found->second];
  if (std::exchange(here.unheard, !heard) == !heard) return;
  here.tell_until = now + kTellAgain * state_->settings.compare_interval;
  state_->heads_to_all(found->second);
}

bool KvExchange::observes(const StreamKey& stream) const {
  state_->sync(state_->last_now);
  state_->rank_if_due();
  const auto found = state_->slots.find(stream);
  if (found == state_->slots.end()) return false;
  return state_->rank_of(state_->streams[found->second], state_->self) < state_->settings.observers;
}

std::vector<crdt::NodeId> KvExchange::observers(const StreamKey& stream) const {
  state_->sync(state_->last_now);
  state_->rank_if_due();
  const auto found = state_->slots.find(stream);
  if (found == state_->slots.end()) return {};
  std::vector<crdt::NodeId> nodes = state_->streams[found->second].order;
  nodes.resize(std::min<std::size_t>(nodes.size(), state_->settings.observers));
  return nodes;
}

bool KvExchange::reached(const StreamKey& stream) const {
  state_->sync(state_->last_now);
  state_->rank_if_due();
  const auto found = state_->slots.find(stream);
  if (found == state_->slots.end()) return false;
  // Who fails stands behind those who do not.
  return state_->is_able(state_->streams[found->second].order.front(), found->second);
}

bool KvExchange::heard(const StreamKey& stream) const {
  state_->sync(state_->last_now);
  state_->rank_if_due();
  const auto found = state_->slots.find(stream);
  if (found == state_->slots.end()) return true;
  const StreamHere& here = state_->streams[found->second];
  const auto observers = std::min<std::size_t>(here.order.size(), state_->settings.observers);
  bool any_late = false;
  for (std::size_t rank = 0; rank < observers; ++rank) {
    if (!state_->is_able(here.order[rank], found->second)) continue;
    const Said* const said = state_->said_of(here.order[rank], found->second);  // null: our own
    if (!(said ? said->unheard : here.unheard)) return true;
    any_late = true;
  }
  return !any_late;
}

bool KvExchange::mesh_known() const {
  state_->sync(state_->last_now);
  return std::all_of(state_->peers.begin(), state_->peers.end(), [&](const auto& entry) {
    const Peer& peer = entry.second;
    return peer.heard || peer.mute || state_->last_now - peer.awaited_since > kHearWithin;
  });
}

std::optional<StreamPosition> KvExchange::said_by(crdt::NodeId node,
                                                  const StreamKey& stream) const {
  const auto slot = state_->slots.find(stream);
  if (slot == state_->slots.end()) return std::nullopt;
  const Said* const said = state_->said_of(node, slot->second);
  return said != nullptr && said->known ? std::optional(said->position) : std::nullopt;
}

const KvExchangeCounters& KvExchange::counters() const { return state_->counters; }

}  // namespace dualmesh::node
