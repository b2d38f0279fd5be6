// What time brings: comparisons, messages that were lost, observers that stand still, fetches.
#include <xxhash.h>

#include <algorithm>
#include <utility>

#include "node/kv/kv_exchange_state.h"

namespace dualmesh::node {

void KvExchange::tick(policies::Time now) {
  State& state = *state_;
  state.sync(now);
  state.rank_if_due();
  const bool compare = now >= state.next_compare;
  if (compare) {
    state.next_compare = now + state.settings.compare_interval;
    state.repeat_heads(now);
  }
  bool any_mute = false;  // such as those of a build that knows no such messages
  for (auto& [node, peer] : state.peers) {
    if (!peer.spoke && !peer.mute && now - peer.awaited_since > kHearWithin) {
      peer.mute = any_mute = true;
    }
  }
  if (any_mute) state.place_observers();
  for (auto& [node, peer] : state.peers) {
    peer.summary_due = peer.summary_due || compare;
    state.tick_peer(peer, now);
  }
  state.tick_fetches(now);
  state.start_fetches(now);
  state.cuts.drop_unused(now - state.settings.fetch_timeout);
}

// Comparisons do not cover who is able, and a message that said so may be lost.
void KvExchange::State::repeat_heads(Time now) {
  for (std::size_t slot = 0; slot < streams.size(); ++slot) {
    const StreamHere& stream = streams[slot];
    const bool able = stream.reaches && !stream.flooded && !stream.unheard;
    if (!able || now < stream.tell_until) heads_to_all(slot);
  }
}

void KvExchange::State::tick_peer(Peer& peer, Time now) {
  if (!peer.heard && now - peer.ask_all_at >= settings.compare_interval) {
    peer.ask_all = peer.all_due = true;
  }
  for (std::size_t slot = 0; slot < streams.size(); ++slot) tick_stream(peer, slot, now);
}

void KvExchange::State::tick_stream(Peer& peer, std::size_t slot, Time now) {
  StreamHere& stream = streams[slot];
  Said& said = peer.said[slot];
  if (said.ack_wanted && now - said.ack_at >= kAckEvery) {
    said.ack_due = true;
    due(peer, slot);
  }
  const StreamPosition& ours = stream.position;
  if (ours.epoch.value == 0 || stream.flooded || !said.known || said.flooded) return;
  const bool same = said.position.epoch == ours.epoch;
  if (said.position.epoch > ours.epoch || (same && said.position.end >= ours.end)) {
    said.behind_since.reset();
    return;
  }
  if (said.takeover && now - said.takeover_at > kTakeoverLasts * settings.takeover_after) {
    said.takeover = false;  // unless it stands still again, the first observer is at work
    said.behind_since.reset();
  }
  if (!said.behind_since) said.behind_since = now;
  if (pushes(slot, said)) {
    const bool lost = said.sent_epoch == ours.epoch && now - said.sent_at > settings.takeover_after;
    if (lost && said.sent > (same ? said.position.end : crdt::Version{})) {
      said.sent = same ? said.position.end : crdt::Version{};
      said.fresh = false;
    }
    due(peer, slot);
    return;
  }
  // Somebody else should push. Ask now and then; who still has not got on is pushed to from here.
  const std::size_t own_rank = rank_of(stream, self);
  const bool observer = own_rank < std::min(settings.observers, kMaxWatchers);
  if (!observer) return;
  const policies::Duration patience = settings.takeover_after * static_cast<int>(own_rank);
  const bool answered = said.answered_at >= said.asked_at;
  if (same && answered && said.asked_at - *said.behind_since >= patience) {
    said.takeover = true;
    said.takeover_at = now;
    ++counters.takeovers;
    due(peer, slot);
  } else if (now - said.asked_at >= kAskEvery) {
    said.ask_due = true;
    due(peer, slot);
  }
}

void KvExchange::State::tick_fetches(Time now) {
  for (std::size_t slot = 0; slot < streams.size(); ++slot) {
    auto& fetch = streams[slot].fetch;
    if (!fetch) continue;
    if (now - fetch->progress_at() > settings.fetch_timeout) {
      fail_fetch(slot, now);
    } else if (!fetch->ask_due && now - fetch->asked_at > settings.fetch_timeout / 6) {
      fetch->ask_due = true;  // the question or the answer may be lost
    }
  }
}

// Is what a peer has said worth fetching?
auto KvExchange::State::need(const StreamHere& stream, const Said& said, Time now) const -> Need {
  const StreamPosition& ours = stream.position;
  const StreamPosition& theirs = said.position;
  if (!said.known || said.flooded || theirs.epoch.value == 0 || theirs.epoch < ours.epoch) {
    return Need::nothing;
  }
  if (theirs.epoch > ours.epoch) {
    // It may prove to be the life we know, or be pushed to us from its beginning.
    const bool loses =
        ours.epoch.value != 0 && ours.base.value == 0 && theirs.base.value != 0 && !stream.flooded;
    const auto patience = settings.takeover_after * (loses ? kGivesWayAfter : 1);
    const bool waited = stream.newer_since && now - *stream.newer_since > patience;
    const bool is_young = theirs.base.value == 0 && theirs.end.value <= kYoungSteps;
    const bool is_first = ours.epoch.value == 0 && !is_young;
    return is_first || (said.fetch_it && !loses) || waited ? Need::now : Need::soon;
  }
  if (stream.flooded) return kv.takes_back(stream.key, theirs) ? Need::now : Need::nothing;
  if (theirs.base < ours.base && theirs.end >= ours.base) return Need::now;
  if (theirs.unknown < ours.unknown && theirs.base <= ours.base) return Need::now;
  if (theirs.end <= ours.end) return Need::nothing;
  const auto behind = stream.behind_since ? now - *stream.behind_since : policies::Duration{};
  if (said.fetch_it || behind > 3 * settings.takeover_after) return Need::now;
  return Need::soon;
}

void KvExchange::State::start_fetches(Time now) {
  auto under_way = static_cast<std::size_t>(std::count_if(
      streams.begin(), streams.end(), [](const auto& stream) { return stream.fetch.has_value(); }));
  for (std::size_t slot = 0; slot < streams.size(); ++slot) {
    StreamHere& stream = streams[slot];
    if (stream.fetch) continue;
    const Peer* best = nullptr;
    const auto worth = [&](const Peer& peer) {
      const StreamPosition& at = peer.said[slot].position;
      const std::uint64_t node = peer.life.node.value ^ self.value;
      const auto tie = XXH3_64bits_withSeed(&stream.name, sizeof(stream.name), node);
      return std::tuple(at.epoch, ~at.base.value, at.unknown == 0, at.end, tie);
    };
    bool behind = false;
    for (const auto& [node, peer] : peers) {
      const Need needed = need(stream, peer.said[slot], now);
      behind = behind || needed != Need::nothing;
      if (needed != Need::now || now < peer.said[slot].avoid_until) continue;
      if (best == nullptr || worth(peer) > worth(*best)) best = &peer;
    }
    if (behind && !stream.behind_since) stream.behind_since = now;
    if (!behind) stream.behind_since.reset();
    if (best == nullptr || under_way >= settings.max_fetches) continue;
    ++under_way;
    ++counters.fetches;
    const crdt::Epoch epoch = best->said[slot].position.epoch;
    crdt::Version least;  // a cut that ends where we are, kept for others, would teach us nothing
    if (epoch == stream.position.epoch) least.value = stream.position.end.value + 1;
    stream.fetch.emplace(best->life.node, stream.name, epoch, least, now);
  }
}

void KvExchange::State::finish_fetch(std::size_t slot, Time now) {
  StreamHere& stream = streams[slot];
  KvStateFetch& fetch = *stream.fetch;
  auto map = fetch.map();
  if (!map) {
    ++counters.spoilt;
    return fail_fetch(slot, now);
  }
  const crdt::NodeId from = fetch.from();
  const Taken taken = kv.take_state(stream.key, fetch.position(), fetch.facts(), std::move(*map));
  stream.fetch.reset();
  if (Said* const said = said_of(from, slot)) {
    if (taken != Taken::changed) said->avoid_until = now + kAvoidFor;
    said->fetch_it = false;
  }
  sync(now);
  // Whoever pushes goes on from here.
  if (Said* const said = said_of(stream.order.front(), slot)) {
    said->head_due = true;
    due(peers.find(stream.order.front())->second, slot);
  }
}

void KvExchange::State::fail_fetch(std::size_t slot, Time now) {
  ++counters.fetches_failed;
  if (Said* const said = said_of(streams[slot].fetch->from(), slot)) {
    said->avoid_until = now + kAvoidFor;
  }
  streams[slot].fetch.reset();
}

std::vector<StreamKey> KvExchange::lacking() const {
  State& state = *state_;
  state.sync(state.last_now);
  std::vector<StreamKey> keys;
  for (std::size_t slot = 0; slot < state.streams.size(); ++slot) {
    const StreamHere& stream = state.streams[slot];
    bool lacks = stream.fetch.has_value();
    for (const auto& [node, peer] : state.peers) {
      const auto need = state.need(stream, peer.said[slot], state.last_now);
      const bool epoch = peer.said[slot].position.epoch > stream.position.epoch;
      lacks = lacks || need == State::Need::now || (need == State::Need::soon && epoch);
    }
    if (lacks) keys.push_back(stream.key);
  }
  return keys;
}

}  // namespace dualmesh::node
