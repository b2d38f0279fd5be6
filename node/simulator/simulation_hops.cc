// Requests that one router hands to another; the rest of Simulation is in simulation.cc.
#include "node/simulator/simulation.h"

namespace dualmesh::node {

// What `router` has just decided to give to others.
void Simulation::hand_over(std::uint32_t router) {
  for (const auto& hop : effects_.handed) {
    const auto id = static_cast<std::uint32_t>(hop.id);
    const std::string& name = routers_[router].node->view().peers->at(hop.peer).name;
    std::uint32_t to = 0;
    while (routers_[to].node->member().name != name) ++to;
    handed_by_[id] = static_cast<std::uint16_t>(router);
    events_.push(events_.now() + settings_.instance_delay, {What::handed, id, to});
  }
}

void Simulation::receive_hop(std::uint32_t number, std::uint32_t router) {
  if (requests_[number].failed) return;
  return routers_[router].alive ? submit(number, router, true) : turn_back(number);
}

void Simulation::refuse(std::uint32_t number) {
  audit_.gone(number, events_.now());
  if (is_away(number)) return turn_back(number);
  requests_[number].rejected = true;
  ++ended_;
}

void Simulation::turn_back(std::uint32_t number) {
  events_.push(events_.now() + settings_.instance_delay, {What::handed_back, number});
}

void Simulation::hand_back(std::uint32_t number) {
  SimRequest& request = requests_[number];
  if (request.failed || !is_away(number)) return;
  request.router = handed_by_[number];
  request.instance = policies::kNoSlot;
  handed_by_[number] = SimRequest::kNobody;
  effects_.clear();
  routers_[request.router].node->scheduler().failed(number, true, events_.now(), effects_);
  carry_out(request.router);
}

void Simulation::hop_answered(std::uint32_t number, bool last) {
  const std::uint32_t router = handed_by_[number];
  if (last) ++ended_;
  if (requests_[number].failed || !routers_[router].alive) return;
  policies::Scheduler& scheduler = routers_[router].node->scheduler();
  effects_.clear();
  if (last) {
    scheduler.finished(number, {}, events_.now(), effects_);
  } else {
    scheduler.first_token(number, events_.now(), effects_);
  }
  carry_out(router);
}

// It has ended where it was handed to.
void Simulation::hop_failed(std::uint32_t number) {
  const std::uint32_t router = handed_by_[number];
  if (!routers_[router].alive) return;
  effects_.clear();
  routers_[router].node->scheduler().failed(number, false, events_.now(), effects_);
  carry_out(router);
}

// `router`, which has failed, is one of the two that it was with.
void Simulation::lose_hop(std::uint32_t number, std::uint32_t router) {
  SimRequest& request = requests_[number];
  if (handed_by_[number] != router) {
    if (request.ttft_s != SimRequest::kNever) return give_up(number);
    request.instance = policies::kNoSlot;
    return turn_back(number);
  }
  give_up(number);
  if (request.router == router) return;  // still, or again, on its way
  effects_.clear();
  routers_[request.router].node->scheduler().cancelled(number, events_.now(), effects_);
  carry_out(request.router);
}

}  // namespace dualmesh::node
