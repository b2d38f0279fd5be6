// NamespaceSalt: what keeps the prefixes of one tenant apart from everybody else's.
//
// Caches are shared across tenants unless one asks for a namespace of its own: equal prompts then
// meet, which is the point of a cache and also tells who measures closely that somebody has asked
// before. A tenant with a namespace has a salt of 128 bits, HMAC-SHA256 of the tenant's name under
// the mesh's secret (`http.namespace_secret`). The salt goes into the hashes by which prompts are
// known: block keys and the key of the system prompt. So its prompts share neither ring points nor
// placements nor hits with another tenant's, and the keys that the mesh sees cannot be compared
// with those of a guessed prompt. Neither secret nor salt leaves the node.
//
// Invariant: equal secret and name give equal salts, so all nodes agree that have one secret.
// Threads: pure functions, values.
// Source: RFC 2104; the per-request cache_salt of vLLM, for the idea.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dualmesh::node {

class NamespaceSalt {
 public:
  NamespaceSalt() = default;  // shares
  NamespaceSalt(std::string_view secret, std::string_view tenant);

  bool shares() const { return bytes_.empty(); }
  // The name under which chains of this model begin; the model itself where caches are shared.
  // Whoever wants to meet another's has to guess its salt.
  std::string name_space(std::string_view model) const;
  std::uint64_t system_key(std::uint64_t shared) const;  // 0 stays 0: there is none

 private:
  std::string bytes_;
};

}  // namespace dualmesh::node
