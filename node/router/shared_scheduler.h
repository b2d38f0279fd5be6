// SharedScheduler: the one Scheduler of a node behind its one mutex, and the way its effects get to
// the I/O threads that own the requests.
//
// Any thread enters inline: lock, call the scheduler, unlock, then deliver. What concerns requests
// of the entering thread is delivered by a plain call, the rest as one post per I/O thread and
// entry. A request's id tells its thread, so no shared table of requests exists. When the scheduler
// wants to be called later, one timer on the first I/O thread sees to it: the earliest call wins,
// and the tick that it makes says anew what comes after. It goes when the I/O threads stop.
//
// Invariant: the mutex is never held while a receiver runs, so a receiver may enter again.
// Deliveries may overtake each other between threads; receivers ignore what concerns a request that
// has ended. Threads: all calls thread-safe; set_receiver before traffic. Lock order: under
// this mutex only those of InstanceHealth and SharedAdmission are taken.
#pragma once

#include <atomic>
#include <boost/container/small_vector.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "net/io_threads.h"
#include "policies/scheduler.h"

namespace dualmesh::node {

using Clock = std::function<policies::Time()>;
policies::Time monotonic_now();

using ViewPointer = std::shared_ptr<const policies::FleetView>;

// What the owner of a request must do.
struct Delivery {
  enum class Kind : std::uint8_t { placed, dispatched, handed, rejected } kind = Kind::placed;
  policies::RequestId id = 0;
  policies::Slot slot = policies::kNoSlot;
  policies::Reason reason = policies::Reason::none;  // of a dispatch
  policies::Rejected why = policies::Rejected::no_instance;
  // Estimate: of a dispatch or hop until the first token, of a rejection until there may be room.
  double prefill_s = 0.0;
  std::uint32_t peer = 0;  // of a hop: index of the view's peers
  policies::Time at{};     // when it was decided
};

class SharedScheduler {
 public:
  using Receiver = std::function<void(std::span<const Delivery>, const ViewPointer&)>;

  SharedScheduler(policies::SchedulerSettings settings, net::IoThreads& threads, Clock clock);

  // Receives deliveries for requests of I/O thread `thread`, on that thread.
  void set_receiver(std::size_t thread, Receiver receiver);
  // Called, on any thread, after an entry that changed this node's load.
  void on_load_changed(std::function<void()> changed) { load_changed_ = std::move(changed); }

  policies::RequestId next_id(std::size_t thread);
  policies::Time now() const { return clock_(); }
  double wanted_ttft_s() const { return view_->settings.slo_ttft_s; }  // inside enter() or read()

  // `entry(Scheduler&, Time now, Effects&)`
  template <class Entry>
  void enter(Entry&& entry) {
    policies::Effects effects;
    Batches batches;
    ViewPointer view;
    bool sooner = false;
    {
      const std::lock_guard lock(mutex_);
      const policies::Time now = clock_();
      entry(scheduler_, now, effects);
      if (effects.concern_requests()) {
        sort_by_thread(effects, now, batches);
        view = view_;
      }
      sooner = effects.call_at < call_at_;
      if (sooner) call_at_ = effects.call_at;
    }
    deliver(effects, batches, view);
    if (sooner) arm();
  }
  // `look(const Scheduler&)`, and its answer.
  template <class Look>
  auto read(Look&& look) const {
    const std::lock_guard lock(mutex_);
    return look(scheduler_);
  }

  void set_view(ViewPointer view);
  ViewPointer view() const;
  void take_load_changes(std::vector<std::pair<policies::Slot, policies::Load>>& loads,
                         std::vector<policies::DepthProposal>& depth);

 private:
  using Batch = boost::container::small_vector<Delivery, 4>;
  using Batches = boost::container::small_vector<Batch, 4>;  // by thread; empty when nothing is due

  void sort_by_thread(const policies::Effects& effects, policies::Time now,
                      Batches& batches) const;
  void deliver(const policies::Effects& effects, Batches& batches, const ViewPointer& view);
  void arm();       // any thread
  void arm_here();  // on the first I/O thread, as the next
  void called();

  net::IoThreads& threads_;
  Clock clock_;
  std::vector<Receiver> receivers_;
  std::function<void()> load_changed_;
  std::atomic<std::uint64_t> last_sequence_{0};
  mutable std::mutex mutex_;
  policies::Scheduler scheduler_;  // guarded by mutex_, as is view_
  ViewPointer view_;
  policies::Time call_at_ = policies::Effects::kNoCall;  // guarded; the earliest not yet made

  // On the first I/O thread only.
  net::IoThread::Timer call_timer_;
  policies::Time armed_for_ = policies::Effects::kNoCall;
};

}  // namespace dualmesh::node
