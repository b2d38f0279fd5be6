#include "policies/policy_registry.h"

#include <array>

#include "policies/dualmap.h"
#include "policies/round_robin.h"

namespace dualmesh::policies {

namespace {

struct Registered {
  std::string_view name;
  std::unique_ptr<Policy> (*make)();
};

template <class P>
std::unique_ptr<Policy> make() {
  return std::make_unique<P>();
}

constexpr std::array kPolicies{
    Registered{"dualmap", make<DualMap>},
    Registered{"round_robin", make<RoundRobin>},
};

}  // namespace

std::unique_ptr<Policy> make_policy(std::string_view name) {
  for (const Registered& policy : kPolicies) {
    if (policy.name == name) return policy.make();
  }
  return nullptr;
}

std::vector<std::string> policy_names() {
  std::vector<std::string> names;
  for (const Registered& policy : kPolicies) names.emplace_back(policy.name);
  return names;
}

bool is_policy(std::string_view name) {
  return std::any_of(kPolicies.begin(), kPolicies.end(),
                     [&](const Registered& policy) { return policy.name == name; });
}

}  // namespace dualmesh::policies
