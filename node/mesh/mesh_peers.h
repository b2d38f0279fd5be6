// MeshPeers: the links to all other nodes, and what is known of each.
//
// Dials the seeds, every address a look-up found and every member that gossip names, one link per
// node; dead members too, at the slowest pace, so that a healed partition joins by itself. Over
// each link run the replicator, a ping every ping_interval_ms and digest exchanges; the failure
// detector turns silence into accusations, which are ordinary membership gossip.
//
// Threads: kj; the mesh thread's.
#pragma once

#include <kj/async.h>

#include <array>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "net/mesh_acceptor.h"
#include "net/mesh_link.h"
#include "net/mesh_rate.h"
#include "node/mesh/failure_detector.h"
#include "node/mesh/handshake.h"
#include "node/mesh/mesh_context.h"
#include "node/mesh/relays.h"
#include "node/mesh/replicator.h"
#include "node/mesh/shared_state.h"

namespace dualmesh::node {

struct MeshPeer {
  crdt::NodeId node;
  crdt::Epoch epoch;              // of the life the link reached last
  net::MeshLink* link = nullptr;  // up, or null
  std::unique_ptr<Replicator> replicator;
  double rtt_ms = 0.0;
  double clock_offset_ms = 0.0;  // its wall clock minus ours
  std::uint64_t links_up = 0;
  std::uint64_t bytes_received = 0;
  StreamBytes stream_bytes_received{};           // the same by kind
  std::vector<net::StreamPosition> join_target;  // where it was when we met it
  bool has_target = false;
  bool synchronised = false;  // we have applied at least that
  struct TableCheck {
    bool differed = false;  // at the last exchange, though it has acknowledged all of ours
    bool repaired = false;  // sent again since, and not seen to have helped
    policies::Time not_before{0};
  };
  std::array<TableCheck, net::kStreamKinds> table_checks{};
  // Version of our registry at which it was seen to hold the same.
  std::optional<crdt::Version> same_registry;
};

struct PeersCounters {
  std::uint64_t dials_failed = 0;
  std::uint64_t links_lost = 0;
  std::uint64_t pings_failed = 0;
  std::uint64_t throttled = 0;  // times that reading a link had to wait
  std::uint64_t suspicions = 0;
  std::uint64_t deaths = 0;
};

class PeersObserver {
 public:
  virtual ~PeersObserver() = default;
  // A link went up or down, or a peer became synchronised.
  virtual void peers_changed() = 0;
  virtual void unheard_changed() = 0;
  // Somebody knows us by a higher epoch: ours must rise above it.
  virtual void epoch_known(crdt::Epoch epoch) = 0;
};

class MeshPeers final : private net::MeshLinkOwner, private kj::TaskSet::ErrorHandler {
 public:
  MeshPeers(MeshContext& context, SharedState& state, PeersObserver& observer);

  void start();
  void found(std::vector<std::string> addresses);  // by a look-up; replaces what the last one found
  void state_changed(Urgency urgency);             // something may have to be pushed
  void member_changed(crdt::NodeId node, const crdt::Member& member);
  void ask_all_positions();
  void joined() { joining_ = false; }          // for good: from now on tables need not come whole
  void drop_links(const std::string& reason);  // all; they dial again

  // Called by the serving side.
  HelloVerdict greeted(wire::Hello::Reader hello, const net::IncomingPeer& caller);
  void heard(crdt::NodeId node);
  void applied(crdt::NodeId node);                              // a push of that node was applied
  void told(crdt::NodeId node, const StreamBytes& bytes = {});  // over that node's own link
  // `node` does not hear these writers: from now on our copies of their feeds go to it too, and no
  // others; and all our tables while it is joining. Returns those of which we hear ourselves.
  std::vector<crdt::NodeId> pinged_by(crdt::NodeId node,
                                      const std::vector<net::FeedPositions>& writers, bool joining);
  kj::Promise<bool> reach(crdt::NodeId node);
  void accused(crdt::NodeId accuser, std::vector<Accusation> accusations);
  void refuted() { detector_.refuted(); }
  void keep_away(crdt::NodeId node);  // it broke the protocol: its hellos are refused for a while

