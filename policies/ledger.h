// Ledger: every request the scheduler holds, where it stands, and the own load that follows from
// it.
//
// Each step of a request goes through here, and each undoes exactly what the step before it did, so
// that the gauges are the sum over the requests by construction.
//
//   held -> queued -> prefilling -> decoding -> held -> gone
//   held -> away -> held -> gone
//
// Invariants: the own load of an instance is the sum over the requests that stand at it; a request
// is in one queue when it is queued and in none otherwise.
// Cost: O(1) but for the queue's own moves; requests are recycled, so that a steady flow allocates
// nothing.
// Threads: none; its owner locks.
#pragma once

#include <array>
#include <boost/container/small_vector.hpp>
#include <boost/unordered/unordered_flat_map.hpp>
#include <deque>
#include <utility>
#include <vector>

#include "policies/fleet.h"
#include "policies/scheduler.h"

namespace dualmesh::policies {

// `away`: with another node; `slot` is the one it was handed over for, until its first token.
enum class Stage : std::uint8_t { held, queued, prefilling, decoding, away };

struct LiveRequest {
  // What rebalancing looks at comes first, within two cache lines.
  QueueKey queue_key;
  std::uint64_t model_hash = 0;
  std::uint32_t uncached_tokens = 0;  // at `slot`
  Slot slot = kNoSlot;                // where it is queued or running
  Stage stage = Stage::held;
  bool waits = false;  // in the waiting room (waiting_room.h); held meanwhile
  std::array<Slot, 2> candidates{kNoSlot, kNoSlot};
  boost::container::small_vector<Slot, 4> failed_at;

  Arrival arrival;
  Time arrived{};
  DecisionRecord record;
  Time dispatched{};
  std::uint64_t work_at_dispatch = 0;  // tokens to prefill until its first token; 0: no measure
  std::uint64_t dispatch_number = 0;   // of its instance
  bool behind_one = false;             // somebody's prefill was still going on there, just one
};

class Ledger {
 public:
  explicit Ledger(Fleet& fleet) : fleet_(fleet) {}

  LiveRequest& open(Arrival&& arrival, Time now);
  LiveRequest* find(RequestId id);
  const LiveRequest* find(RequestId id) const;
  void close(LiveRequest& request);  // held requests only
  std::size_t size() const { return by_id_.size(); }
  std::size_t queued() const { return queued_; }  // in the queues of all instances
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const auto& [id, request] : by_id_) visit(*request);
  }

  void enqueue(LiveRequest& request, Slot slot, std::uint32_t uncached_tokens, std::uint64_t rank);
  // The order of all queues has changed.
  template <class Rank>
  void rank_again(Rank&& rank) {
    for (const auto& [id, request] : by_id_) {
      if (request->stage != Stage::queued) continue;
      RequestQueue& queue = fleet_.at(request->slot).queue;
      queue.remove(request->queue_key);
      request->queue_key.rank = rank(*request);
      queue.push({request->queue_key, request->uncached_tokens, request});
    }
  }
  // From held or queued.
  void dispatch(LiveRequest& request, Slot slot, std::uint32_t uncached_tokens, Time now);
  void first_token(LiveRequest& request, Time now);
  void hand_over(LiveRequest& request, Slot meant_for);
  void answered_there(LiveRequest& request);  // its first token, of one that is away
  // Takes back whatever it counts for; it is held afterwards.
  void hold(LiveRequest& request);

  bool changed() const { return !changed_.empty(); }
  void mark_changed(Slot slot);
  // The oldest of its queue has waited `limit_ms`; the others must hear it, once.
  void mark_waiting_long(Slot slot, std::uint32_t limit_ms);
  static std::uint32_t oldest_wait_ms(const RequestQueue& queue, Time now);
  // `complete(slot, load)` adds to a report what is not counted here.
  template <class Complete>
  void take_changes(Time now, std::vector<std::pair<Slot, Load>>& out, Complete&& complete) {
    for (const Slot slot : changed_) {
      Report& report = reports_[slot];
      report.waiting = false;
      const InstanceState& instance = fleet_.at(slot);
      Load load = instance.own;
      load.head_wait_ms = oldest_wait_ms(instance.queue, now);
      complete(slot, load);
      const auto since = std::chrono::duration_cast<std::chrono::milliseconds>(now - report.at);
      if (report.last.says_as_much_as(load, since.count())) continue;
      report.last = load;
      report.at = now;
      out.emplace_back(slot, load);
    }
    changed_.clear();
  }

 private:
  struct Report {
    Load last;
    Time at{};
    bool waiting = false;  // in changed_
  };

  Fleet& fleet_;
  std::deque<LiveRequest> requests_;  // storage; never shrinks, bounded by the most held at once
  std::vector<LiveRequest*> free_;
  boost::unordered_flat_map<RequestId, LiveRequest*> by_id_;
  std::size_t queued_ = 0;
  std::vector<Slot> changed_;
  std::vector<Report> reports_;  // by slot
};

}  // namespace dualmesh::policies
