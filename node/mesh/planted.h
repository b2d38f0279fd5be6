// Planted bugs: mistakes in the mesh code that a test switches on, one at a time, to see that the
// simulation finds them.
//
// In production `planted` is the constant false and the compiler drops every branch on it; only the
// second build of the mesh sources that tests/sim makes (DUALMESH_PLANTS) can switch one on. A
// plant is a mistake that somebody could make, in one place.
//
// Threads: set before the first node starts, then only read.
#pragma once

#include <cstdint>

namespace dualmesh::node {

enum class Plant : std::uint8_t {
  none,
  lose_last_row,             // a delta that is taken loses its last row, and is acknowledged whole
  cut_is_complete,           // a push that was cut at its limit is taken for all there is
  expiry_not_told,           // what has expired is not taken for news
  placements_unbounded,      // the bound of one's own placements is not kept
  ahead_kept,                // depth marks that are too far ahead for others stay
  stuck_after_lost_link,     // a push under way when its link goes down stays under way for ever
  clock_goes_back,           // stamps follow the wall clock alone
  coarse_epoch,              // a quick restart gets the epoch it had
  earlier_life_ignored,      // a node that is known by a higher epoch keeps its own
  skip_refutation,           // a node that was called dead does not object
  keep_columns_of_dead,      // a dead node's columns stay
  keep_columns_of_old_life,  // those of an earlier life stay
  unheard_for_ever,          // who was not heard from once is left out for good
  relays_nothing,            // a node that was asked to pass on what it hears does not
  removed_goes_on,           // a removed instance goes on serving
  own_load_counted,          // a node counts its own load among the others'
  collects_unasked,          // removed names are collected although not all have applied it
  rings_kept,                // parameters of a new generation leave rings that exist as they are
};

#ifdef DUALMESH_PLANTS
inline Plant planted_now = Plant::none;
inline bool planted(Plant plant) { return plant == planted_now; }
#else
constexpr bool planted(Plant) { return false; }
#endif

}  // namespace dualmesh::node
