// What happens to a fleet while it runs; the rest of Simulation is in simulation.cc.
#include "node/simulator/simulation.h"

namespace dualmesh::node {

using policies::Slot;

namespace {

constexpr policies::Duration kProbesNotice = std::chrono::seconds(1);  // two, 500 ms apart
constexpr policies::Duration kDeathIsKnown = std::chrono::seconds(3);

}  // namespace

void Simulation::change(const FleetChange& change) {
  switch (change.what) {
    case FleetChange::What::joins:
      return announce(change.index, true);
    case FleetChange::What::drains:
      return announce(change.index, false);
    case FleetChange::What::fails:
      return fail_instance(change.index);
    case FleetChange::What::returns:
      instances_[change.index].alive = true;
      return events_.push(events_.now() + kProbesNotice, {What::probed, change.index, 1});
    case FleetChange::What::is_cut_off:
      return cut_off(change.router, change.index);
    case FleetChange::What::router_fails:
      return fail_router(change.index);
  }
}

void Simulation::announce(std::uint32_t instance, bool joins) {
  std::uint32_t speaker = 0;
  while (!routers_[speaker].alive) ++speaker;
  routers_[speaker].node->announce(instance, joins, events_.now());
  refresh_soon(speaker);
  flush_soon(speaker);
}

void Simulation::fail_instance(std::uint32_t number) {
  Instance& instance = instances_[number];
  instance.alive = false;
  audit_.down(static_cast<Slot>(number), true, events_.now());
  ++instance.life;
  instance.earlier += instance.engine.counters();
  instance.engine = EngineModel(instance.engine.parameters());
  if (instance.reporter) {
    instance.engine.observe_cache(instance.reporter.get());
    instance.reporter->cleared();
  }
  for (Answer& answer : answers_) {
    if (answer.instance == number) answer.emissions.clear();
  }
  events_.push(events_.now() + kProbesNotice, {What::probed, number, 0});
  for (std::uint32_t request = 0; request < arrived_; ++request) {
    if (at_[request] == number) broken(request);
  }
}

// The connection of a dispatched request is gone, or was refused.
void Simulation::broken(std::uint32_t number) {
  SimRequest& request = requests_[number];
  if (is_hidden(number)) {
    at_[number] = policies::kNoSlot;
    return give_up(number);
  }
  SimRouter& router = *routers_[request.router].node;
  const bool retry = request.ttft_s == SimRequest::kNever;
  if (retry) {
    audit_.served(request.instance, events_.now());
    request.instance = policies::kNoSlot;
  }
  effects_.clear();
  router.probed(at_[number], false, events_.now(), effects_);
  at_[number] = policies::kNoSlot;
  router.scheduler().failed(number, retry, events_.now(), effects_);
  carry_out(request.router);
  if (!retry) give_up(number);
}

void Simulation::cut_off(std::uint32_t router, std::uint32_t number) {
  cut_.emplace(router, number);
  for (Answer& answer : answers_) {
    if (answer.instance != number) continue;
    std::erase_if(answer.emissions,
                  [&](const Emission& one) { return requests_[one.id].router == router; });
  }
  events_.push(events_.now() + kProbesNotice, {What::cut_seen, router, number});
  for (std::uint32_t request = 0; request < arrived_; ++request) {
    if (at_[request] != number || requests_[request].router != router) continue;
    instances_[number].engine.cancel(request);
    broken(request);
  }
}

void Simulation::give_up(std::uint32_t number) {
  SimRequest& request = requests_[number];
  request.failed = true;
  request.ttft_s = request.e2e_s = SimRequest::kNever;
  ++ended_;
  if (is_away(number)) hop_failed(number);
}

void Simulation::fail_router(std::uint32_t number) {
  routers_[number].alive = false;
  for (std::uint32_t i = 0; i < arrived_; ++i) {
    const SimRequest& request = requests_[i];
    const bool over = request.e2e_s != SimRequest::kNever || request.rejected || request.failed;
    if ((request.router != number && handed_by_[i] != number) || over) continue;
    audit_.gone(i, events_.now());
    if (request.instance != policies::kNoSlot && request.ttft_s == SimRequest::kNever) {
      audit_.served(request.instance, events_.now());
    }
    if (at_[i] != policies::kNoSlot) instances_[at_[i]].engine.cancel(i);
    at_[i] = policies::kNoSlot;
    is_away(i) ? lose_hop(i, number) : give_up(i);
  }
  events_.push(events_.now() + kDeathIsKnown, {What::died, number});
}

// The probes agree, but of those routers that do not reach it.
void Simulation::probed(std::uint32_t instance, bool healthy) {
  if (healthy) audit_.down(static_cast<Slot>(instance), false, events_.now());
  for (std::uint32_t i = 0; i < routers_.size(); ++i) {
    probed_by(i, instance, healthy && !is_cut_off(i, instance));
  }
}

void Simulation::probed_by(std::uint32_t router, std::uint32_t instance, bool healthy) {
  if (!routers_[router].alive) return;
  effects_.clear();
  routers_[router].node->probed(static_cast<Slot>(instance), healthy, events_.now(), effects_);
  carry_out(router);
  flush_soon(router);
}

void Simulation::died(std::uint32_t number) {
  const SimRouter& dead = *routers_[number].node;
  for (std::uint32_t i = 0; i < routers_.size(); ++i) {
    if (!routers_[i].alive) continue;
    routers_[i].node->lost(dead.self().node, dead.member());
    refresh_soon(i);
  }
}

}  // namespace dualmesh::node
