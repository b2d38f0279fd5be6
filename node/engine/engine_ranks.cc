#include "node/engine/engine_ranks.h"

#include <chrono>

namespace dualmesh::node {

namespace {

double unix_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

EngineRanks::EngineRanks(EngineClock& clock, const EngineParameters& parameters,
                         const EngineRanksSettings& settings) {
  DUALMESH_CHECK(settings.ranks > 0, "an instance without ranks");
  for (std::uint32_t rank = 0; rank < settings.ranks; ++rank) {
    CacheChanged changed;
    if (settings.publisher) {
      const std::size_t stream = settings.first_stream + rank;
      changed = [publisher = settings.publisher, stream](std::vector<KvEvent> events) {
        publisher->publish(stream, std::move(events), unix_now());
      };
      if (settings.clears_first) changed({KvCleared{}});
    }
    ranks_.push_back(std::make_unique<EngineInstance>(clock, parameters, std::move(changed)));
  }
}

std::size_t EngineRanks::least_loaded() {
  if (ranks_.size() == 1) return 0;
  const std::size_t first = next_++ % ranks_.size();
  std::size_t best = first;
  std::size_t least = SIZE_MAX;
  for (std::size_t i = 0; i < ranks_.size() && least > 0; ++i) {
    const std::size_t at = (first + i) % ranks_.size();
    const std::size_t load = ranks_[at]->load();
    if (load >= least) continue;
    least = load;
    best = at;
  }
  return best;
}

EngineRanks::Place EngineRanks::submit(EngineRequest request, std::optional<std::size_t> rank,
                                       net::IoThread& thread, Deliver deliver) {
  const std::size_t at = rank.value_or(least_loaded());
  return {at, ranks_[at]->submit(std::move(request), thread, std::move(deliver))};
}

bool EngineRanks::reset_caches() {
  bool all = true;
  for (const auto& rank : ranks_) all &= rank->reset_cache();
  return all;
}

std::vector<EngineSnapshot> EngineRanks::snapshots() const {
  std::vector<EngineSnapshot> all;
  for (const auto& rank : ranks_) all.push_back(rank->snapshot());
  return all;
}

}  // namespace dualmesh::node
