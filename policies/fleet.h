// Fleet: what one router knows of the instances: the mesh's view and, beside it, what is only known
// here: own load and queues, health, learned prefill cost.
//
// Policies and the rebalancer ask it; only the ledger changes loads and queues, only the scheduler
// the rest.
//
// Invariant: instances.size() covers every slot of the view; it never shrinks, as requests may
// still be running on an instance that has left. Threads: none; its owner locks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "policies/fleet_view.h"
#include "policies/prefill_estimator.h"
#include "policies/request_queue.h"
#include "policies/scheduler.h"

namespace dualmesh::policies {

struct InstanceState {
  explicit InstanceState(double initial_s_per_token) : prefill(initial_s_per_token) {}

  Load own;  // head_wait_ms is filled in when it is reported
  RequestQueue queue;
  PrefillEstimator prefill;
  bool healthy = true;
  std::uint32_t trial = 0;  // requests without an answer that it may have from us; 0: any number
  std::uint64_t decoding_uncached_tokens = 0;  // of ours that decode there
  bool has_room = true;  // fewer than the limit, here and elsewhere, wait for a first token from it
  Time room_since{};     // only while it has
  Time busy_until{};     // our prefills should be done then
  Time prefill_ended{};  // when a prefill was last seen to end, here or elsewhere
  std::uint64_t moved_here_tokens = 0;  // by this node's rebalancing, lately
  Time moved_here_at{};                 // the last of them
  Time hot_since = Time::max();         // rebalancing has seen too much here ever since
  std::uint32_t handed = 0;             // to other nodes, meant for it, without a first token yet
  std::uint64_t dispatches = 0;
  std::uint64_t completed = 0;
  std::uint64_t failed = 0;
};

// More than half of the instances that serve a model look dead: then it is more likely that we are
// the ones who cannot see, and health is ignored.
struct ModelState {
  const ModelView* view = nullptr;
  bool panicking = false;
  bool none_whole = false;  // none is healthy and not on trial: then a trial may be of any size
  std::vector<Slot> serving_now;  // of the active ones, by name; each may still be full or on trial
};

class Fleet {
 public:
  explicit Fleet(const SchedulerSettings& settings);

  void set_view(std::shared_ptr<const FleetView> view, Time now = {});
  // True when it changed. With a `trial` at most so many of ours are there without an answer.
  bool set_health(Slot slot, bool healthy, std::uint32_t trial = 0);

  const FleetView& view() const { return *view_; }
  const SchedulerSettings& settings() const { return settings_; }
  const ModelState* model(const std::string& name) const;  // null when nothing serves it
  InstanceState& at(Slot slot) { return instances_[slot]; }
  const InstanceState& at(Slot slot) const { return instances_[slot]; }
  std::size_t slots() const { return instances_.size(); }

  // May what waits for it go on waiting? `ignore_health` while the model is panicking.
  bool serves(Slot slot, bool ignore_health) const {
    return slot < standing_.size() &&
           standing_[slot] >= (ignore_health ? Standing::active : Standing::healthy);
  }
  // May new requests go there?
  bool usable(Slot slot, const ModelState& model) const {
    if (!serves(slot, model.panicking)) return false;
    if (!bounded_) return true;
    return !full(slot) && (model.panicking || model.none_whole || !on_full_trial(instances_[slot]));
  }
  // May any instance be full or on trial?
  bool bounded() const { return bounded_; }
  // It has as many of ours as the settings allow.
  bool full(Slot slot) const {
    const Load& own = instances_[slot].own;
    return (settings_.max_requests > 0 && own.requests() >= settings_.max_requests) ||
           (settings_.max_waiting > 0 && own.queued_requests >= settings_.max_waiting);
  }

  const Load& others(Slot slot) const {
    return slot < view_->instances.size() ? view_->instances[slot].others : kNobody;
  }
  std::uint64_t pending_tokens(Slot slot) const {
    return instances_[slot].own.pending_tokens() + others_pending_[slot];
  }
  std::uint64_t decoding_tokens(Slot slot) const {
    return instances_[slot].own.decoding_tokens + others(slot).decoding_tokens;
  }
  std::uint32_t decoding_requests(Slot slot) const {
    return instances_[slot].own.decoding_requests + others(slot).decoding_requests;
  }
  // Tokens in its KV memory that are nobody else's: what the decoding ones had to compute. Of other
  // nodes' as of ours, on average.
  double decoding_uncached_tokens(Slot slot) const;
  double prefill_s_per_token(Slot slot) const {
    if (slot < view_->instances.size() && view_->instances[slot].prefill_s_per_token > 0) {
      return view_->instances[slot].prefill_s_per_token;
    }
    return settings_.learn_prefill_cost ? instances_[slot].prefill.s_per_token()
                                        : settings_.prefill_s_per_token;
  }
  const std::vector<Waiting>& others_waiting(Slot slot) const;
  // Requests of all nodes that are being prefilled there. What others told is believed until a
  // while after they should be done (turns.h).
  std::uint32_t running(Slot slot, Time now) const {
    const std::uint32_t own = instances_[slot].own.prefilling_requests;
    return now < lapse(slot) ? own + others(slot).prefilling_requests : own;
  }
  // Until then; in the past when others have none.
  Time lapse(Slot slot) const {
    if (others(slot).prefilling_requests == 0) return {};
    return view_->instances[slot].others_busy_until + kDoubt;
  }
  // When a prefill could begin there: when those that run should be done.
  Time free_at(Slot slot, Time now) const {
    Time at = now;
    if (instances_[slot].own.prefilling_requests > 0)
      at = std::max(at, instances_[slot].busy_until);
    if (now < lapse(slot)) at = std::max(at, view_->instances[slot].others_busy_until);
    return at;
  }
  // Half the SLO: beyond it a wait leaves too little of the target for the prefill itself.
  double threshold_s() const { return view_->settings.slo_ttft_s / 2; }
  // Its pending time, with `extra_tokens` more, exceeds the threshold.
  bool over_threshold(Slot slot, std::uint64_t extra_tokens) const;
  double pending_s(Slot slot) const {
    return static_cast<double>(pending_tokens(slot)) * prefill_s_per_token(slot);
  }
  // Somebody, here or at another node, has waited too long for it.
  bool waited_too_long(Slot slot, Time now) const;
  bool overloaded(Slot slot, Time now) const {
    return over_threshold(slot, 0) || waited_too_long(slot, now);
  }

 private:
  static bool on_full_trial(const InstanceState& instance) {
    return instance.trial > 0 &&
           instance.own.queued_requests + instance.own.prefilling_requests >= instance.trial;
  }
  // What changes with view and health alone.
  void judge();

  enum class Standing : std::uint8_t { none, active, healthy };  // each as good as those before it
  static const Load kNobody;

  SchedulerSettings settings_;
  std::shared_ptr<const FleetView> view_;
  std::vector<InstanceState> instances_;  // by slot
  // By slot; small, as each request looks at all.
  std::vector<Standing> standing_;
  std::vector<std::uint64_t> others_pending_;  // tokens, of their load in the view
  bool bounded_ = false;                  // an instance may be full, or on trial
  std::vector<ModelState> models_;        // in the order of view_->models
};

}  // namespace dualmesh::policies
