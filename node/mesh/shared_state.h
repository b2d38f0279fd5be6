// SharedState: every replicated value of one node together, and the rules for applying what others
// say.
//
// Tables (membership, registry, settings, depth) are multi-writer and hold everyone's knowledge;
// feeds (load, health, status, residency) are this node's own, with one column per other node
// beside them. All eight are sent by one mechanism: `collect` gives what a peer has not
// acknowledged, `apply` takes what a peer sent and answers with the position reached.
//
// Invariant: a delta that is malformed, too far ahead of our clock or beyond a bound changes
// nothing (rows of a table one by one) and is counted; a dead or left node has no columns. Threads:
// none; the mesh thread's. Time is an argument. Source: Cassandra's gossip for the columns,
// delta-state CRDTs for the tables; see node/README.md.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "crdt/bucketed_max.h"
#include "crdt/columns.h"
#include "crdt/hybrid_clock.h"
#include "net/mesh_rows.h"
#include "node/mesh/mesh_config.h"
#include "node/mesh/pacer.h"
#include "policies/time.h"

namespace dualmesh::node {

// What a node says of itself in its status feed.
enum class StatusKey : std::uint8_t {
  ready,
  ring_digest,
  depth_digest,
  registry_digest,
  policy,
  ring_generation,
};

// Fields of an instance in the registry; what they mean is said in registry.h. Numbers are wire
// format: only ever added to.
enum class InstanceField : std::uint8_t {
  address = 0,
  models = 1,  // one per line
  weight = 2,
  lifecycle = 3,
  source = 4,
  learned_models = 6,
  kv_events = 7,
};

// The row of the load feed that carries no load but a number to measure propagation with.
inline constexpr std::uint64_t kBeaconInstance = 0;

// Depth marks count in their bucket and the next; clocks may differ by less than a bucket.
inline constexpr crdt::BucketWindow kDepthWindow{1, 1};

// Told of every growth, own writes included.
class StateObserver {
 public:
  virtual ~StateObserver() = default;
  virtual void member_grew(crdt::NodeId node, const crdt::Member& member) = 0;
  virtual void field_grew(const net::FieldKey& key) = 0;
  virtual void setting_grew(const net::SettingKey& key) = 0;
  virtual void depth_grew() = 0;
  virtual void load_grew(crdt::NodeId writer, const net::LoadFeed::Delta& delta) = 0;
  virtual void health_grew(crdt::NodeId writer) = 0;
  virtual void status_grew(crdt::NodeId writer) = 0;
  virtual void placements_grew(const net::ResidencyFeed::Delta& delta) = 0;
  virtual void own_feed_grew(Urgency urgency) = 0;
};

struct StateCounters {
  std::uint64_t applied = 0;
  std::uint64_t duplicates = 0;
  std::uint64_t gaps = 0;
  std::uint64_t below_horizon = 0;
  std::uint64_t malformed = 0;
  std::uint64_t stale_writer = 0;       // of a dead node or an earlier life
  std::uint64_t far_future = 0;         // stamps, epochs and buckets too far ahead of our clock
  std::uint64_t over_bounds = 0;        // rows of tables, deltas of feeds
  std::uint64_t digest_mismatches = 0;  // same version, different digest: never normal
  std::uint64_t relayed = 0;            // deltas of feeds that came through a third node
  std::uint64_t collected = 0;          // removed instances whose names were dropped
  std::uint64_t snapshots = 0;          // deltas that began a stream anew, and had rows
  std::uint64_t registries_taken = 0;   // whole, from a peer, having been away for too long
};

// The one row of the registry that is no instance's: removed names have been collected through its
// stamp. Its value tells what a registry holds through that stamp then.
inline const net::FieldKey kHorizonRow{"(collected)", 255};

// A horizon that was told to us while our own registry holds something else below it.
struct BehindHorizon {
  crdt::Stamp horizon;
  crdt::NodeId told_by;
};

// Epochs are wall clocks of the nodes; one further ahead of ours is taken for an error.
inline constexpr std::uint64_t kMaxEpochAheadMs = 3'600'000;
// Names once used are remembered, or a removal would be forgotten; they too end somewhere.
inline constexpr std::size_t kNamesPerInstance = 16;

inline std::size_t index_of(net::StreamKind kind) { return static_cast<std::size_t>(kind); }
inline crdt::Version end_of(const net::StreamDelta& delta) {
  return std::visit([](const auto& body) { return body.to; }, delta.body);
}

inline constexpr std::size_t kTables = 4;

// How far a peer has acknowledged our streams, or those of a writer that we relay to it.
struct Acknowledged {
  std::array<crdt::Version, net::kStreamKinds> versions{};
  crdt::Version residency_floor;
};

// What a peer gets of our tables. Who is there goes to everyone at once, but not back to where it
// came from. Of registry, settings and depth a peer hears from each node what that node wrote
// itself; the rest only when it turns out to lack it, or has just come.
struct TableChoice {
  crdt::NodeId peer;
  bool everything = true;  // whoever wrote it
  // Nothing that has to be sent has grown between what is acknowledged and this.
  std::array<crdt::Version, kTables> searched{};
  // Everything that grew after this is sent, acknowledged or not.
  std::array<std::optional<crdt::Version>, kTables> again{};
};

// Our copies of another node's feeds, passed on to a peer that does not hear that node itself.
struct RelayedWriter {
  crdt::Epoch epoch;  // of the life that the versions belong to
  Acknowledged acknowledged;
};
using RelayedWriters = std::map<crdt::NodeId, RelayedWriter>;

class SharedState {
 public:
  SharedState(crdt::Origin self, const MeshConfig& config, StateObserver& observer);

