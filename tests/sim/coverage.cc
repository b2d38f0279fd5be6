#include "tests/sim/coverage.h"

#include <fmt/format.h>

#include <numeric>

namespace dualmesh::sim {
namespace {

constexpr const char* kFaultNames[kFaultKinds] = {"loss",
                                                  "delay",
                                                  "slow peer",
                                                  "reset links",
                                                  "cut link",
                                                  "cut one way",
                                                  "cut dials",
                                                  "partition",
                                                  "partition one way",
                                                  "crash, restart with disk",
                                                  "crash, restart without disk",
                                                  "power cut",
                                                  "restart with new ring parameters",
                                                  "leave",
                                                  "pause",
                                                  "clock forward",
                                                  "clock back",
                                                  "oversized delta"};

struct Row {
  const char* name;
  bool required;
};
constexpr Row kHappenedRows[kHappened] = {{"segments lost", true},
                                          {"connections reset by loss", true},
                                          {"links lost", true},
                                          {"dials failed", true},
                                          {"pushes", true},
                                          {"pushes failed", true},
                                          {"resets", true},
                                          {"deltas refused by a peer", true},
                                          {"gaps", true},
                                          {"duplicates", true},
                                          {"stale writers", true},
                                          {"stamps from the future", true},
                                          {"over bounds", false},
                                          {"suspicions", true},
                                          {"deaths declared", true},
                                          {"refutations", true},
                                          {"deltas through a relay", true},
                                          {"epochs raised", true},
                                          {"instances removed", true},
                                          {"removed instances collected", true},
                                          {"words from below the horizon", true},
                                          {"registries taken whole", true},
                                          {"snapshots received", true},
                                          {"ring generations agreed on", true},
                                          {"partitions shown", true}};

}  // namespace

const char* to_string(FaultKind kind) { return kFaultNames[static_cast<std::size_t>(kind)]; }

void Coverage::note(const node::MeshNode& mesh) {
  const node::StateCounters& state = mesh.state().counters();
  note(Happened::gaps, state.gaps);
  note(Happened::duplicates, state.duplicates);
  note(Happened::stale_writers, state.stale_writer);
  note(Happened::far_future, state.far_future);
  note(Happened::over_bounds, state.over_bounds);
  note(Happened::relayed, state.relayed);
  note(Happened::collections, state.collected);
  note(Happened::below_horizon, state.below_horizon);
  note(Happened::registries_taken, state.registries_taken);
  note(Happened::snapshots, state.snapshots);
  const node::PeersCounters& peers = mesh.peers().counters();
  note(Happened::links_lost, peers.links_lost);
  note(Happened::dials_failed, peers.dials_failed);
  note(Happened::suspicions, peers.suspicions);
  note(Happened::deaths, peers.deaths);
  note(Happened::epoch_raises, mesh.epoch_raises());
  note(Happened::refutations, mesh.refutations());
  for (const auto& [id, peer] : mesh.peers().all()) {
    const node::ReplicatorStats& stats = peer->replicator->stats();
    note(Happened::pushes, stats.pushes);
    note(Happened::push_failures, stats.failures);
    note(Happened::resets, stats.resets);
    note(Happened::refused_deltas, stats.refused_deltas);
  }
}

void Coverage::note(const SimNetwork& network) {
  note(Happened::segments_lost, network.segments_lost());
  note(Happened::resets_by_loss, network.resets_by_loss());
}

Coverage& Coverage::operator+=(const Coverage& other) {
  for (std::size_t i = 0; i < kFaultKinds; ++i) faults[i] += other.faults[i];
  for (std::size_t i = 0; i < kHappened; ++i) happened[i] += other.happened[i];
  return *this;
}

std::uint64_t Coverage::all_faults() const {
  return std::accumulate(faults.begin(), faults.end(), std::uint64_t{0});
}

std::string Coverage::table() const {
  std::string text = fmt::format("{:30} {:>12}\n", "fault", "times");
  for (std::size_t i = 0; i < kFaultKinds; ++i) {
    text += fmt::format("{:30} {:>12}\n", kFaultNames[i], faults[i]);
  }
  text += fmt::format("{:30} {:>12}\n", "event", "times");
  for (std::size_t i = 0; i < kHappened; ++i) {
    text += fmt::format("{:30} {:>12}\n", kHappenedRows[i].name, happened[i]);
  }
  return text;
}

std::string Coverage::missing() const {
  std::string names;
  const auto add = [&names](const char* name) {
    names += names.empty() ? name : std::string(", ") + name;
  };
  for (std::size_t i = 0; i < kFaultKinds; ++i) {
    if (faults[i] == 0) add(kFaultNames[i]);
  }
  for (std::size_t i = 0; i < kHappened; ++i) {
    if (happened[i] == 0 && kHappenedRows[i].required) add(kHappenedRows[i].name);
  }
  return names;
}

}  // namespace dualmesh::sim
