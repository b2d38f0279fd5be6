// Load of one instance as seen by one router node: absolute gauges, never increments, so that
// losing or repeating a report heals with the next one.
//
// Shared through the mesh: all of it, one row per (instance, node).
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "policies/turns.h"

namespace dualmesh::policies {

struct Load {
  static constexpr std::int64_t kSameMomentMs = 5;

  std::uint32_t queued_requests = 0;      // waiting in this node's queue for the instance
  std::uint32_t prefilling_requests = 0;  // dispatched, no first token yet
  std::uint32_t decoding_requests = 0;    // after the first token
  std::uint64_t queued_tokens = 0;        // uncached prefill tokens of the queued ones
  std::uint64_t prefilling_tokens = 0;    // uncached prefill tokens of the prefilling ones
  std::uint64_t decoding_tokens = 0;      // context tokens (prompt) of the decoding ones
  std::uint32_t head_wait_ms = 0;         // longest wait in the queue when this was reported
  std::uint32_t prefill_left_ms = 0;      // until the prefilling ones should be done, when reported
  WaitingReports waiting;  // the first of them, in an order that the mesh shares (turns.h)

  // Does `later`, made `elapsed_ms` after this report, tell a listener anything new? Times that
  // have merely run out do not; a request that took the place of another like it does.
  bool says_as_much_as(Load later, std::int64_t elapsed_ms) const {
    if (waiting.size() != later.waiting.size()) return false;
    const std::int64_t left_ms = std::max<std::int64_t>(prefill_left_ms - elapsed_ms, 0);
    if (std::abs(left_ms - later.prefill_left_ms) > kSameMomentMs) return false;
    later.prefill_left_ms = prefill_left_ms;
    for (std::size_t i = 0; i < waiting.size(); ++i) {
      const std::int64_t slack_ms = waiting[i].slack_ms - elapsed_ms;
      if (std::abs(slack_ms - later.waiting[i].slack_ms) > kSameMomentMs) return false;
      later.waiting[i].slack_ms = waiting[i].slack_ms;
    }
    return *this == later;
  }
  std::uint32_t requests() const {
    return queued_requests + prefilling_requests + decoding_requests;
  }
  std::uint64_t pending_tokens() const { return queued_tokens + prefilling_tokens; }

  Load& operator+=(const Load& other) {
    queued_requests += other.queued_requests;
    prefilling_requests += other.prefilling_requests;
    decoding_requests += other.decoding_requests;
    queued_tokens += other.queued_tokens;
    prefilling_tokens += other.prefilling_tokens;
    decoding_tokens += other.decoding_tokens;
    if (other.head_wait_ms > head_wait_ms) head_wait_ms = other.head_wait_ms;
    return *this;
  }
  bool operator==(const Load&) const = default;
};

}  // namespace dualmesh::policies
