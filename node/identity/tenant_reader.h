// Reads [[tenant]] tables, of the configuration or of a file of their own.
//
// Threads: pure functions.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "node/identity/tenant.h"
#include "node/program/toml.h"

namespace dualmesh::node {

using TenantProblem = std::function<void(const toml::node& at, std::string message)>;

// `node`: what stands under "tenant". A table with anything wrong is left out.
void read_tenants(const toml::node& node, const TenantProblem& problem,
                  std::vector<TenantSettings>& out);

}  // namespace dualmesh::node
