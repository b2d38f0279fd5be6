// The event loop behind IoThread, and the timer shape every connection uses. Private to net/*.cc:
// the only header of ours that shows Asio.
//
// Threads: a loop's objects are used on its thread; run_and_wait may be called from any thread.
#pragma once

#include <time.h>

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "net/io_threads.h"

namespace dualmesh::net {

// Something to do when the handlers that are ready now have run: what many of them cause is done
// once, and what is written together wakes its readers together.
class TurnEndJob {
 public:
  virtual ~TurnEndJob() = default;
  virtual void turn_ended() = 0;
};

struct IoThread::Impl {
  explicit Impl(std::size_t thread_index) : index(thread_index) {}

  void run();
  // Runs `work` on this loop and returns when it is done; runs it here when the loop has stopped or
  // this is its thread.
  void run_and_wait(std::function<void()> work);
  // On its thread.
  void at_turn_end(std::shared_ptr<TurnEndJob> job);

  std::size_t index;
  // One thread uses the sockets, so the reactor takes no lock for each of their operations; posting
  // from other threads stays safe.
  asio::io_context context{ASIO_CONCURRENCY_HINT_UNSAFE_IO};
  asio::executor_work_guard<asio::io_context::executor_type> guard = asio::make_work_guard(context);
  std::atomic<std::thread::id> runner{};  // no id: not running
  std::vector<std::shared_ptr<TurnEndJob>> turn_end_jobs, running_jobs;
};

// One deadline that is moved far more often than it is reached. Moving it later only stores a
// number; the timer underneath looks again when it fires. Moved by the system's coarse clock, which
// costs a tenth and is a few milliseconds behind: so much too early it may be reached.
class Deadline {
 public:
  using Clock = std::chrono::steady_clock;
  // The system's coarse clock.
  static Clock::time_point coarse_now() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return Clock::time_point(std::chrono::seconds(now.tv_sec) +
                             std::chrono::nanoseconds(now.tv_nsec));
  }

  explicit Deadline(asio::io_context& context) : timer_(context) {}

  // `owner`, held by shared_ptr, is what holds this Deadline: it is kept while the timer looks, and
  // its expired() runs when the deadline is reached.
  template <class Owner>
  void set(Clock::duration after, Owner& owner) {
    when_ = coarse_now() + after;
    if (armed_ <= when_) return;
    arm(owner.weak_from_this());
  }
  void clear() { when_ = Clock::time_point::max(); }
  void cancel() {
    clear();
    timer_.cancel();
  }

 private:
  template <class Owner>
  void arm(std::weak_ptr<Owner> owner) {
    armed_ = when_;
    timer_.expires_at(when_);
    timer_.async_wait([this, owner = std::move(owner)](const std::error_code& error) {
      if (error) return;  // moved earlier, or cancelled: this object may be gone
      auto held = owner.lock();
      if (!held) return;
      armed_ = Clock::time_point::max();
      if (when_ == Clock::time_point::max()) return;
      if (Clock::now() < when_) return arm(std::weak_ptr<Owner>(held));
      when_ = Clock::time_point::max();
      held->expired();
    });
  }

  asio::steady_timer timer_;
  Clock::time_point when_ = Clock::time_point::max();
  Clock::time_point armed_ = Clock::time_point::max();  // when the timer underneath looks next
};

}  // namespace dualmesh::net
