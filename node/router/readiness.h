// Readiness: what a load balancer wants to know of a node.
//
// All nodes share the instances. Where none answers anybody, to say so at every node would only
// leave clients without anyone who tells them; where it is one node alone that reaches none, the
// others do better. So what is compared is of one kind: which active instances answer a node's
// probes. A verdict of this node's own (an ejection) is not compared: others may have come to the
// same one.
//
// Threads: pure functions. Source: ours.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

#include "policies/fleet_view.h"

namespace dualmesh::node {

struct Readiness {
  std::string why_not;  // empty: ready
  std::size_t instances_active = 0;
  std::size_t instances_healthy = 0;  // of them, as this node sees them
};

// As this node sees an instance.
struct Seen {
  bool answers = false;  // its probes
  bool usable = false;   // by the verdict on it
};

// `why_not`: what is known already against it.
Readiness readiness_of(const policies::FleetView& view, std::string why_not,
                       const std::function<Seen(policies::Slot)>& seen);

}  // namespace dualmesh::node
