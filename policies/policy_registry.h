// The names of all policies. `policy_names` and `is_policy` are declared in policies/scheduler.h.
#pragma once

#include <memory>
#include <string_view>

#include "policies/policy.h"

namespace dualmesh::policies {

std::unique_ptr<Policy> make_policy(std::string_view name);  // null for an unknown name

}  // namespace dualmesh::policies
