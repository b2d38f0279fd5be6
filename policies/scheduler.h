// Scheduler: places requests on instances, queues them, moves them, and says when each may go.
//
// One object owns the policy and a queue per instance. It performs no I/O and reads no clock: every
// entry takes `now` and appends what must happen to an `Effects`. The same class runs in a node,
// under the node's mutex, and in virtual time.
//
// Life of a request:  submit -> (placed, maybe moved) -> dispatched -> first_token -> finished
// and from any point -> cancelled | failed. One handed to another node is held here, as away, until
// it has ended there as finished, cancelled or failed. After finished, cancelled, rejected or a
// final failure the scheduler has forgotten it.
//
// Invariants: the own load of every instance is the sum over the requests it holds; a request is in
// one queue at most; after all requests have ended every gauge is zero.
// Threads: none; callers serialise.
// Source: DualMap (arXiv 2602.06502) and its authors' code; see policies/README.md for each step.
#pragma once

#include <boost/container/small_vector.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "policies/decision.h"
#include "policies/fleet_view.h"
#include "policies/load.h"
#include "policies/prompt_chain.h"
#include "policies/time.h"

namespace dualmesh::policies {

struct SchedulerSettings {
  std::string policy = "dualmesh";  // until a view says otherwise, as are the next three
  std::string queue;               // an order, where `policy` names none; empty: the policy's own
  double slo_ttft_s = 5.0;
  ClientWeights client_weights;
  double overload_wait_s = 3.0;     // a head that waited this long makes its instance overloaded
  std::uint32_t prefill_limit = 1;  // requests without a first token per instance and node
  double prefill_s_per_token = 0.00016;  // until learned
  bool learn_prefill_cost = true;
  std::uint32_t block_tokens = 512;                 // tokens counted for one block of a chain
  std::uint64_t instance_cache_tokens = 1'198'080;  // KV memory of one instance
  // Depth table: DualMap's code, section 1 of its procedure.
  std::uint32_t depth_window = 200;
  std::uint32_t depth_min_samples = 20;
  double depth_hot_share = 0.0612;
  double depth_cold_share = 0.02;
  std::uint32_t depth_max_marks = 10'000;  // per level
  std::uint32_t max_requests = 0;  // of this node at or waiting for one instance; 0: any number
  std::uint32_t max_waiting = 0;   // of this node waiting for one instance; 0: any number
  std::uint32_t rebalance_examine_limit = 64;
  std::uint32_t decision_log_size = 1024;
  std::uint64_t seed = 1;
};

struct Arrival {
  RequestId id = 0;
  std::string model;
  PromptChain chain;
  std::uint32_t block_tokens = 0;  // of one block of the chain; 0: as in the settings
  std::uint32_t input_tokens = 0;
  std::vector<std::uint32_t> hit_tokens;  // cached prefix, by slot; short = 0
  std::vector<HitSource> hit_sources;     // by slot; short = predicted
  std::uint64_t client = 0;               // hash of API key or `user`; 0: unknown
  bool handed = false;                    // by another node, or back from it: it stays here
  std::uint64_t system_key = 0;  // hash of the first 200 characters of the system prompt; 0: none
};

// Tokens as the engine reported, 0 when it did not.
struct Usage {
  std::uint32_t prompt_tokens = 0;
  std::uint32_t cached_tokens = 0;
  std::uint32_t output_tokens = 0;
};

enum class Rejected : std::uint8_t {
  unknown_model,
  no_instance,
  full,  // some would take it, were they not full (SchedulerSettings::max_requests, max_waiting)
};

struct Effects {
  struct Placed {
    RequestId id;
    Slot slot;  // decided, queued or dispatched there: expect its blocks in that cache
  };
  struct Dispatch {
    RequestId id;
    Slot slot;
    double prefill_s = 0.0;  // estimate: from now to its first token
    Reason reason = Reason::none;  // of its being there
  };
  struct Handed {
    RequestId id;
    std::uint32_t peer;      // index of the view's peers: that node places it
    double prefill_s = 0.0;  // estimate: from now to its first token
  };
  struct Rejection {
    RequestId id;
    Rejected why;
    double wait_s = 0.0;  // when full: until the first of them has no prefill left
  };
  boost::container::small_vector<Placed, 4> placed;
  boost::container::small_vector<Dispatch, 4> dispatched;
  boost::container::small_vector<Handed, 1> handed;
  boost::container::small_vector<Rejection, 1> rejected;
  bool load_changed = false;  // some own gauge moved: tell the mesh
  Time call_at = kNoCall;     // call `tick` then, though nothing happens before
  static constexpr Time kNoCall = Time::max();

