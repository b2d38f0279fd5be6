#include "node/kv/zmq_subscriptions.h"

#include <algorithm>
#include <utility>

namespace dualmesh::node {

ZmqSubscriptions::ZmqSubscriptions(ZmqSettings settings) : settings_(settings) {}

ZmqSubscriptions::~ZmqSubscriptions() = default;

void ZmqSubscriptions::add(Id id, const KvEndpoints& endpoints, std::uint32_t rank, ZmqSink& sink) {
  remove(id);
  ZmqSubscription::Addresses addresses;
  addresses.events = endpoint_of_rank(endpoints.events, rank);
  if (!endpoints.replay.empty()) addresses.replay = endpoint_of_rank(endpoints.replay, rank);
  addresses.topic = endpoints.topic;
  auto& subscription = subscriptions_[id];
  subscription = std::make_unique<ZmqSubscription>(context_, poll_, settings_, std::move(addresses),
                                                   opened_, sink);
  mark_ready(*subscription);
}

void ZmqSubscriptions::remove(Id id) {
  const auto found = subscriptions_.find(id);
  if (found == subscriptions_.end()) return;
  found->second->remove();
  removed_.push_back(std::move(found->second));
  subscriptions_.erase(found);
}

void ZmqSubscriptions::ask_replay(Id id, std::uint64_t from) {
  const auto found = subscriptions_.find(id);
  if (found == subscriptions_.end()) return;
  found->second->ask_replay(from);
  mark_ready(*found->second);
}

void ZmqSubscriptions::reconnect(Id id) {
  const auto found = subscriptions_.find(id);
  if (found == subscriptions_.end()) return;
  found->second->reconnect();
  mark_ready(*found->second);
}

void ZmqSubscriptions::mark_ready(ZmqSubscription& subscription) {
  if (!std::exchange(subscription.ready, true)) ready_.push_back(&subscription);
}

// Those due already become ready.
policies::Duration ZmqSubscriptions::until_due(policies::Time now, policies::Duration at_most) {
  for (auto& [id, subscription] : subscriptions_) {
    if (subscription->due() <= now) {
      mark_ready(*subscription);
    } else {
      at_most = std::min(at_most, subscription->due() - now);
    }
  }
  return ready_.empty() ? at_most : policies::Duration{0};
}

bool ZmqSubscriptions::pump(policies::Time now, policies::Duration timeout) {
  for (void* owner : poll_.wait(until_due(now, timeout))) {
    mark_ready(*static_cast<ZmqSubscription*>(owner));
  }
  for (ZmqSubscription* subscription : std::exchange(ready_, {})) {
    subscription->ready = false;
    if (subscription->serve(now)) mark_ready(*subscription);
  }
  std::erase_if(ready_, [](const ZmqSubscription* one) { return one->is_removed(); });
  removed_.clear();
  return !ready_.empty();
}

void ZmqSubscriptions::wake() { poll_.wake(); }

std::string ZmqSubscriptions::last_error(Id id) const {
  const auto found = subscriptions_.find(id);
  return found == subscriptions_.end() ? "" : found->second->last_error();
}

}  // namespace dualmesh::node
