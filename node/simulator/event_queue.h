// EventQueue: what happens when, in virtual time. Events of one moment happen in the order in which
// they were made, so that a run is a pure function of its inputs.
//
// Invariant: time never goes back: `push` before the event popped last is a defect of the caller.
// Cost: O(log n). Threads: none; a value.
#pragma once

#include <cstdint>
#include <queue>
#include <vector>

#include "net/error.h"
#include "policies/time.h"

namespace dualmesh::node {

template <class What>
class EventQueue {
 public:
  void push(policies::Time when, What what) {
    DUALMESH_CHECK(when >= now_, "event at {} ns, now {} ns", when.count(), now_.count());
    events_.push({when, ++last_, std::move(what)});
  }
  bool empty() const { return events_.empty(); }
  policies::Time now() const { return now_; }
  // The next one; the clock is at its time from here on.
  What pop() {
    Event event = events_.top();
    events_.pop();
    now_ = event.when;
    return std::move(event.what);
  }

 private:
  struct Event {
    policies::Time when;
    std::uint64_t number;
    What what;
    bool operator<(const Event& other) const {
      return when != other.when ? when > other.when : number > other.number;
    }
  };
  std::priority_queue<Event> events_;
  std::uint64_t last_ = 0;
  policies::Time now_{};
};

}  // namespace dualmesh::node