  bool concern_requests() const {
    return !placed.empty() || !dispatched.empty() || !handed.empty() || !rejected.empty();
  }
  void clear() {
    placed.clear();
    dispatched.clear();
    handed.clear();
    rejected.clear();
    load_changed = false;
    call_at = kNoCall;
  }
};

// A mark of the depth table that this node wants the mesh to share or keep.
struct DepthProposal {
  BlockKey key;
  std::uint32_t deeper;  // depth to go to
};

struct QueueSnapshot {
  Slot slot = kNoSlot;
  Load own;
  bool healthy = true;
  std::uint32_t trial = 0;  // as set_health said; 0: none
  bool overloaded = false;
  double prefill_s_per_token = 0.0;
  std::uint64_t completed = 0;
  std::uint64_t failed = 0;
};

// What is kept of live requests beside the load, each in a place of its own: all zero when there is
// none. For tests, which look for what has been left behind.
struct SchedulerBooks {
  std::uint64_t in_waiting_room = 0;
  std::uint64_t in_queues = 0;
  std::uint64_t in_accounts = 0;  // of clients, as waiting, in an order that keeps some
  std::uint64_t handed = 0;       // to other nodes, without a first token yet
  std::uint64_t decoding_uncached_tokens = 0;
};

struct SchedulerTotals {
  std::uint64_t submitted = 0, finished = 0, failed = 0, cancelled = 0, rejected = 0, retried = 0;
  std::uint64_t migrations = 0;
  std::uint64_t handed = 0;                        // to another node, which places them
  std::uint64_t decisions_under_disagreement = 0;  // rings of the nodes differed at that moment
  std::uint64_t input_tokens = 0, predicted_hit_tokens = 0, reported_cached_tokens = 0;
};

class Scheduler {
 public:
  explicit Scheduler(SchedulerSettings settings);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Requests. Ids are the caller's, unique among live requests; unknown ids are ignored by all but
  // submit, so that late events need no bookkeeping.
  void submit(Arrival arrival, Time now, Effects& effects);
  void first_token(RequestId id, Time now, Effects& effects);
  // For an answer that does not show its first token because it is not streamed: its estimated
  // prefill is over, so the instance may get its next request. Nothing is learned or recorded from
  // it.
  void prefill_presumed(RequestId id, Time now, Effects& effects);
  void finished(RequestId id, const Usage& usage, Time now, Effects& effects);
  void cancelled(RequestId id, Time now, Effects& effects);
  // The dispatch failed, or the node it was handed to did. With `retry` it is placed on its other
  // candidate, or here (rejected when none is left); without, it ends as failed.
  void failed(RequestId id, bool retry, Time now, Effects& effects);

  // Fleet.
  void set_view(std::shared_ptr<const FleetView> view, Time now, Effects& effects);
  // With a `trial` an instance that is healthy gets at most so many requests without an answer at a
  // time from this node; 0: any number.
  void set_health(Slot slot, bool healthy, Time now, Effects& effects, std::uint32_t trial = 0);
  // Ages queues: finds instances that became overloaded by waiting alone. Call every 100 ms or so.
  void tick(Time now, Effects& effects);

  // What the mesh should hear. Both append what changed since the last call.
  void take_load_changes(Time now, std::vector<std::pair<Slot, Load>>& out);
  void take_depth_proposals(std::vector<DepthProposal>& out);

  // Looking in.
  DecisionRecord explain(const Arrival& arrival, Time now) const;  // changes nothing
  std::vector<DecisionRecord> decisions(std::size_t last) const;   // newest first
  const DecisionRecord* decision(RequestId id) const;  // of a live or recent request, else null
  bool can_retry(RequestId id) const;  // were it to fail where it is: is somebody left?
  std::vector<QueueSnapshot> queues() const;
  SchedulerTotals totals() const;
  SchedulerBooks books() const;  // O(slots + clients)
  bool panicking(const std::string& model) const;  // health ignored: more than half look dead
  std::size_t live_requests() const;
  std::size_t waiting_requests() const;  // for an instance to have room; O(slots)
  std::uint64_t view_generation() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Names that `policy set` and the configuration accept; a spec is a name with or without
// parameters, and for a policy with or without an order (policy_spec.h).
std::vector<std::string> policy_names();
bool is_policy(std::string_view spec);
std::vector<std::string> queue_order_names();
bool is_queue_order(std::string_view spec);

}  // namespace dualmesh::policies
