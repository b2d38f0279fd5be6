// The policies and queue orders by name, with their parameters (policy_spec.h).
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "policies/policy.h"
#include "policies/policy_spec.h"
#include "policies/queue_order.h"

namespace dualmesh::policies {

// Null when `spec` is not one; check_policy and check_queue_order say why. What follows an @ in the
// spec of a policy is its order of the queue, and not looked at here.
std::unique_ptr<Policy> make_policy(std::string_view spec);
std::unique_ptr<QueueOrder> make_queue_order(std::string_view spec);
// Empty when good; else what is wrong and what is allowed. A policy may name its order,
// as POLICY@ORDER.
std::string check_policy(std::string_view spec);
std::string check_queue_order(std::string_view spec);

// For people: the parameters of a policy or order, by name without parameters.
std::span<const Parameter> parameters_of(std::string_view name);

}  // namespace dualmesh::policies
