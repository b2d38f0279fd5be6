// TenantDirectory: which key is whose.
//
// A key is looked up by the first 8 bytes of its digest and then compared in constant time. The
// look-up may tell by its time whether some key's digest begins like that of the key presented.
// That helps nobody: digests of keys one has can be computed anyway, and to present a key whose
// digest begins with chosen bytes tells nothing of the key that has this digest.
//
// Invariant: a digest belongs to one tenant; names differ. Threads: immutable once made.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "node/identity/tenant.h"

namespace dualmesh::node {

class TenantDirectory {
 public:
  // Adds tenants; what is wrong among them and those added before is said, and nothing is added.
  // The secret is that of the namespaces; empty: there is none.
  net::Result<void> add(std::span<const TenantSettings> tenants, std::string_view secret);
  // A key in clear, without a tenant; one that a tenant has stays with the tenant.
  void add_key(std::string_view key);

  // Null: unknown.
  std::shared_ptr<const Tenant> find(std::string_view key) const;

  std::size_t tenants() const { return answers_.size(); }
  using Answers = std::map<std::string, std::shared_ptr<AnswerCounts>>;
  const Answers& answers() const { return answers_; }  // by tenant
  // Tenants that have the same names as before go on counting.
  void take_answers(const TenantDirectory& before);
  // policies::client_key of those keys that are no tenant's.
  std::vector<std::uint64_t> clients_without_tenant() const;
  // NAME=WEIGHT of the tenants whose weight is not 1.
  const std::vector<std::string>& weights() const { return weights_; }

 private:
  struct Entry {
    KeyDigest digest;
    std::shared_ptr<const Tenant> tenant;
  };
  const Entry* entry_of(const KeyDigest& digest) const;
  void insert(const KeyDigest& digest, std::shared_ptr<const Tenant> tenant);

  std::vector<Entry> entries_;  // in the order of their digests' first bytes
  Answers answers_;
  std::vector<std::string> weights_;
};

}  // namespace dualmesh::node
