#include "policies/policy_registry.h"

#include <algorithm>
#include <array>

#include "policies/order/dlpm.h"
#include "policies/order/fifo.h"
#include "policies/order/longest_hit.h"
#include "policies/order/slo.h"
#include "policies/order/vtc.h"
#include "policies/placement/aibrix_prefix_cache.h"
#include "policies/placement/cache_aware.h"
#include "policies/placement/consistent_hash.h"
#include "policies/placement/d2lpm.h"
#include "policies/placement/dualmap.h"
#include "policies/placement/dualmap_cache_affinity.h"
#include "policies/placement/dualmap_least_loaded.h"
#include "policies/placement/dualmap_min_ttft.h"
#include "policies/placement/dualmap_no_rebalance.h"
#include "policies/placement/dualmesh.h"
#include "policies/placement/dynamo_cost.h"
#include "policies/placement/freeness.h"
#include "policies/placement/join_shortest_queue.h"
#include "policies/placement/least_latency.h"
#include "policies/placement/least_request.h"
#include "policies/placement/least_tokens.h"
#include "policies/placement/lmetric.h"
#include "policies/placement/load_cache_score.h"
#include "policies/placement/min_ttft.h"
#include "policies/placement/power_of_two.h"
#include "policies/placement/preble.h"
#include "policies/placement/precise_prefix.h"
#include "policies/placement/prefix_affinity.h"
#include "policies/placement/random.h"
#include "policies/placement/ring_affinity.h"
#include "policies/placement/round_robin.h"
#include "policies/placement/selective_push.h"
#include "policies/placement/session_affinity.h"

namespace dualmesh::policies {

namespace {

template <class Base>
struct Registered {
  std::string_view name;
  std::unique_ptr<Base> (*make)(const ParameterValues&);
  std::span<const Parameter> parameters;
};

// A class with parameters lists them as `kParameters` and is made from their values.
template <class Base, class Derived>
constexpr Registered<Base> registered(std::string_view name) {
  if constexpr (requires { Derived::kParameters; }) {
    return {name,
            [](const ParameterValues& values) -> std::unique_ptr<Base> {
              return std::make_unique<Derived>(values);
            },
            Derived::kParameters};
  } else {
    return {
        name,
        [](const ParameterValues&) -> std::unique_ptr<Base> { return std::make_unique<Derived>(); },
        {}};
  }
}

constexpr std::array kPolicies{
    registered<Policy, AibrixPrefixCache>("aibrix_prefix_cache"),
    registered<Policy, CacheAware>("cache_aware"),
    registered<Policy, ConsistentHash>("consistent_hash"),
    registered<Policy, D2lpm>("d2lpm"),
    registered<Policy, DualMap>("dualmap"),
    registered<Policy, DualMapCacheAffinity>("dualmap_cache_affinity"),
    registered<Policy, DualMapLeastLoaded>("dualmap_least_loaded"),
    registered<Policy, DualMapMinTtft>("dualmap_min_ttft"),
    registered<Policy, DualMapNoRebalance>("dualmap_no_rebalance"),
    registered<Policy, DualMesh>("dualmesh"),
    registered<Policy, DynamoCost>("dynamo_cost"),
    registered<Policy, Freeness>("freeness"),
    registered<Policy, JoinShortestQueue>("join_shortest_queue"),
    registered<Policy, LeastLatency>("least_latency"),
    registered<Policy, LeastRequest>("least_request"),
    registered<Policy, LeastTokens>("least_tokens"),
    registered<Policy, LMetric>("lmetric"),
    registered<Policy, LoadCacheScore>("load_cache_score"),
    registered<Policy, MinTtft>("min_ttft"),
    registered<Policy, PowerOfTwo>("power_of_two"),
    registered<Policy, Preble>("preble"),
    registered<Policy, PrecisePrefix>("precise_prefix"),
    registered<Policy, PrefixAffinity>("prefix_affinity"),
    registered<Policy, RandomInstance>("random"),
    registered<Policy, RingAffinity>("ring_affinity"),
    registered<Policy, RoundRobin>("round_robin"),
    registered<Policy, SelectivePush>("selective_push"),
    registered<Policy, SessionAffinity>("session_affinity"),
};

constexpr std::array kOrders{
    registered<QueueOrder, Dlpm>("dlpm"),
    registered<QueueOrder, Fifo>("fifo"),
    registered<QueueOrder, LongestHit>("longest_hit"),
    registered<QueueOrder, Slo>("slo"),
    registered<QueueOrder, Vtc>("vtc"),
};

template <class Base>
using All = std::span<const Registered<Base>>;

template <class Base>
const Registered<Base>* find(All<Base> all, std::string_view name) {
  const auto found =
      std::find_if(all.begin(), all.end(), [name](const auto& one) { return one.name == name; });
  return found == all.end() ? nullptr : &*found;
}

template <class Base>
std::unique_ptr<Base> make_from(All<Base> all, std::string_view spec) {
  const auto [name, text] = split_spec(spec);
  const Registered<Base>* known = find(all, name);
  if (known == nullptr) return nullptr;
  ParameterValues values(known->parameters);
  if (!values.read(text).empty()) return nullptr;
  return known->make(values);
}

template <class Base>
std::string check(All<Base> all, std::string_view spec, const std::vector<std::string>& names,
                  std::string_view what) {
  const auto [name, text] = split_spec(spec);
  if (const Registered<Base>* known = find(all, name)) {
    const std::string problem = ParameterValues(known->parameters).read(text);
    return problem.empty() ? "" : std::string(name) + ": " + problem;
  }
  std::string problem =
      "there is no " + std::string(what) + " '" + std::string(name) + "'; allowed:";
  for (const std::string& one : names) problem += " " + one;
  return problem;
}

template <class Base>
std::vector<std::string> names_of(All<Base> all) {
  std::vector<std::string> names;
  for (const Registered<Base>& one : all) names.emplace_back(one.name);
  return names;
}

}  // namespace

std::unique_ptr<Policy> make_policy(std::string_view spec) {
  return make_from<Policy>(kPolicies, split_routing(spec).policy);
}

std::unique_ptr<QueueOrder> make_queue_order(std::string_view spec) {
  return make_from<QueueOrder>(kOrders, spec);
}

std::string check_policy(std::string_view spec) {
  const RoutingSpec routing = split_routing(spec);
  if (std::string problem = check<Policy>(kPolicies, routing.policy, policy_names(), "policy");
      !problem.empty()) {
    return problem;
  }
  return routing.names_order ? check_queue_order(routing.order) : "";
}

std::string check_queue_order(std::string_view spec) {
  if (spec == kAtOnce) return {};
  return check<QueueOrder>(kOrders, spec, queue_order_names(), "queue order");
}

std::span<const Parameter> parameters_of(std::string_view name) {
  if (const auto* policy = find<Policy>(kPolicies, name)) return policy->parameters;
  if (const auto* order = find<QueueOrder>(kOrders, name)) return order->parameters;
  return {};
}

std::vector<std::string> policy_names() { return names_of<Policy>(kPolicies); }
bool is_policy(std::string_view spec) { return check_policy(spec).empty(); }

std::vector<std::string> queue_order_names() {
  std::vector<std::string> names = names_of<QueueOrder>(kOrders);
  names.emplace_back(kAtOnce);
  return names;
}
bool is_queue_order(std::string_view spec) { return check_queue_order(spec).empty(); }

}  // namespace dualmesh::policies
