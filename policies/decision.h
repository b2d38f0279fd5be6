// What a scheduler did with one request, and why: enough to explain it afterwards.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "policies/ring.h"
#include "policies/time.h"

namespace dualmesh::policies {

using RequestId = std::uint64_t;

enum class Reason : std::uint8_t {
  none,
  only_candidate,     // one instance serves the model, or the other is masked
  waits,              // at the router, as no instance has room yet
  best_score,         // cache and load weighed together, by the policy's formula
  longest_hit,        // the candidate with more cached prefix, within the threshold
  equal_hit,          // no difference in hit; fewer running tokens, then random
  shorter_ttft,       // the preferred candidate's estimate exceeds the threshold
  round_robin,
  random,             // drawn from all that can take it
  least_load,         // the smallest load, by the policy's own measure
  less_of_two,        // the smaller load of two drawn at random
  untried,            // nothing is known of it yet
  ring_owner,         // the owner of its key on the ring
  spilled,            // the owner of its key has too much; this one stands in
  rebalanced,         // moved from a hot spot to its other candidate or the neighbour
  retried,            // the first instance failed before the first byte
  handed,             // to another node, which reaches an instance that this one does not
  replaced,           // its instance was drained, removed or died while it waited
};

enum class Outcome : std::uint8_t {
  pending,
  finished,
  failed,     // upstream failed after the first byte, or no candidate was left
  cancelled,  // the client went away
  rejected,
};

// How sure a hit is, the surest last.
enum class HitSource : std::uint8_t {
  unknown,    // nothing is known of that cache
  predicted,  // by what was placed there
  degraded,   // by the engine's events, of which some are missing
  exact,      // by the engine's events
};

const char* to_string(HitSource source);
const char* to_string(Reason reason);
const char* to_string(Outcome outcome);

struct CandidateEstimate {
  Slot slot = kNoSlot;
  std::uint32_t hit_tokens = 0;
  std::uint64_t pending_tokens = 0;   // own + others', before this request
  double ttft_s = 0.0;
  HitSource source = HitSource::predicted;  // of hit_tokens
};

struct DecisionRecord {
  RequestId id = 0;
  Time at{};
  std::string model;
  std::string policy;
  std::uint32_t input_tokens = 0;
  std::uint32_t depth = 0;            // blocks in the ring key
  std::uint64_t ring_key = 0;
  std::uint64_t ring_digest = 0;
  std::uint64_t depth_digest = 0;
  std::uint64_t view_generation = 0;
  bool rings_agreed = true;           // false: nodes held differing rings at that moment
  std::array<CandidateEstimate, 2> candidates;  // the one first chosen, and its backup; or by_ring:
  bool by_ring = false;               // the owners on ring A and ring B, in this order
  Slot chosen = kNoSlot;              // where it is now
  Slot backup = kNoSlot;
  std::string handed_to;              // the node that places it; empty: this one
  Reason reason = Reason::none;
  std::uint32_t migrations = 0;
  std::uint32_t retries = 0;
  Outcome outcome = Outcome::pending;
  double queued_s = 0.0;              // submit -> dispatch
  double ttft_s = 0.0;                // submit -> first token; 0 until known
  std::uint32_t cached_tokens = 0;    // as the engine reported; 0 until known
};

}  // namespace dualmesh::policies