  crdt::Origin self() const { return self_; }
  const crdt::Member& self_member() const { return *members_.find(self_.node); }
  // Starts our feeds again under a higher epoch, with their present contents.
  void raise_epoch(crdt::Epoch epoch);

  // Writing.
  crdt::Stamp stamp(std::uint64_t wall_ms);
  // Records of unreachable members stay until max_members are known; then the one of the oldest
  // life makes room for each new one.
  bool join_member(crdt::NodeId node, const crdt::Member& member, crdt::NodeId source = {});
  bool has_room_for(crdt::NodeId node, const crdt::Member& member) const;
  bool join_field(const net::FieldKey& key, const crdt::LastWriter<std::string>& value,
                  crdt::NodeId source = {});
  bool join_setting(const net::SettingKey& key, const crdt::MultiValue<std::string>& value,
                    crdt::NodeId source = {});
  void mark_depth(std::uint64_t bucket, std::uint64_t prefix, std::uint32_t deeper);
  // May a registry name come into use: it is in use already, or fewer than max_instances are.
  bool has_room_for(const std::string& instance) const;
  std::size_t removed_instances() const { return instance_names_.size() - instances_in_use_; }
  // All zero: erased. Slight: such changes may be told late (load_gauges.h).
  void set_load(std::uint64_t instance, const net::LoadGauges& gauges,
                Urgency urgency = Urgency::paced);
  void set_health(std::uint64_t instance, bool healthy);
  void set_status(StatusKey key, std::uint64_t value);
  void place(std::uint64_t instance, std::span<const std::uint64_t> blocks, policies::Time now);
  void forget_placements();  // all of our own

