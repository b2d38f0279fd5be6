// KvOutbox: where the ingest thread lays messages for the mesh thread, in order, per peer.
//
// The mesh thread comes at the pace of its links and takes all that lies there. A message is laid
// at most each `interval` and peer, so that what follows shortly goes into the next one, and none
// while `max_bytes` lie there: what is to be said waits in the exchange then, as a set of streams,
// and not as messages. What is laid while a message still lies there joins it.
//
// Threads: take on the mesh thread; the rest on the ingest thread. Time is an argument.
#pragma once

#include <boost/container/flat_map.hpp>
#include <deque>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "crdt/identity.h"
#include "node/kv/kv_codec.h"
#include "policies/time.h"

namespace dualmesh::node {

class KvOutbox {
 public:
  explicit KvOutbox(policies::Duration interval = std::chrono::milliseconds(4),
                    std::size_t max_bytes = 1 << 18)
      : interval_(interval), max_bytes_(max_bytes) {}

  std::string take(crdt::NodeId to) {
    const std::lock_guard lock(mutex_);
    const auto found = slots_.find(to);
    if (found == slots_.end() || found->second.messages.empty()) return {};
    Slot& slot = found->second;
    std::string message = std::move(slot.messages.front());
    slot.messages.pop_front();
    slot.bytes -= message.size();
    return message;
  }

  void set_peers(const std::vector<crdt::NodeId>& peers) {
    const std::lock_guard lock(mutex_);
    boost::container::flat_map<crdt::NodeId, Slot> kept;
    for (const crdt::NodeId peer : peers) {
      const auto found = slots_.find(peer);
      kept[peer] = found != slots_.end() ? std::move(found->second) : Slot{};
    }
    slots_ = std::move(kept);
  }

  // `make(peer)`: the next message, empty when there is nothing to say; called without the lock.
  // True when the mesh thread must be told to come.
  template <class Make>
  bool fill(policies::Time now, Make&& make) {
    due_.clear();
    {
      const std::lock_guard lock(mutex_);
      for (auto& [peer, slot] : slots_) {
        if (slot.bytes < max_bytes_ && now >= slot.next) due_.push_back(peer);
      }
    }
    bool ring = false;
    for (const crdt::NodeId peer : due_) {
      std::string message = make(peer);
      if (message.empty()) continue;
      const std::lock_guard lock(mutex_);
      Slot& slot = slots_.at(peer);  // set_peers is the same thread's
      ring |= slot.messages.empty();
      slot.next = now + interval_;
      if (!slot.messages.empty() && slot.messages.back().size() + message.size() <= kJoined) {
        slot.bytes -= slot.messages.back().size();
        append_message(message, slot.messages.back());
        slot.bytes += slot.messages.back().size();
      } else {
        slot.bytes += message.size();
        slot.messages.push_back(std::move(message));
      }
    }
    return ring;
  }

 private:
  static constexpr std::size_t kJoined = 1 << 14;  // beyond it what a message costs is nothing
  struct Slot {
    std::deque<std::string> messages;
    std::size_t bytes = 0;
    policies::Time next{};
  };
  const policies::Duration interval_;
  const std::size_t max_bytes_;
  std::mutex mutex_;
  boost::container::flat_map<crdt::NodeId, Slot> slots_;
  std::vector<crdt::NodeId> due_;
};

}  // namespace dualmesh::node
