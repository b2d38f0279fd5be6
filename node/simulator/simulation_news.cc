// What routers tell each other, and what engines tell them of their caches; the rest of Simulation
// is in simulation.cc.
#include "node/simulator/simulation.h"

namespace dualmesh::node {

using policies::Duration;
using policies::Slot;

void Simulation::flush_soon(std::uint32_t number) {
  Router& router = routers_[number];
  if (routers_.size() == 1 || router.flush_due) return;
  router.flush_due = true;
  events_.push(events_.now(), {What::flush, number});
}

void Simulation::refresh_soon(std::uint32_t number) {
  Router& router = routers_[number];
  if (!router.node->view_stale() || router.refresh_due) return;
  router.refresh_due = true;
  events_.push(events_.now(), {What::refresh, number});
}

void Simulation::flush(std::uint32_t number) {
  Router& router = routers_[number];
  router.flush_due = false;
  if (!router.alive) return;
  SimNews news = router.node->take_news(events_.now());
  send(news.sender, std::move(news.load), number, settings_.view_delay);
  send(news.sender, std::move(news.residency), number, settings_.kv_delay);
}

void Simulation::send(crdt::Origin sender, std::vector<net::StreamDelta> deltas, std::uint32_t from,
                      Duration delay) {
  if (deltas.empty()) return;
  std::uint32_t slot = static_cast<std::uint32_t>(deliveries_.size());
  if (free_deliveries_.empty()) {
    deliveries_.emplace_back();
  } else {
    slot = free_deliveries_.back();
    free_deliveries_.pop_back();
  }
  deliveries_[slot] = {sender, std::move(deltas), routers_.size() - 1};
  for (std::uint32_t to = 0; to < routers_.size(); ++to) {
    if (to != from) events_.push(events_.now() + delay, {What::delivery, slot, to});
  }
}

void Simulation::deliver(std::uint32_t number, std::uint32_t to) {
  Delivery& delivery = deliveries_[number];
  Router& router = routers_[to];
  if (router.alive) router.node->receive(delivery.deltas, delivery.sender, events_.now());
  if (--delivery.receivers == 0) {
    delivery.deltas.clear();
    free_deliveries_.push_back(number);
  }
  if (router.alive) refresh_soon(to);
}

// Whatever the routers should have heard of caches by now.
void Simulation::hear_events() {
  cache_events_.advance(events_.now(), [this](Slot slot, policies::BlockKey key) {
    for (const Router& router : routers_) router.node->heard(slot, key);
  });
}

}  // namespace dualmesh::node
