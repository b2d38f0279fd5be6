// EngineRanks: the data-parallel ranks of one simulated instance, each with a cache of its own
// whose changes are published as a stream of its own.
//
// A request goes to the rank with the least load, in turn among equals, unless it names one.
//
// Threads: all members from any thread, as EngineInstance; submit on the request's I/O thread.
// Source: vLLM's data-parallel load balancing, which weighs a waiting request as four running ones.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "node/engine/engine_clock.h"
#include "node/engine/event_publisher.h"

namespace dualmesh::node {

struct EngineRanksSettings {
  std::uint32_t ranks = 1;
  EventPublisher* publisher = nullptr;  // null: nobody is told; else it outlives this
  std::size_t first_stream = 0;         // rank r is stream first_stream + r
  bool clears_first = false;            // SGLang's first batch
};

class EngineRanks {
 public:
  EngineRanks(EngineClock& clock, const EngineParameters& parameters,
              const EngineRanksSettings& settings);

  struct Place {
    std::size_t rank = 0;
    RequestId id = 0;  // within the rank
  };
  std::size_t count() const { return ranks_.size(); }
  Place submit(EngineRequest request, std::optional<std::size_t> rank, net::IoThread& thread,
               Deliver deliver);
  void cancel(Place place) { ranks_[place.rank]->cancel(place.id); }
  // False when requests held blocks of some ranks, whose caches stay.
  bool reset_caches();
  std::vector<EngineSnapshot> snapshots() const;

 private:
  std::size_t least_loaded();

  std::vector<std::unique_ptr<EngineInstance>> ranks_;
  std::atomic<std::size_t> next_{0};
};

}  // namespace dualmesh::node
