// IoThreads: the event loops of the request path, one per thread, without showing their library.
//
// Each IoThread runs one loop; whatever is created on it (connections, timers, exchanges) lives and
// dies on it. `post` is the only call allowed from other threads.
//
// Threads: IoThreads is owned by main; IoThread::post is thread-safe; after() and the classes built
// on IoThread are called on that thread only.
// Source: Seastar's and Envoy's worker model: share nothing, pass messages.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <vector>

namespace dualmesh::net {

class IoThread {
 public:
  struct Impl;  // the loop itself; net/ sources only
  explicit IoThread(std::size_t index);
  ~IoThread();

  std::size_t index() const;
  void post(std::function<void()> work);
  // A one-shot timer; destroying the handle cancels it. On this thread only.
  using Timer = std::shared_ptr<void>;
  [[nodiscard]] Timer after(std::chrono::nanoseconds delay, std::function<void()> work);
  bool is_current() const;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

class IoThreads {
 public:
  explicit IoThreads(std::size_t count);  // starts them
  ~IoThreads();                           // stops and joins

  std::size_t count() const { return threads_.size(); }
  IoThread& at(std::size_t index) { return *threads_[index]; }
  void stop();

 private:
  struct Running;
  std::vector<std::unique_ptr<IoThread>> threads_;
  std::unique_ptr<Running> running_;
};

}  // namespace dualmesh::net