  // Replication.
  struct Batch {
    std::vector<net::StreamDelta> deltas;
    bool complete = true;                           // false: cut at the size limit, more follows
    std::array<crdt::Version, kTables> searched{};  // as TableChoice::searched from now on
  };
  Batch collect(const Acknowledged& acknowledged, const RelayedWriters& relayed,
                std::size_t max_bytes, const TableChoice& choice = {}) const;
  bool has_news(const Acknowledged& acknowledged, const TableChoice& choice = {}) const;
  // Is there anything in a table after `from` that neither we nor `peer` wrote?
  bool has_others_words(net::StreamKind table, crdt::Version from, crdt::NodeId peer) const;
  std::uint64_t tables_digest() const;  // registry, settings and depth
  crdt::Version version_of(net::StreamKind kind) const { return version_of(kind, self_); }
  // `sender` is the node of the link. Tables are the sender's own; a feed comes from its writer or
  // from a node that relays it: (epoch, version) say what is news, whoever brings it.
  net::StreamPosition apply(const net::StreamDelta& delta, crdt::Origin sender,
                            std::uint64_t wall_ms);
  // Where we are in a stream; version 0 when we hold nothing of it.
  net::StreamPosition position(net::StreamKind kind, crdt::Origin origin) const;
  net::FeedPositions feed_positions(crdt::Origin writer) const;
  std::vector<net::StreamPosition> positions() const;
  // Of the rows held here of a table, or of the feed of `writer`: where two nodes differ in it.
  crdt::BucketSums bucket_sums(net::StreamKind kind, crdt::NodeId writer) const;
  std::uint64_t root() const;  // equal on all nodes exactly when all their states are equal
  // `theirs` is a writer's own position in its feed. When we are at the same version with another
  // digest, our column is dropped, and the next push finds a gap and sends everything again.
  void check_digest(const net::StreamPosition& theirs);

  // Housekeeping. Placements that are due, some thousands in a call; true: more are.
  bool expire_placements(policies::Time now);
  void expire_depth(std::uint64_t wall_ms);
  void collect_tombstones(const Acknowledged& lowest);
  // Have we written, or taken, what is stamped further ahead of `wall_ms` than others accept?
  bool clock_is_ahead(std::uint64_t wall_ms) const;
  // Gives such rows of registry and settings new stamps, `back_ms` earlier and not after now; how
  // many. For when no peer takes them: our clock was ahead and has gone back by so much.
  std::size_t stamp_anew(std::uint64_t wall_ms, std::uint64_t back_ms);
  void drop_columns(crdt::NodeId node);

  // Collection of removed instances; the rules are in registry_collector.h.
  crdt::Stamp horizon() const;
  bool has_collectable(crdt::Stamp horizon) const;
  void raise_horizon(crdt::Stamp horizon);
  const std::optional<BehindHorizon>& behind_horizon() const { return behind_; }
  void forget_behind() { behind_.reset(); }
  using RegistryRows = std::vector<net::RegistryTable::Entry>;
  // In the order of keys from the first not below `first`, about max_bytes of them; empty: no more.
  RegistryRows registry_rows(const net::FieldKey& first, std::size_t max_bytes) const;
  // What our disk had. Nothing is collected by it: what a configuration says of a removed name
  // keeps the removal, and is not on the disk.
  void restore_registry(const RegistryRows& rows, std::uint64_t wall_ms);
  // The whole registry of another node: its rows are taken whatever their age, and of ours those
  // that end at its horizon and are not among them are dropped.
  void take_registry(const RegistryRows& rows, crdt::NodeId source, std::uint64_t wall_ms);

  // Reading.
  const net::MembershipTable& members() const { return members_; }
  const net::RegistryTable& registry() const { return registry_; }
  std::uint64_t registry_digest() const {  // as it is told and shown
    return registry_.digest().sum + registry_.digest().count;
  }
  const net::SettingsTable& settings() const { return settings_; }
  const net::DepthTable& depth() const { return depth_; }
  const crdt::Columns<net::LoadFeed>& loads() const { return loads_; }
  const crdt::Columns<net::HealthFeed>& healths() const { return healths_; }
  const crdt::Columns<net::StatusFeed>& statuses() const { return statuses_; }
  const crdt::Columns<net::ResidencyFeed>& residencies() const { return residencies_; }
  const net::LoadFeed& own_load() const { return own_load_; }
  const net::HealthFeed& own_health() const { return own_health_; }
  const net::StatusFeed& own_status() const { return own_status_; }
  const net::ResidencyFeed& own_residency() const { return own_residency_; }
  std::uint64_t depth_bucket(std::uint64_t wall_ms) const {
    return wall_ms / 1000 / config_.depth_bucket_s;
  }
  const StateCounters& counters() const { return counters_; }
  void count_malformed() { ++counters_.malformed; }  // a delta that could not even be read

 private:
  struct Received {  // how far we have applied a sender's tables
    crdt::Epoch epoch;
    std::array<crdt::Version, 4> versions{};
  };

