// Pacer: the first change goes at once, a sustained stream of them at a growing interval.
//
// After a quiet time of twice the current interval the next change goes at once and the interval is
// back at `min`; otherwise each one doubles it up to `max`. So a lone change costs no delay, and a
// storm costs at most one action per `max`.
//
// Urgency says which of a sender's paces a change goes by.
//
// Threads: none; time is an argument.
// Source: the shape of mosh's frame interval (20-250 ms with a short collection time).
#pragma once

#include <algorithm>
#include <cstdint>

#include "policies/time.h"

namespace dualmesh::node {

// Membership, instances and settings change seldom and decide where every node sends its requests,
// so they wait for no interval. Load is paced. Slight is what no decision hangs on: it may wait for
// several intervals, and goes with whatever goes before.
enum class Urgency : std::uint8_t { slight, paced, at_once };

class Pacer {
 public:
  Pacer(policies::Duration min, policies::Duration max) : min_(min), max_(std::max(min, max)) {}

  // When the next action may happen; in the past when at once.
  policies::Time next() const { return last_ + interval_; }

  policies::Time last() const { return last_; }
  bool is_slowest() const { return interval_ == max_; }  // there is a storm

  void acted(policies::Time now) {
    interval_ = now - last_ >= 2 * interval_ ? min_ : std::min(2 * interval_, max_);
    last_ = now;
  }

 private:
  policies::Duration min_;
  policies::Duration max_;
  policies::Duration interval_{0};
  policies::Time last_{0};
};

}  // namespace dualmesh::node
