#include "node/identity/tenant_reader.h"

#include <algorithm>

namespace dualmesh::node {
namespace {

constexpr std::string_view kKeys = "name, keys, weight, private_prefixes";

bool is_alphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

class TenantTable {
 public:
  TenantTable(const toml::table& table, const TenantProblem& problem)
      : table_(table), problem_(problem) {}

  bool read(TenantSettings& tenant) {
    for (const auto& [key, node] : table_) read_key(key.str(), node, tenant);
    for (const char* needed : {"name", "keys"}) {
      if (!table_.contains(needed)) refuse(table_, fmt::format("tenant.{}: missing", needed));
    }
    return good_;
  }

 private:
  void refuse(const toml::node& at, std::string message) {
    problem_(at, std::move(message));
    good_ = false;
  }

  void read_key(std::string_view key, const toml::node& node, TenantSettings& tenant) {
    if (key == "name") {
      tenant.name = node.value_or(std::string());
      if (!node.is_string() || !is_tenant_name(tenant.name)) {
        refuse(node, fmt::format("tenant.name: must be {}", kTenantNameRule));
      }
    } else if (key == "keys") {
      read_digests(node, tenant);
    } else if (key == "weight") {
      tenant.weight = node.is_number() ? node.value_or(0.0) : 0.0;
      if (!(tenant.weight >= policies::ClientWeights::kLeast &&
            tenant.weight <= policies::ClientWeights::kMost)) {
        refuse(node, "tenant.weight: must be a number from 0.001 to 1000");
      }
    } else if (key == "private_prefixes") {
      tenant.private_prefixes = node.value_or(false);
      if (!node.is_boolean()) refuse(node, "tenant.private_prefixes: must be true or false");
    } else {
      refuse(node, fmt::format("tenant.{}: unknown setting; allowed: {}", key, kKeys));
    }
  }

  void read_digests(const toml::node& node, TenantSettings& tenant) {
    const auto* list = node.as_array();
    if (!list) return refuse(node, "tenant.keys: must be a list of texts");
    for (const toml::node& entry : *list) {
      const auto* text = entry.as_string();
      const auto digest = read_key_digest(text ? std::string_view(text->get()) : "");
      if (!digest) {
        refuse(entry, "tenant.keys: each entry " + digest.error().message);
      } else {
        tenant.keys.push_back(*digest);
      }
    }
  }

  const toml::table& table_;
  const TenantProblem& problem_;
  bool good_ = true;
};

}  // namespace

bool is_tenant_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && is_alphanumeric(name.front()) &&
         std::ranges::all_of(name, [](char c) {
           return is_alphanumeric(c) || c == '.' || c == '_' || c == '-' || c == '@';
         });
}

void read_tenants(const toml::node& node, const TenantProblem& problem,
                  std::vector<TenantSettings>& out) {
  const auto* list = node.as_array();
  if (!list) return problem(node, "tenant: must be written [[tenant]]");
  for (const toml::node& entry : *list) {
    const auto* table = entry.as_table();
    if (!table) {
      problem(entry, "tenant: must be written [[tenant]]");
      continue;
    }
    TenantSettings tenant;
    if (TenantTable(*table, problem).read(tenant)) out.push_back(std::move(tenant));
  }
}

}  // namespace dualmesh::node
