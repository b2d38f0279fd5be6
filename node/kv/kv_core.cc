#include "node/kv/kv_core.h"

#include <spdlog/spdlog.h>
#include <xxhash.h>

#include <algorithm>
#include <tuple>
#include <utility>

namespace dualmesh::node {
namespace {

// What an engine has said is at all nodes within.
constexpr policies::Duration kUnderWay = std::chrono::seconds(1);

// Who is heard elsewhere is another engine, of which nothing is known.
std::uint64_t source_of(const KvEndpoints& endpoints) {
  const std::string where = endpoints.events + ' ' + endpoints.topic;
  return XXH3_64bits(where.data(), where.size());
}

}  // namespace

KvCore::KvCore(KvCoreSettings settings, KvSource& source)
    : settings_(settings),
      source_(source),
      state_(settings.limits),
      exchange_(state_, settings.self, settings.exchange) {}

KvCore::~KvCore() = default;

void KvCore::set_instances(const std::vector<Instance>& instances, policies::Time now) {
  std::map<StreamKey, KvEndpoints> wanted;
  for (const Instance& instance : instances) {
    for (std::uint32_t rank = 0; rank < instance.endpoints.ranks; ++rank) {
      wanted.emplace(StreamKey{instance.name, rank}, instance.endpoints);
    }
  }
  for (auto at = streams_.begin(); at != streams_.end();) {
    const auto kept = wanted.find(at->first);
    if (kept != wanted.end() && kept->second == at->second.endpoints) {
      wanted.erase(kept);
      ++at;
      continue;
    }
    if (at->second.observation) source_.unsubscribe(at->first);
    if (kept != wanted.end()) {  // at another address
      exchange_.reaches(at->first, true, now);
      exchange_.hears(at->first, true, now);
    }
    at = streams_.erase(at);
  }
  for (auto& [key, endpoints] : wanted) streams_[key].endpoints = std::move(endpoints);
  std::vector<StreamKey> keys;
  std::vector<std::uint64_t> sources;
  for (const auto& [key, stream] : streams_) {
    keys.push_back(key);
    sources.push_back(source_of(stream.endpoints));
  }
  state_.set_streams(keys, sources);
  choose_subscriptions(now);
}

void KvCore::set_peers(const std::vector<KvPeerLife>& living, policies::Time now) {
  peers_.clear();
  for (const KvPeerLife& life : living) peers_.push_back({life.node, life.epoch});
  exchange_.set_peers(peers_, now);
  choose_subscriptions(now);
}

void KvCore::choose_subscriptions(policies::Time now) {
  for (auto& [key, stream] : streams_) {
    const bool wanted = exchange_.observes(key) || stream.probing;
    if (wanted == (stream.observation != nullptr)) continue;
    if (!wanted) {
      source_.unsubscribe(key);
      stream.observation.reset();
      stream.lost_at.reset();
      stream.unsettled_at.reset();
      continue;
    }
    StreamSettings settings;
    settings.has_replay = !stream.endpoints.replay.empty();
    settings.wall_us = settings_.exchange.wall_us;
    stream.observation = std::make_unique<KvObservation>(state_, key, settings);
    stream.subscribed_at = now;
    stream.lost_at = now;
    stream.told = {};
    stream.counted = stream.rates_known = false;
    if (!stream.apart_since) stream.apart_since = now;
    source_.subscribe(key, stream.endpoints);
  }
  tell_observations(now);
}

// What a subscription goes on from where this node holds nothing itself. Nothing: not known yet.
std::optional<StreamPosition> KvCore::known_to_mesh(const StreamKey& key, const Stream& stream,
                                                    std::span<const StreamKey> lacking,
                                                    policies::Time now) const {
  const bool on_its_way = std::binary_search(lacking.begin(), lacking.end(), key);
  if (on_its_way && now - stream.subscribed_at < settings_.join_timeout) return std::nullopt;
  StreamPosition best;  // of those who hold no more than that themselves
  for (const KvPeer& peer : peers_) {
    const auto said = exchange_.said_by(peer.node, key);
    if (said && std::tie(said->epoch, said->end) > std::tie(best.epoch, best.end)) best = *said;
  }
  return best;
}

// A subscription goes on from where the mesh is, and begins a history of its own only when the mesh
// has none.
void KvCore::tell_observations(policies::Time now) {
  std::optional<std::vector<StreamKey>> lacking;  // asked once, for those of which nothing is held
  for (auto& [key, stream] : streams_) {
    if (!stream.observation) continue;
    StreamPosition position = state_.position(key);
    if (position.epoch.value == 0) {
      if (!mesh_met_ || !exchange_.mesh_known()) continue;
      if (!lacking) lacking = exchange_.lacking();
      const auto known = known_to_mesh(key, stream, *lacking, now);
      if (!known) continue;
      position = *known;
    }
    if (position.epoch.value != 0 && position == stream.told) continue;
    tell(key, stream, position, now);
  }
}

void KvCore::tell(const StreamKey& key, Stream& stream, const StreamPosition& position,
                  policies::Time now) {
  stream.told = position;
  obey(key, stream, stream.observation->mesh_known(position), now);
}

KvCore::Stream* KvCore::observed(const StreamKey& stream) {
  const auto found = streams_.find(stream);
  return found != streams_.end() && found->second.observation ? &found->second : nullptr;
}

// A subscription that is made anew may not come about.
void KvCore::obey(const StreamKey& key, Stream& stream, const KvObservation::Orders& orders,
                  policies::Time now) {
  if (orders.reconnect) {
    lose(stream, now);
    source_.reconnect(key);
  }
  if (orders.replay_from) source_.ask_replay(key, *orders.replay_from);
}

void KvCore::lose(Stream& stream, policies::Time now) {
  if (!stream.lost_at) stream.lost_at = now;
  if (!stream.apart_since) stream.apart_since = now;
}

void KvCore::connected(const StreamKey& stream, policies::Time now) {
  Stream* at = observed(stream);
  if (!at) return;
  at->lost_at.reset();
  at->apart_since.reset();
  at->trouble.clear();
  at->joined_at = now;
  obey(stream, *at, at->observation->connected(now), now);
}

void KvCore::disconnected(const StreamKey& stream, policies::Time now) {
  Stream* at = observed(stream);
  if (!at) return;
  lose(*at, now);
  at->observation->disconnected(now);
}

void KvCore::live(const StreamKey& stream, RawBatch batch, policies::Time now) {
  state_.set_time(now);
  Stream* at = observed(stream);
  if (!at) return;
  // Under a name that its life has no more the batch would be refused, and come no second time.
  const StreamPosition position = state_.position(stream);
  const bool renamed = position.epoch.value != 0 && position.epoch != at->told.epoch;
  if (renamed) tell(stream, *at, position, now);
  obey(stream, *at, at->observation->live(std::move(batch), now), now);
}

void KvCore::replayed(const StreamKey& stream, RawBatch batch, policies::Time now) {
  state_.set_time(now);
  if (Stream* at = observed(stream)) {
    obey(stream, *at, at->observation->replayed(std::move(batch), now), now);
  }
}

void KvCore::replay_over(const StreamKey& stream, policies::Time now) {
  state_.set_time(now);
  if (Stream* at = observed(stream)) obey(stream, *at, at->observation->replay_over(now), now);
}

void KvCore::received(crdt::NodeId from, std::string_view message, policies::Time now) {
  state_.set_time(now);
  exchange_.received(from, message, now);
}

std::string KvCore::take(crdt::NodeId to, policies::Time now) { return exchange_.take(to, now); }

// Who could not reach the engine leaves its place to others and tries again after a while, without
// taking it back before it succeeds.
void KvCore::judge_reach(const StreamKey& key, Stream& stream, policies::Time now) {
  bool reached = stream.said_reached;
  if (stream.observation) {
    const bool given_up = stream.lost_at && now - *stream.lost_at >= settings_.unreachable_after;
    if (given_up && std::exchange(stream.probing, false)) stream.unreached_at = now;
    reached = !stream.lost_at || (reached && !given_up);
  } else if (!reached && now - stream.unreached_at >= settings_.retry_after) {
    stream.probing = true;
  }
  if (reached == stream.said_reached) return;
  stream.said_reached = reached;
  stream.probing = false;
  stream.unreached_at = now;
  exchange_.reaches(key, reached, now);
}

void KvCore::tick(policies::Time now) {
  if (!started_) started_ = now;
  state_.set_time(now);
  exchange_.tick(now);
  for (auto& [key, stream] : streams_) {
    judge_reach(key, stream, now);
    follow_missed(key, stream, now);
    const bool heard = !stream.observation || stream.observation->machine().unheard() == 0;
    if (std::exchange(stream.said_heard, heard) != heard) exchange_.hears(key, heard, now);
    if (!stream.observation) continue;
    if (stream.lost_at) {
      if (std::string trouble = source_.trouble(key); !trouble.empty()) {
        stream.trouble = std::move(trouble);
      }
    }
    obey(key, stream, stream.observation->tick(now), now);
    const KvStream& machine = stream.observation->machine();
    if (!machine.is_connected() || machine.caught_up()) {
      stream.unsettled_at.reset();
    } else if (!stream.unsettled_at) {
      stream.unsettled_at = now;
    }
  }
  choose_subscriptions(now);
  measure_rates(now);
}

// Here or at any other node, which may be ahead of us.
KvCore::Places KvCore::known_places(const StreamKey& key) const {
  Places places;
  const auto note = [&](const StreamPosition& at) {
    crdt::Version& end = places[at.epoch];
    end = std::max(end, at.end);
  };
  note(state_.position(key));
  for (const KvPeer& peer : peers_) {
    if (const auto said = exchange_.said_by(peer.node, key)) note(*said);
  }
  return places;
}

void KvCore::missed(const std::string& instance, policies::Time now) {
  for (auto& [key, stream] : streams_) {
    if (key.instance != instance) continue;
    stream.missed = known_places(key);
    stream.missed_at = now;
  }
}

// What the engine said before may still be under way; a life that comes now is another.
void KvCore::follow_missed(const StreamKey& key, Stream& stream, policies::Time now) {
  if (stream.missed.empty() || now - stream.missed_at > kUnderWay) return;
  const Places known = known_places(key);
  for (auto& [epoch, end] : stream.missed) {
    const auto found = known.find(epoch);
    if (found != known.end()) end = std::max(end, found->second);
  }
}

void KvCore::was_away(const std::string& instance) {
  for (auto& [key, stream] : streams_) {
    if (key.instance != instance) continue;
    Places places = std::exchange(stream.missed, {});
    if (places.empty()) places = known_places(key);
    for (const auto& [epoch, end] : places) {
      if (end.value != 0) state_.doubt(key, epoch, end);  // else it claims nothing
    }
  }
}

KvCore::Readiness KvCore::readiness(policies::Time now) const {
  Readiness readiness;
  if (streams_.empty()) {
    readiness.ready = true;
    return readiness;
  }
  const bool late = started_ && now - *started_ >= settings_.join_timeout;
  std::vector<StreamKey> lacking = exchange_.lacking();
  std::erase_if(lacking, [&](const StreamKey& key) { return !streams_.contains(key); });
  readiness.ready = late || (exchange_.mesh_known() && lacking.empty());
  if (readiness.ready) {
    readiness.without = std::move(lacking);
  } else if (!exchange_.mesh_known()) {
    readiness.why_not = "asking the other nodes what they know of the instances' caches";
  } else {
    readiness.why_not =
        fmt::format("receiving what the caches hold: {} of {} streams are missing, {}",
                    lacking.size(), streams_.size(), lacking.front().instance);
  }
  return readiness;
}

}  // namespace dualmesh::node
