#include "node/kv/kv_observers.h"

#include <xxhash.h>

#include <algorithm>
#include <numeric>
#include <optional>

namespace dualmesh::node {

void KvObservers::set(std::span<const std::uint64_t> streams, std::vector<crdt::NodeId> nodes,
                      std::uint32_t observers) {
  nodes_ = std::move(nodes);
  std::sort(nodes_.begin(), nodes_.end());
  roles_ = std::min<std::size_t>(observers, nodes_.size());
  by_weight_.assign(streams.size(), {});
  chosen_.assign(streams.size(), {});
  std::vector<std::pair<std::uint64_t, Index>> weighed(nodes_.size());
  for (std::size_t stream = 0; stream < streams.size(); ++stream) {
    for (Index node = 0; node < nodes_.size(); ++node) {
      const std::uint64_t name = streams[stream];
      weighed[node] = {~XXH3_64bits_withSeed(&name, sizeof(name), nodes_[node].value), node};
    }
    std::sort(weighed.begin(), weighed.end());
    for (const auto& [weight, node] : weighed) by_weight_[stream].push_back(node);
  }
  in_order_.resize(streams.size());
  std::iota(in_order_.begin(), in_order_.end(), 0);
  std::sort(in_order_.begin(), in_order_.end(),
            [&](std::size_t a, std::size_t b) { return streams[a] < streams[b]; });
  for (std::size_t role = 0; role < roles_; ++role) place(role);
}

bool KvObservers::holds(std::size_t stream, Index node) const {
  const auto& chosen = chosen_[stream];
  return std::find(chosen.begin(), chosen.end(), node) != chosen.end();
}

// In one role: some nodes take one more than the others, as many as it needs.
struct KvObservers::Loads {
  std::size_t least, with_one_more;
  std::vector<std::size_t> of;  // by node
  bool has_room(Index node) const {
    return of[node] < least || (of[node] == least && with_one_more > 0);
  }
  void add(Index node) {
    if (of[node]++ == least && with_one_more > 0) --with_one_more;
  }
};

void KvObservers::place(std::size_t role) {
  Loads loads{in_order_.size() / nodes_.size(), in_order_.size() % nodes_.size(),
              std::vector<std::size_t>(nodes_.size(), 0)};
  for (std::size_t at = 0; at < in_order_.size(); ++at) loads.add(choose(at, role, loads));
}

// Which node has one more stream now.
KvObservers::Index KvObservers::choose(std::size_t at, std::size_t role, const Loads& loads) {
  const std::size_t stream = in_order_[at];
  for (const Index node : by_weight_[stream]) {
    if (!loads.has_room(node) || holds(stream, node)) continue;
    chosen_[stream].push_back(node);
    return node;
  }
  // Those that have room have the stream in another role: one placed before goes there instead.
  for (const std::size_t other : std::span(in_order_).first(at)) {
    Index& taken = chosen_[other][role];
    if (holds(stream, taken)) continue;
    for (const Index node : by_weight_[other]) {
      if (!loads.has_room(node) || holds(other, node)) continue;
      chosen_[stream].push_back(taken);
      return taken = node;
    }
  }
  std::optional<Index> best;
  for (const Index node : by_weight_[stream]) {
    if (holds(stream, node)) continue;
    if (!best || loads.of[node] < loads.of[*best]) best = node;
  }
  chosen_[stream].push_back(*best);
  return *best;
}

std::vector<std::vector<crdt::NodeId>> KvObservers::orders(const Able& able) const {
  std::vector<std::vector<crdt::NodeId>> orders(chosen_.size());
  if (nodes_.empty()) return orders;
  const std::size_t most = (chosen_.size() * roles_ + nodes_.size() - 1) / nodes_.size();
  std::vector<std::size_t> loads(nodes_.size(), 0);
  std::vector<std::size_t> in_need;
  std::vector<std::vector<Index>> taken(chosen_.size());
  for (const std::size_t stream : in_order_) {
    for (const Index node : chosen_[stream]) {
      if (!able(stream, nodes_[node])) continue;
      taken[stream].push_back(node);
      ++loads[node];
    }
    if (taken[stream].size() < roles_) in_need.push_back(stream);
  }
  const auto is_taken = [&](std::size_t stream, Index node) {
    return std::find(taken[stream].begin(), taken[stream].end(), node) != taken[stream].end();
  };
  for (const std::size_t stream : in_need) {
    while (taken[stream].size() < roles_) {
      const Index* best = nullptr;
      const auto worth = [&](Index node) { return loads[node] < most ? 0 : loads[node]; };
      for (const Index& node : by_weight_[stream]) {
        if (is_taken(stream, node) || !able(stream, nodes_[node])) continue;
        if (best == nullptr || worth(node) < worth(*best)) best = &node;
      }
      if (best == nullptr) break;
      ++loads[*best];
      taken[stream].push_back(*best);
    }
  }
  for (std::size_t stream = 0; stream < chosen_.size(); ++stream) {
    std::vector<crdt::NodeId>& order = orders[stream];
    for (const Index node : taken[stream]) order.push_back(nodes_[node]);
    for (const bool wanted : {true, false}) {
      const auto append = [&](Index node) {
        const bool there = std::find(order.begin(), order.end(), nodes_[node]) != order.end();
        if (!there && able(stream, nodes_[node]) == wanted) order.push_back(nodes_[node]);
      };
      for (const Index node : chosen_[stream]) append(node);
      for (const Index node : by_weight_[stream]) append(node);
    }
  }
  return orders;
}

}  // namespace dualmesh::node
