// The two candidates of a request, and the choice between them: what DualMap and its ablations have
// in common. The ablations differ in the rule alone, not in the candidates.
//
// Candidate A is the owner of the request's key on ring A, B that on ring B, or the next on ring B
// where A owns both. A masked instance is stood in for by the next on its ring.
//
// Shared by the mesh: the rings, a pure function of the instances. Threads: none.
// Source: DualMap, ICLR 2026, arXiv 2602.06502, and its authors' code.
#pragma once

#include "policies/policy.h"

namespace dualmesh::policies {

using DualCandidates = std::array<CandidateEstimate, 2>;

// The second is kNoSlot when one instance can take the request, both when none can.
DualCandidates dual_candidates(const PlacementRequest& request, const PlacementContext& context);

// 0 or 1: the candidate with fewer decoding tokens; equal: at random.
std::size_t less_running(const DualCandidates& candidates, const Fleet& fleet, Random& random);

// The choice by `prefer(candidates, reason)`, which says 0 or 1 and why, and is asked only when
// there are two.
template <class Prefer>
Choice choose_of_two(const PlacementRequest& request, const PlacementContext& context,
                     Prefer&& prefer) {
  Choice choice;
  choice.candidates = dual_candidates(request, context);
  choice.by_ring = true;
  const auto& [a, b] = choice.candidates;
  if (b.slot == kNoSlot) {
    choice.primary = a.slot;
    if (a.slot != kNoSlot) choice.reason = Reason::only_candidate;
    return choice;
  }
  const std::size_t taken = prefer(choice.candidates, choice.reason);
  choice.primary = choice.candidates[taken].slot;
  choice.backup = choice.candidates[1 - taken].slot;
  return choice;
}

// 0 or 1: the candidate that holds more of the prompt; equal: less_running.
std::size_t longer_hit(const DualCandidates& candidates, const Fleet& fleet, Random& random,
                       Reason& reason);

}  // namespace dualmesh::policies