  const std::map<crdt::NodeId, std::unique_ptr<MeshPeer>>& all() const { return peers_; }
  const MeshPeer* find(crdt::NodeId node) const;
  std::size_t linked() const;
  // Since our start, of the seeds and of what the last look-up found; this node counts as one.
  bool met_most_seeds() const;
  bool any_other() const;  // another node lives as far as we know, or refuses us
  bool refused() const { return !refusing_.empty() && linked() == 0; }
  bool name_in_use() const;  // others say that another node lives by our name
  const std::string& last_refusal() const { return last_refusal_; }
  const std::deque<std::string>& refusals() const { return refusals_; }
  const FailureDetector& detector() const { return detector_; }
  const std::set<crdt::NodeId>& unheard() const { return unheard_; }  // as of the last pings
  const Relays& relays() const { return relays_; }
  const PeersCounters& counters() const { return counters_; }
  Acknowledged lowest_acknowledged() const;
  // There are links, and nobody takes what we say in `table`: it is stamped in their future.
  bool all_refuse(net::StreamKind table) const;
  void retry_refused();  // our stamps have changed

 private:
  struct Target {
    std::unique_ptr<net::MeshLink> link;
    bool is_self = false;
    bool answered = false;  // the dial under way was, with whatever
    crdt::NodeId node;      // 0 until somebody answered
  };

  void write_hello(wire::Hello::Builder hello) override;
  net::LinkVerdict welcomed(net::MeshLink& link, wire::Welcome::Reader welcome) override;
  void link_up(net::MeshLink& link) override;
  void link_down(net::MeshLink& link, bool was_up, const std::string& why) override;
  std::uint64_t& throttled() override { return counters_.throttled; }
  void taskFailed(kj::Exception&& exception) override;

  void dial(const std::string& address);
  void tend_targets();
  bool is_listed(const std::string& address) const;  // a seed, or found
  bool wanted(const std::string& address) const;
  MeshPeer& peer(crdt::NodeId node);
  void accused(wire::Member::Reader caller);
  void reached_again(crdt::NodeId node);
  void refusal(const std::string& address, const std::string& why, bool name_in_use = false);
  void note_refusal(const std::string& text);  // in the log and for people, once
  void note_clock(MeshPeer& peer, std::uint64_t their_wall_ms, std::uint64_t sent_wall_ms);

  kj::Promise<void> ping_all();      // after ping_interval_ms
  kj::Promise<void> ask_somebody();  // after positions_interval_ms
  void ping(MeshPeer& peer);
  void detect();
  void choose_relays();
  void probe(crdt::NodeId node);
  void accuse(crdt::NodeId node, crdt::MemberStatus status);
  void ask_positions(MeshPeer& peer);
  void positions_told(MeshPeer& peer, const std::vector<net::StreamPosition>& positions);
  void check_synchronised(MeshPeer& peer);
  void check_table(MeshPeer& peer, const net::StreamPosition& theirs);
  void contradicted(MeshPeer& peer, const net::StreamPosition& at);

  MeshContext& context_;
  SharedState& state_;
  PeersObserver& observer_;
  FailureDetector detector_;
  Relays relays_;
  std::set<crdt::NodeId> unheard_;
  std::uint64_t asked_;                    // peers for their positions, one each second
  std::map<std::string, Target> targets_;  // by address
  std::map<crdt::NodeId, std::unique_ptr<MeshPeer>> peers_;
  std::set<std::string> found_;
  std::set<std::string> met_;  // of the seeds and of those found, since our start
  // Addresses whose last answer was a refusal, and whether it was that our name is in use.
  std::map<std::string, bool> refusing_;
  std::string last_refusal_;
  std::map<crdt::NodeId, policies::Time> kept_away_;  // until when
  std::deque<std::string> refusals_;
  net::TokenBucket refusal_lines_{1, 16};  // lines of the log a second, and at once
  std::uint64_t unlogged_refusals_ = 0;
  PeersCounters counters_;
  bool joining_ = true;
  kj::TaskSet tasks_;
};

}  // namespace dualmesh::node
