// Tenant: on whose behalf a client asks. Its name is the client of fairness and stands in the
// access log; its keys are known by their digests alone.
//
// Threads: plain values, but for the counts, which any may add to.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
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

// How many requests ended with which kind of status.
struct AnswerCounts {
  static constexpr std::array<const char*, 5> kClasses = {"none", "2xx", "3xx", "4xx", "5xx"};
  std::array<std::atomic<std::uint64_t>, kClasses.size()> by_class{};

  void add(int status) {  // 0: no answer began
    const auto kind = static_cast<std::size_t>(std::clamp(status / 100, 1, 5) - 1);
    by_class[kind].fetch_add(1, std::memory_order_relaxed);
  }
};

// As requests meet it.
struct Tenant {
  std::string name;          // empty: of a key without a tenant
  std::uint64_t client = 0;  // policies::client_key of the name; of the key where there is no name
  NamespaceSalt salt;
  std::shared_ptr<AnswerCounts> answers = nullptr;  // null: of a key without a tenant
};

}  // namespace dualmesh::node
