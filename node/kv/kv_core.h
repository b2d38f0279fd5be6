// KvCore: all that the ingest thread does, without the thread: which streams this node subscribes
// to, what it hears, what it tells and is told, when it may call itself ready.
//
// Threads: none; one caller. Time and subscriptions are parameters, so whole meshes of it run in
// virtual time.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "node/kv/kv_endpoints.h"
#include "node/kv/kv_exchange.h"
#include "node/kv/kv_observation.h"
#include "node/kv/kv_report.h"
#include "node/kv/kv_state.h"
#include "node/mesh/kv_port.h"

namespace dualmesh::node {

// Where events come from: ZmqSubscriptions, or a model of engines.
class KvSource {
 public:
  virtual ~KvSource() = default;
  virtual void subscribe(const StreamKey& stream, const KvEndpoints& endpoints) = 0;
  virtual void unsubscribe(const StreamKey& stream) = 0;
  virtual void ask_replay(const StreamKey& stream, std::uint64_t from) = 0;
  virtual void reconnect(const StreamKey& stream) = 0;
  // Why a subscription does not connect, beyond that nobody answers; empty: not known.
  virtual std::string trouble(const StreamKey&) const { return {}; }
};

struct KvCoreSettings {
  crdt::NodeId self;
  KvLimits limits;
  KvExchangeSettings exchange;
  policies::Duration join_timeout = std::chrono::seconds(10);
  // A subscription that has not connected for so long is taken for one that cannot.
  policies::Duration unreachable_after = std::chrono::seconds(3);
  policies::Duration retry_after = std::chrono::seconds(30);
};

class KvCore {
 public:
  KvCore(KvCoreSettings settings, KvSource& source);
  ~KvCore();

  struct Instance {
    std::string name;
    KvEndpoints endpoints;
  };
  // Those that publish events.
  void set_instances(const std::vector<Instance>& instances, policies::Time now);
  void set_peers(const std::vector<KvPeerLife>& living, policies::Time now);
  // The nodes told are those there are. Before, no subscription begins a history of its own where
  // somebody may know one.
  void mesh_met() { mesh_met_ = true; }

  // From the subscriptions. Streams that are none of ours (any more) are ignored.
  void connected(const StreamKey& stream, policies::Time now);
  void disconnected(const StreamKey& stream, policies::Time now);
  void live(const StreamKey& stream, RawBatch batch, policies::Time now);
  void replayed(const StreamKey& stream, RawBatch batch, policies::Time now);
  void replay_over(const StreamKey& stream, policies::Time now);

  // From and to other nodes.
  void received(crdt::NodeId from, std::string_view message, policies::Time now);
  std::string take(crdt::NodeId to, policies::Time now);

  // It does not answer; where its engine is now counts if it proves to have been away.
  void missed(const std::string& instance, policies::Time now);
  // It was away by all that requests saw, so it may hold nothing now, whatever it said before it
  // was missed: what is known up to there counts for nothing, at any node, until its engine says
  // something again. Of one that was not missed (at another address): whatever it has said.
  void was_away(const std::string& instance);

  void tick(policies::Time now);  // each 10 to 20 ms
  void upkeep(std::size_t at_most) { state_.upkeep(at_most); }

  struct Readiness {
    bool ready = false;
    std::string why_not;
    std::vector<StreamKey> without;  // ready all the same, the time being up
  };
  Readiness readiness(policies::Time now) const;
  std::shared_ptr<KvReport> report(policies::Time now);
  std::shared_ptr<const StreamCut> cut(const StreamKey& stream) { return state_.cut(stream); }
  const KvState& state() const { return state_; }
  const KvExchange& exchange() const { return exchange_; }

 private:
  using Places = std::map<crdt::Epoch, crdt::Version>;  // how far lives are known
  struct Stream {
    KvEndpoints endpoints;
    std::unique_ptr<KvObservation> observation;  // null: not subscribed
    policies::Time subscribed_at{};
    std::optional<policies::Time> lost_at;       // no connection since
    std::optional<policies::Time> unsettled_at;  // connected, and its place not known, since
    bool said_reached = true, said_heard = true;
    bool probing = false;           // tries again, and observes only when it succeeds
    policies::Time unreached_at{};  // since when it says otherwise
    StreamPosition told;            // to the observation
    Places missed;                  // not empty: it has not answered since
    policies::Time missed_at{};
    // For people: not connected since, over all that was tried, and why.
    std::optional<policies::Time> apart_since;
    policies::Time joined_at{};
    std::string trouble;
    // For rates; `counted` from the first look at the counters on.
    bool counted = false, rates_known = false;
    std::uint64_t changes_before = 0, bytes_before = 0;
    double events_per_s = 0.0, bytes_per_s = 0.0;
  };
  Stream* observed(const StreamKey& stream);
  void obey(const StreamKey& key, Stream& stream, const KvObservation::Orders& orders,
            policies::Time now);
  void lose(Stream& stream, policies::Time now);
  void tell(const StreamKey& key, Stream& stream, const StreamPosition& position,
            policies::Time now);
  void choose_subscriptions(policies::Time now);
  void tell_observations(policies::Time now);
  std::optional<StreamPosition> known_to_mesh(const StreamKey& key, const Stream& stream,
                                              std::span<const StreamKey> lacking,
                                              policies::Time now) const;
  Places known_places(const StreamKey& key) const;
  void follow_missed(const StreamKey& key, Stream& stream, policies::Time now);
  void judge_reach(const StreamKey& key, Stream& stream, policies::Time now);
  StreamReport report_of(const StreamKey& key, Stream& stream, policies::Time now);
  std::string what_is_missing(const StreamReport& report, const Stream& stream,
                              policies::Time now) const;
  std::vector<std::string> remarks(const StreamReport& report, const Stream& stream,
                                   policies::Time now) const;
  void measure_rates(policies::Time now);

  const KvCoreSettings settings_;
  KvSource& source_;
  KvState state_;
  KvExchange exchange_;
  std::map<StreamKey, Stream> streams_;
  std::vector<KvPeer> peers_;
  bool mesh_met_ = false;
  std::optional<policies::Time> started_;
  std::optional<policies::Time> rates_at_;
  struct Decided {  // what decisions depend on
    policies::CacheId cache = 0;
    KvConfidence confidence = KvConfidence::unknown;
    StreamFacts facts;
    bool shares = false;
    bool operator==(const Decided&) const = default;
  };
  std::map<StreamKey, Decided> decided_by_;
  std::uint64_t generation_ = 0;
};

}  // namespace dualmesh::node
