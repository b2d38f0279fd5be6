#include "node/router/shared_scheduler.h"

#include <chrono>

#include "net/error.h"

namespace dualmesh::node {

policies::Time monotonic_now() {
  return std::chrono::duration_cast<policies::Time>(
      std::chrono::steady_clock::now().time_since_epoch());
}

SharedScheduler::SharedScheduler(policies::SchedulerSettings settings, net::IoThreads& threads,
                                 Clock clock)
    : threads_(threads),
      clock_(std::move(clock)),
      receivers_(threads.count()),
      scheduler_(std::move(settings)),
      view_(std::make_shared<policies::FleetView>()) {}

void SharedScheduler::set_receiver(std::size_t thread, Receiver receiver) {
  receivers_.at(thread) = std::move(receiver);
}

policies::RequestId SharedScheduler::next_id(std::size_t thread) {
  const std::uint64_t sequence = last_sequence_.fetch_add(1, std::memory_order_relaxed) + 1;
  return sequence * threads_.count() + thread;
}

void SharedScheduler::set_view(ViewPointer view) {
  enter([&](policies::Scheduler& scheduler, policies::Time now, policies::Effects& effects) {
    view_ = view;
    scheduler.set_view(std::move(view), now, effects);
  });
}

ViewPointer SharedScheduler::view() const {
  const std::lock_guard lock(mutex_);
  return view_;
}

void SharedScheduler::take_load_changes(
    std::vector<std::pair<policies::Slot, policies::Load>>& loads,
    std::vector<policies::DepthProposal>& depth) {
  const std::lock_guard lock(mutex_);
  scheduler_.take_load_changes(clock_(), loads);
  scheduler_.take_depth_proposals(depth);
}

void SharedScheduler::sort_by_thread(const policies::Effects& effects, policies::Time now,
                                     Batches& batches) const {
  batches.resize(threads_.count());
  const auto add = [&](Delivery::Kind kind, policies::RequestId id) -> Delivery& {
    Delivery& delivery = batches[id % threads_.count()].emplace_back();
    delivery.kind = kind;
    delivery.id = id;
    delivery.at = now;
    return delivery;
  };
  // Placed first: a request that is dispatched at once has its blocks recorded before it is sent.
  for (const auto& placed : effects.placed) {
    add(Delivery::Kind::placed, placed.id).slot = placed.slot;
  }
  for (const auto& dispatch : effects.dispatched) {
    Delivery& delivery = add(Delivery::Kind::dispatched, dispatch.id);
    delivery.slot = dispatch.slot;
    delivery.reason = dispatch.reason;
    delivery.prefill_s = dispatch.prefill_s;
  }
  for (const auto& hop : effects.handed) {
    Delivery& delivery = add(Delivery::Kind::handed, hop.id);
    delivery.reason = policies::Reason::handed;
    delivery.prefill_s = hop.prefill_s;
    delivery.peer = hop.peer;
  }
  for (const auto& rejection : effects.rejected) {
    Delivery& delivery = add(Delivery::Kind::rejected, rejection.id);
    delivery.why = rejection.why;
    delivery.prefill_s = rejection.wait_s;
  }
}

void SharedScheduler::deliver(const policies::Effects& effects, Batches& batches,
                              const ViewPointer& view) {
  for (std::size_t i = 0; i < batches.size(); ++i) {
    if (batches[i].empty()) continue;
    net::IoThread& thread = threads_.at(i);
    if (thread.is_current()) {
      receivers_[i](batches[i], view);
    } else {
      thread.post([this, i, view, batch = std::move(batches[i])] { receivers_[i](batch, view); });
    }
  }
  if (effects.load_changed && load_changed_) load_changed_();
}

void SharedScheduler::arm() {
  net::IoThread& thread = threads_.at(0);
  if (thread.is_current()) return arm_here();
  thread.post([this] { arm_here(); });
}

// What has been armed meanwhile by another entry is not armed again.
void SharedScheduler::arm_here() {
  policies::Time at;
  {
    const std::lock_guard lock(mutex_);
    at = call_at_;
  }
  if (at >= armed_for_) return;
  armed_for_ = at;
  call_timer_ = threads_.at(0).after(at - clock_(), [this] { called(); });
}

void SharedScheduler::called() {
  armed_for_ = policies::Effects::kNoCall;
  enter([this](policies::Scheduler& scheduler, policies::Time now, policies::Effects& effects) {
    call_at_ = policies::Effects::kNoCall;
    scheduler.tick(now, effects);
  });
}

}  // namespace dualmesh::node
