// Tenant: on whose behalf a client asks. Its name is the client of fairness and stands in the
// access log; its keys are known by their digests alone.
//
// Threads: plain values.
#pragma once

#include <string>
#include <vector>

#include "node/identity/key_digest.h"
#include "node/identity/namespace_salt.h"
#include "policies/client_weights.h"

namespace dualmesh::node {

// As configuration says it.
struct TenantSettings {
  std::string name;
  std::vector<KeyDigest> keys;  // may be none: then nobody asks on its behalf
  double weight = 1.0;
  bool private_prefixes = false;  // a namespace of its own
};

// Letters, digits, '.', '_', '-' and '@', at most 64, a letter or digit first: safe in a log, in a
// metric and in NAME=WEIGHT.
bool is_tenant_name(std::string_view name);
inline constexpr const char* kTenantNameRule =
    "1 to 64 letters, digits or ._-@, a letter or digit first";

// As requests meet it.
struct Tenant {
  std::string name;          // empty: of a key without a tenant
  std::uint64_t client = 0;  // policies::client_key of the name; of the key where there is no name
  NamespaceSalt salt;
};

}  // namespace dualmesh::node
