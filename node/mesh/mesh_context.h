// What all parts of a node's mesh half share: its settings and the world as parameters.
//
// Threads: the mesh thread's.
#pragma once

#include <kj/timer.h>

#include <cstdint>
#include <functional>
#include <random>

#include "net/mesh_link.h"
#include "net/mesh_refusals.h"
#include "node/mesh/mesh_config.h"
#include "policies/time.h"

namespace dualmesh::node {

struct MeshContext {
  const MeshConfig& config;
  kj::Timer& timer;
  net::Dialer& dialer;
  std::function<std::uint64_t()> wall_ms;
  std::function<std::uint64_t()> monotonic_ns;  // read anew at each call, unlike the timer
  std::mt19937_64 random;
  net::Refusals& refusals;

  policies::Time now() const {
    return policies::Time((timer.now() - kj::origin<kj::TimePoint>()) / kj::NANOSECONDS);
  }
  kj::Promise<void> after(policies::Duration delay) {
    return timer.afterDelay(std::max<std::int64_t>(delay.count(), 0) * kj::NANOSECONDS);
  }
};

inline double to_ms(policies::Duration d) {
  return std::chrono::duration<double, std::milli>(d).count();
}

}  // namespace dualmesh::node
