// Coverage: how often each thing happened that a run of the swarm is meant to exercise.
//
// A kind of event that never happened in a whole run means that the swarm has stopped testing it,
// so a zero among those marked `required` fails the run.
//
// Threads: values; trivially copyable, because results cross processes.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "node/mesh/mesh_node.h"
#include "tests/sim/sim_network.h"

namespace dualmesh::sim {

enum class FaultKind : std::uint8_t {
  loss,
  delay,
  slow_peer,
  reset_links,
  cut_link,
  cut_one_way,
  cut_dials,
  partition,
  partition_one_way,
  crash_with_disk,
  crash_without_disk,
  power_cut,
  new_ring_generation,
  leave,
  pause,
  clock_forward,
  clock_back,
  oversized_delta,
};
inline constexpr std::size_t kFaultKinds = 18;
const char* to_string(FaultKind kind);

enum class Happened : std::uint8_t {
  segments_lost,
  resets_by_loss,
  links_lost,
  dials_failed,
  pushes,
  push_failures,
  resets,
  refused_deltas,
  gaps,
  duplicates,
  stale_writers,
  far_future,
  over_bounds,
  suspicions,
  deaths,
  refutations,
  relayed,
  epoch_raises,
  removals,
  collections,
  below_horizon,
  registries_taken,
  snapshots,
  ring_generations,
  partitions,
};
inline constexpr std::size_t kHappened = 25;

struct Coverage {
  std::array<std::uint64_t, kFaultKinds> faults{};
  std::array<std::uint64_t, kHappened> happened{};

  void note(FaultKind kind) { ++faults[static_cast<std::size_t>(kind)]; }
  void note(Happened what, std::uint64_t times = 1) {
    happened[static_cast<std::size_t>(what)] += times;
  }
  void note(const node::MeshNode& mesh);  // what one life of a node has counted
  void note(const SimNetwork& network);
  Coverage& operator+=(const Coverage& other);

  std::uint64_t all_faults() const;
  std::string table() const;
  std::string missing() const;  // names of required things that never happened; empty: none
};

}  // namespace dualmesh::sim
