// EngineClock runs engine models in real time: one thread that ends each instance's iterations at
// their planned moments and hands what they produced to the I/O threads.
//
// An iteration starts where the one before it was planned to end, not when the timer happened to
// fire, so lateness does not add up; it is measured, for results made with late timers are void.
// Durations of the models are divided by `speed`.
//
// Invariant: a request's emissions arrive in order on the IoThread it was submitted from, none
// after its last; after cancel() returns, none are produced (one already posted may still arrive).
// Threads: all members of both classes from any thread; deliver runs on the request's IoThread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "net/io_threads.h"
#include "node/engine/engine_model.h"
#include "node/engine/histogram.h"
#include "node/engine/kv_event_log.h"

namespace dualmesh::node {

using Deliver = std::function<void(const Emission&)>;
// What an iteration did to the cache, told at its end and before anybody hears of its tokens;
// called with the clock's lock held. Nothing is recorded where it is empty.
using CacheChanged = std::function<void(std::vector<KvEvent>)>;

// Everything an instance counts, in wall seconds.
struct EngineSnapshot {
  EngineCounters counters;
  std::size_t running = 0;
  std::size_t waiting = 0;
  std::size_t blocks_in_use = 0;
  std::size_t blocks_cached = 0;
  std::size_t blocks_total = 0;
  std::uint64_t evictions = 0;
  std::uint64_t succeeded = 0;
  Histogram ttft_s;
  Histogram e2e_s;
  Histogram lateness_s;
  double iteration_s = 0;  // of all iterations

  EngineSnapshot();
  EngineSnapshot& operator+=(const EngineSnapshot& more);
  double lateness_ratio_p99() const;  // p99 lateness over the mean iteration
};

class EngineInstance;

class EngineClock {
 public:
  explicit EngineClock(double speed);
  ~EngineClock();  // no instance may be left
  EngineClock(const EngineClock&) = delete;

 private:
  friend class EngineInstance;
  using Wall = std::chrono::steady_clock;
  void run();
  policies::Time model_time(Wall::time_point wall) const;
  Wall::time_point wall_time(policies::Time time) const;

  const double speed_;
  const Wall::time_point origin_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<EngineInstance*> instances_;
  bool stopping_ = false;
  std::thread thread_;
};

class EngineInstance {
 public:
  EngineInstance(EngineClock& clock, const EngineParameters& parameters, CacheChanged changed = {});
  ~EngineInstance();
  EngineInstance(const EngineInstance&) = delete;

  // The request's id is assigned here. It must fit an empty instance. Call on `thread`.
  RequestId submit(EngineRequest request, net::IoThread& thread, Deliver deliver);
  void cancel(RequestId id);
  bool reset_cache();        // false and no change while a request holds blocks
  std::size_t load() const;  // running requests, and waiting ones four times
  EngineSnapshot snapshot() const;

 private:
  friend class EngineClock;
  using Wall = EngineClock::Wall;
  struct Client {
    net::IoThread* thread = nullptr;
    std::shared_ptr<const Deliver> deliver;
    Wall::time_point submitted;
  };
  // Under the clock's mutex.
  void start(policies::Time at);
  void finish(Wall::time_point now);
  void tell_changes();

  EngineClock& clock_;
  EngineModel model_;
  const CacheChanged changed_;
  KvEventLog events_{model_};
  std::unordered_map<RequestId, Client> clients_;
  RequestId next_id_ = 1;
  policies::Time end_{};     // of the running iteration
  Wall::time_point due_{};   // the same on the wall
  EngineSnapshot measured_;  // its histograms and own counters only
  std::vector<Emission> emissions_;
};

}  // namespace dualmesh::node
