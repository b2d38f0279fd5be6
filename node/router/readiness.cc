#include "node/router/readiness.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <utility>

namespace dualmesh::node {

Readiness readiness_of(const policies::FleetView& view, std::string why_not,
                       const std::function<Seen(policies::Slot)>& seen) {
  Readiness readiness{.why_not = std::move(why_not)};
  const auto is_active = [&](std::size_t slot) {
    return slot < view.instances.size() &&
           view.instances[slot].lifecycle == policies::Lifecycle::active;
  };
  bool answered = false;
  for (std::size_t slot = 0; slot < view.instances.size(); ++slot) {
    if (!is_active(slot)) continue;
    const Seen instance = seen(static_cast<policies::Slot>(slot));
    ++readiness.instances_active;
    if (instance.answers && instance.usable) ++readiness.instances_healthy;
    answered = answered || instance.answers;
  }
  if (!readiness.why_not.empty() || answered) return readiness;
  for (const policies::PeerView& peer : *view.peers) {
    // Also of those that are draining or gone it is known which answered last.
    const auto reached = std::ranges::count_if(peer.reaches, is_active);
    if (reached == 0) continue;
    readiness.why_not =
        fmt::format("no instance answers this node; node {} reaches {}", peer.name, reached);
    break;
  }
  return readiness;
}

}  // namespace dualmesh::node