  template <class Delta>
  void apply_table(net::StreamKind kind, const Delta& delta, crdt::Origin sender,
                   std::uint64_t wall_ms);
  template <class Delta>
  void apply_feed(const Delta& delta, crdt::Origin writer);
  template <class Feed, class Delta>
  bool fits_in(const Feed& feed, const Delta& delta) const;
  void grow(const net::MembershipTable::Entry& row, crdt::NodeId source) {
    join_member(row.key, row.value, source);
  }
  void grow(const net::RegistryTable::Entry& row, crdt::NodeId source) {
    if (row.key == kHorizonRow) return horizon_told(row.value, source);
    join_field(row.key, row.value, source);
  }
  void grow(const net::SettingsTable::Entry& row, crdt::NodeId source) {
    join_setting(row.key, row.value, source);
  }
  void grow(const net::DepthTable::Entry& row, crdt::NodeId source);
  bool admit(const net::MembershipTable::Entry& row, std::uint64_t wall_ms);
  bool admit(const net::RegistryTable::Entry& row, std::uint64_t wall_ms);
  bool admit_of_any_age(const net::RegistryTable::Entry& row, std::uint64_t wall_ms);
  bool admit(const net::SettingsTable::Entry& row, std::uint64_t wall_ms);
  bool admit(const net::DepthTable::Entry& row, std::uint64_t wall_ms);
  using Horizon = crdt::LastWriter<std::string>;
  void horizon_told(const Horizon& told, crdt::NodeId source);
  void adopt(const Horizon& horizon, crdt::NodeId source);
  std::set<std::string> collectable(crdt::Stamp horizon) const;
  std::string contents_through(crdt::Stamp horizon) const;
  void count_names();
  bool accepts_feeds_of(crdt::Origin writer) const;
  void count(crdt::Applied applied);
  std::optional<crdt::NodeId> evictable_for(const crdt::Member& newcomer) const;
  // Of a stream of ours, or of our copy of the feed of `writer`.
  crdt::Version version_of(net::StreamKind kind, crdt::Origin writer) const;
  net::StreamDelta feed_delta(net::StreamKind kind, crdt::Origin writer, crdt::Version from,
                              std::size_t rows) const;
  template <class Pick>
  net::StreamDelta table_delta(net::StreamKind kind, crdt::Version from, std::size_t rows,
                               Pick&& pick) const;
  crdt::Version floor_of(crdt::Origin writer) const;
  struct TableRange {
    crdt::Version reached;  // by the peer
    crdt::Version from;
    std::function<bool(crdt::NodeId)> pick;
  };
  static TableRange range_of(net::StreamKind table, const Acknowledged& acknowledged,
                             const TableChoice& choice);
  // False when the limit is reached.
  bool append_tables(const Acknowledged& acknowledged, const TableChoice& choice, std::size_t& left,
                     Batch& batch) const;
  bool append_feeds(crdt::Origin writer, const Acknowledged& acknowledged, std::size_t& left,
                    Batch& batch) const;

  crdt::Origin self_;
  const MeshConfig& config_;
  StateObserver& observer_;

  net::MembershipTable members_;
  net::RegistryTable registry_;
  net::SettingsTable settings_;
  net::DepthTable depth_;
  net::LoadFeed own_load_;
  net::HealthFeed own_health_;
  net::StatusFeed own_status_;
  net::ResidencyFeed own_residency_;
  std::deque<std::pair<policies::Time, crdt::Version>> placed_;  // when the versions were issued
  crdt::Columns<net::LoadFeed> loads_;
  crdt::Columns<net::HealthFeed> healths_;
  crdt::Columns<net::StatusFeed> statuses_;
  crdt::Columns<net::ResidencyFeed> residencies_;
  std::map<crdt::NodeId, Received> received_;
  std::map<std::string, bool> instance_names_;  // of the registry: is it in use, so not removed
  std::size_t instances_in_use_ = 0;
  std::optional<BehindHorizon> behind_;
  crdt::HybridClock clock_;
  StateCounters counters_;
};

}  // namespace dualmesh::node
