// SimEvents: virtual time, and what is to happen when: a queue of things due.
//
// The cluster moves the clock from one thing due to the next; two due at one time happen in the
// order in which they were asked for, so that equal seeds give equal runs.
//
// Threads: none.
#pragma once

#include <kj/time.h>

#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

namespace dualmesh::sim {

// Whole milliseconds may be too coarse: everything is rounded to a microsecond.
inline kj::Duration from_ms(double milliseconds) {
  return static_cast<std::int64_t>(milliseconds * 1e3) * kj::MICROSECONDS;
}

class SimEvents {
 public:
  kj::TimePoint now() const { return now_; }
  std::uint64_t happened() const { return happened_; }

  void at(kj::TimePoint due, std::function<void()> what) {
    queue_.push({std::max(due, now_), asked_++, std::move(what)});
  }
  void after(kj::Duration delay, std::function<void()> what) { at(now_ + delay, std::move(what)); }

  // The next thing due, or `otherwise` when that comes first.
  kj::TimePoint next(kj::TimePoint otherwise) const {
    return queue_.empty() ? otherwise : std::min(queue_.top().due, otherwise);
  }

  void advance_to(kj::TimePoint time) {
    now_ = std::max(now_, time);
    while (!queue_.empty() && queue_.top().due <= now_) {
      auto what = std::move(const_cast<Event&>(queue_.top()).what);  // it is popped right away
      queue_.pop();
      ++happened_;
      what();
    }
  }

 private:
  struct Event {
    kj::TimePoint due;
    std::uint64_t order;
    std::function<void()> what;
    bool operator<(const Event& other) const {  // the queue has its greatest on top
      return due != other.due ? due > other.due : order > other.order;
    }
  };

  kj::TimePoint now_ = kj::origin<kj::TimePoint>() + 1 * kj::SECONDS;
  std::priority_queue<Event> queue_;
  std::uint64_t asked_ = 0;
  std::uint64_t happened_ = 0;
};

}  // namespace dualmesh::sim
