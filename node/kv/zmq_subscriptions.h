// ZmqSubscriptions: the sockets of all streams this node observes, served by one thread.
//
// Each stream has a SUB socket with a monitor, and while it replays a DEALER. One epoll waits on
// all; what libzmq says of its descriptors is edge-like, so a stream stays ready until a read says
// that nothing is left.
//
// Every connection and every replay has sockets of its own, so what a sink hears after `connected`
// is of that connection alone, and what it hears as replayed answers the newest ask_replay.
// Sinks may call any of add, remove, ask_replay and reconnect while they are told something.
//
// Invariant: a turn reads at most `turn_messages` and about `turn_bytes` of each stream, so a
// flooding engine costs the others little; libzmq holds at most `queued_messages` of each besides,
// and of a replay `queued_replies`. Threads: one, but for wake(). Time is an argument. Source:
// libzmq's guide, ZMQ_FD in zmq_getsockopt(3), zmq_socket_monitor(3).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "node/kv/kv_endpoints.h"
#include "node/kv/zmq_poll.h"
#include "node/kv/zmq_socket.h"
#include "node/kv/zmq_subscription.h"
#include "policies/time.h"

namespace dualmesh::node {

class ZmqSubscriptions {
 public:
  using Id = std::uint64_t;  // the caller's

  explicit ZmqSubscriptions(ZmqSettings settings = {});
  ~ZmqSubscriptions();  // sinks hear nothing of it

  // Subscribes to one rank. Never fails: what cannot be opened now is tried again, see last_error.
  void add(Id id, const KvEndpoints& endpoints, std::uint32_t rank, ZmqSink& sink);
  void remove(Id id);  // its sink is not called again

  // Replaces a replay under way; ends with the connection. Only for one that is connected, and
  // where the endpoints have a replay address.
  void ask_replay(Id id, std::uint64_t from);
  // New sockets. The sink hears `connected` when they are, and no `disconnected` before.
  void reconnect(Id id);

  // Waits for something to happen, at most `timeout`, and tells the sinks. True: more is waiting.
  bool pump(policies::Time now, policies::Duration timeout);
  void wake();  // from any thread: pump returns now, or at once when called next

  // Why there is no connection, beyond that nobody answers; empty: nobody does, or there is one.
  std::string last_error(Id id) const;
  std::size_t size() const { return subscriptions_.size(); }

 private:
  void mark_ready(ZmqSubscription& subscription);
  policies::Duration until_due(policies::Time now, policies::Duration at_most);

  const ZmqSettings settings_;
  ZmqContext context_;  // outlives the sockets
  ZmqPoll poll_;
  std::uint64_t opened_ = 0;  // names monitors
  std::map<Id, std::unique_ptr<ZmqSubscription>> subscriptions_;
  std::vector<std::unique_ptr<ZmqSubscription>> removed_;  // until nothing refers to them
  std::vector<ZmqSubscription*> ready_;
};

}  // namespace dualmesh::node
