// Mailbox: how other threads reach the mesh thread: closures and one wake flag, behind one eventfd.
//
// Posting takes a mutex and, only when nothing was waiting, one write to the eventfd. `wake` says
// "look at your host" without a closure and costs one atomic exchange when it was already said. No
// kj object ever passes through here.
//
// Threads: post and wake from any; everything else on the mesh thread.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <vector>

#include "net/error.h"

namespace dualmesh::node {

template <class Target>
class Mailbox {
 public:
  using Message = std::function<void(Target&)>;

  Mailbox() : fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    DUALMESH_CHECK(fd_ >= 0, "errno={}", errno);
  }
  ~Mailbox() { ::close(fd_); }
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  void post(Message message) {
    bool was_empty = false;
    {
      std::lock_guard lock(mutex_);
      was_empty = messages_.empty();
      messages_.push_back(std::move(message));
    }
    if (was_empty) ring();
  }
  void wake() {
    if (!wake_.exchange(true, std::memory_order_acq_rel)) ring();
  }

  int fd() const { return fd_; }
  // Empties the eventfd first, so that whatever comes later rings again.
  std::vector<Message> take() {
    std::uint64_t rings = 0;
    [[maybe_unused]] const ssize_t read = ::read(fd_, &rings, sizeof(rings));  // all of them
    std::vector<Message> taken;
    std::lock_guard lock(mutex_);
    taken.swap(messages_);
    return taken;
  }
  // Woken, and not yet done with: until then further wakes cost no ring.
  bool woken() const { return wake_.load(std::memory_order_acquire); }
  void wake_done() { wake_.store(false, std::memory_order_release); }
  // As if woken: whoever reads looks again before long, so nobody need ring.
  void look_again() { wake_.store(true, std::memory_order_release); }

 private:
  void ring() {
    const std::uint64_t one = 1;
    // Fails only when the counter is full, and then the reader is ringing already.
    [[maybe_unused]] const ssize_t written = ::write(fd_, &one, sizeof(one));
  }

  const int fd_;
  std::mutex mutex_;
  std::vector<Message> messages_;
  std::atomic<bool> wake_{false};
};

}  // namespace dualmesh::node
