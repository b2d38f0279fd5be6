#include "node/simulator/sim_router.h"

#include <fmt/format.h>

#include <algorithm>

#include "node/mesh/load_gauges.h"
#include "policies/hits.h"

namespace dualmesh::node {
namespace {

// Any wall clock will do: the routers of a simulation share it.
constexpr std::uint64_t kEpochWallMs = 1'700'000'000'000;
constexpr std::size_t kAllNews = std::size_t{1} << 30;

MeshConfig config_of(const SimRouterSettings& settings, std::size_t number) {
  MeshConfig config;
  config.node_name = fmt::format("router-{}", number);
  config.instances = settings.instances;
  config.routing.policy = settings.scheduler.policy;
  config.routing.queue = settings.scheduler.queue;
  config.routing.slo_ttft_s = settings.scheduler.slo_ttft_s;
  config.routing.client_weights = settings.scheduler.client_weights;
  return config;
}

policies::SchedulerSettings seeded(policies::SchedulerSettings settings, std::uint64_t seed) {
  settings.seed = seed;
  return settings;
}

}  // namespace

SimRouter::SimRouter(const SimRouterSettings& settings, std::size_t number, std::uint64_t seed)
    : config_(config_of(settings, number)),
      state_({crdt::node_id_of(config_.node_name), crdt::Epoch{kEpochWallMs}}, config_, *this),
      registry_(state_),
      builder_(config_),
      scheduler_(seeded(settings.scheduler, seed)),
      caches_(settings.caches),
      events_(settings.events),
      index_(settings.residency) {
  DUALMESH_CHECK(caches_ != CacheSight::exact || events_ != nullptr, "{} hears no events",
                 config_.node_name);
  crdt::Member self;
  self.epoch = state_.self().epoch;
  self.name = config_.node_name;
  self.http_address = self.name + ":80";
  state_.join_member(state_.self().node, self);
  registry_.configured(config_.instances);
  state_.set_status(StatusKey::ready, 1);
}

std::uint64_t SimRouter::wall_ms(policies::Time now) {
  return kEpochWallMs + static_cast<std::uint64_t>(
                            std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

void SimRouter::met(crdt::NodeId node, const crdt::Member& member) {
  meshed_ = true;
  state_.join_member(node, member);
}

void SimRouter::look_up(policies::Arrival& arrival, policies::Time now) const {
  auto source = policies::HitSource::unknown;
  switch (caches_) {
    case CacheSight::predicted:
      index_.longest_prefix(arrival.chain.blocks, arrival.hit_tokens);
      source = policies::HitSource::predicted;
      break;
    case CacheSight::exact:
      count_held(arrival.chain.blocks, now, arrival.hit_tokens);
      source = policies::HitSource::exact;
      break;
    case CacheSight::blind:
      break;
  }
  policies::to_tokens(arrival.hit_tokens, arrival.block_tokens);
  arrival.hit_sources.assign(config_.instances.size(), source);
}

// hits[slot] = leading blocks that are there by the events, or that this router has just sent
// there.
void SimRouter::count_held(std::span<const policies::BlockKey> blocks, policies::Time now,
                           std::vector<std::uint32_t>& hits) const {
  hits.assign(config_.instances.size(), 0);
  CacheSet holders;
  holders.set();
  for (const policies::BlockKey key : blocks) {
    holders &= events_->holders(key) | speculation_.at(key, now);
    if (holders.none()) return;
    for (std::size_t slot = holders._Find_first(); slot < holders.size();
         slot = holders._Find_next(slot)) {
      ++hits[slot];
    }
  }
}

void SimRouter::placed(policies::Slot slot, std::span<const policies::BlockKey> blocks,
                       policies::Time now) {
  if (caches_ == CacheSight::exact) {
    for (const policies::BlockKey key : blocks) {
      if (!events_->holders(key)[slot]) speculation_.expect(slot, key, now);
    }
  }
  if (caches_ != CacheSight::predicted || blocks.empty()) return;
  index_.touch(slot, blocks, now);
  if (meshed_) state_.place(builder_.instances()[slot].id, blocks, now);
}

SimNews SimRouter::take_news(policies::Time now) {
  SimNews news;
  news.sender = state_.self();
  std::vector<std::pair<policies::Slot, policies::Load>> loads;
  scheduler_.take_load_changes(now, loads);
  std::vector<policies::DepthProposal> depth;
  scheduler_.take_depth_proposals(depth);
  if (!meshed_) return news;
  for (const auto& [slot, load] : loads) {
    state_.set_load(builder_.instances()[slot].id, to_gauges(load));
  }
  const std::uint64_t bucket = state_.depth_bucket(wall_ms(now));
  for (const auto& mark : depth) state_.mark_depth(bucket, mark.key, mark.deeper);

  TableChoice own_words;
  own_words.everything = false;
  SharedState::Batch batch = state_.collect(told_, {}, kAllNews, own_words);
  DUALMESH_CHECK(batch.complete, "news of {} beyond any bound", config_.node_name);
  for (net::StreamDelta& delta : batch.deltas) {
    told_.versions[index_of(delta.kind())] = end_of(delta);
    auto& list = delta.kind() == net::StreamKind::residency ? news.residency : news.load;
    list.push_back(std::move(delta));
  }
  return news;
}

void SimRouter::receive(std::span<const net::StreamDelta> deltas, crdt::Origin sender,
                        policies::Time now) {
  latest_ = now;
  for (const net::StreamDelta& delta : deltas) state_.apply(delta, sender, wall_ms(now));
}

void SimRouter::placements_grew(const net::ResidencyFeed::Delta& delta) {
  // Runs of one instance stay runs: a placement is written block by block.
  for (std::size_t i = 0; i < delta.entries.size();) {
    const std::uint64_t instance = delta.entries[i].key.instance;
    batch_.clear();
    for (; i < delta.entries.size() && delta.entries[i].key.instance == instance; ++i) {
      batch_.push_back(delta.entries[i].key.block);
    }
    const policies::Slot slot = builder_.slot_of(instance);
    if (slot == policies::kNoSlot) continue;
    std::reverse(batch_.begin(), batch_.end());
    index_.touch(slot, batch_, latest_);
  }
}

void SimRouter::refresh_view(policies::Time now, policies::Effects& effects) {
  if (registry_stale_) {
    for (const policies::InstanceId id : builder_.read_registry(registry_)) {
      if (meshed_) state_.set_health(id, true);
    }
  }
  registry_stale_ = view_stale_ = false;
  view_ = builder_.build(state_, state_.depth_bucket(wall_ms(now)), now);
  state_.set_status(StatusKey::ring_digest, view_->ring_digest);
  scheduler_.set_view(view_, now, effects);
}

void SimRouter::housekeep(policies::Time now) {
  constexpr std::size_t kExpirePerTick = 20'000;
  index_.expire(now, kExpirePerTick);
  speculation_.expire(now);
  while (state_.expire_placements(now)) {
  }
  state_.expire_depth(wall_ms(now));
}

void SimRouter::absent(std::size_t instance) {
  const auto done = registry_.set_lifecycle(config_.instances[instance].name,
                                            policies::Lifecycle::removed, kEpochWallMs);
  DUALMESH_CHECK(!done.has_error(), "{}", done.error().message);
}

void SimRouter::announce(std::size_t instance, bool joins, policies::Time now) {
  const SeedInstance& seed = config_.instances[instance];
  const auto done =
      joins ? registry_.add(seed, wall_ms(now))
            : registry_.set_lifecycle(seed.name, policies::Lifecycle::draining, wall_ms(now));
  DUALMESH_CHECK(!done.has_error(), "{}", done.error().message);
}

void SimRouter::probed(policies::Slot slot, bool healthy, policies::Time now,
                       policies::Effects& effects) {
  if (!healthy) {
    index_.forget(slot);
    speculation_.forget(slot);
  }
  if (meshed_) state_.set_health(builder_.instances()[slot].id, healthy);
  scheduler_.set_health(slot, healthy, now, effects);
}

void SimRouter::lost(crdt::NodeId node, crdt::Member member) {
  member.status = crdt::MemberStatus::dead;
  state_.join_member(node, member);
}

}  // namespace dualmesh::node
