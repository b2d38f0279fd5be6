// KvCourier: carries messages about caches between the port of this node and those of the others.
//
// At most one call per peer is under way; it brings what waits here and its answer what waits
// there. A first message after a quiet time goes at once, a sustained stream of them each
// kv_flush_interval_ms. One of the two leads a pair: as their places among the nodes say, or the
// one that the other has no link to. While messages pass, the leader alone calls at that interval,
// also with nothing to say, until a call carried nothing either way; the other calls when its
// messages have waited for two intervals all the same. So a busy pair makes one call per interval,
// an idle one none. Whom we do not hear over a link of its own is asked each kPoll for what it has.
//
// What is lost on the way is lost: the port's protocol says all again that matters.
//
// Invariant: the port is given messages of living nodes alone, and is asked for no other's.
// Threads: kj; the mesh thread's.
#pragma once

#include <kj/async.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "net/mesh.capnp.h"
#include "node/mesh/kv_port.h"
#include "node/mesh/mesh_context.h"
#include "node/mesh/mesh_peers.h"

namespace dualmesh::node {

struct KvCourierStats {
  std::uint64_t calls = 0;           // made
  std::uint64_t calls_received = 0;  // by us
  std::uint64_t failures = 0;        // calls that ended in an error or a timeout
  std::uint64_t messages_sent = 0, bytes_sent = 0;
  std::uint64_t messages_received = 0, bytes_received = 0;
};

using KvMessages = std::vector<std::string>;

// Throws a kj exception where pointers lead nowhere.
KvMessages read_kv_messages(capnp::List<capnp::Data>::Reader in);
void write_kv_messages(const KvMessages& messages, capnp::List<capnp::Data>::Builder out);

class KvCourier final : private kj::TaskSet::ErrorHandler {
 public:
  static constexpr auto kPoll = std::chrono::milliseconds(250);

  // Without a port nothing is sent, and what comes is dropped.
  KvCourier(MeshContext& context, const MeshPeers& peers, crdt::NodeId self, KvPort* port);

  void start();
  void living(std::vector<KvPeerLife> nodes);  // tells the port if they have changed
  void waiting();                              // the port may have something
  void links_changed();
  // A call of that life; the answer.
  KvMessages called(crdt::Origin from, KvMessages messages);
  bool ready(std::string& why_not) { return port_ == nullptr || port_->kv_ready(why_not); }

  KvCourierStats stats(crdt::NodeId node) const;
  std::uint64_t dropped() const { return dropped_; }  // messages of nodes that do not live

 private:
  struct Peer {
    bool living = false;
    bool ours = false;  // to lead
    crdt::Epoch epoch;
    std::uint64_t link = 0;  // MeshPeer::links_up of the link this is about
    bool silent = false;     // it answers that it knows of no such calls
    bool under_way = false;
    bool timer_set = false;
    bool poll = false;                            // ask it even so
    bool more = false;                            // the last call was full
    bool lively = false;                          // the last call carried something, either way
    std::optional<policies::Time> waiting_since;  // the port may have something for it
    policies::Time last_call{0};                  // either way
    policies::Time not_before{0};                 // after a failure
    KvCourierStats stats;
  };

  void share_pairs();
  bool leads(crdt::NodeId node, const Peer& peer) const;
  std::optional<policies::Time> due(crdt::NodeId node, const Peer& peer) const;
  void schedule(crdt::NodeId node, Peer& peer);
  void call(crdt::NodeId node, Peer& peer, net::MeshLink& link);
  void answered(crdt::NodeId node, std::uint64_t link, bool sent, const KvMessages& messages);
  void failed(crdt::NodeId node, std::uint64_t link, const kj::Exception& why);
  KvMessages take(crdt::NodeId node, Peer& peer);
  std::uint64_t hand_over(crdt::NodeId from, Peer& peer, const KvMessages& messages);
  void taskFailed(kj::Exception&& exception) override;

  MeshContext& context_;
  const MeshPeers& peers_;
  const crdt::NodeId self_;
  KvPort* const port_;
  const policies::Duration interval_;
  std::optional<std::vector<KvPeerLife>> living_;  // as the port knows it
  std::map<crdt::NodeId, Peer> known_;
  std::uint64_t dropped_ = 0;
  kj::TaskSet tasks_;
};

}  // namespace dualmesh::node
