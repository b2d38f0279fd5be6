#include "node/identity/tenant_directory.h"

#include <algorithm>
#include <cstring>

namespace dualmesh::node {
namespace {

std::uint64_t index_of(const KeyDigest& digest) {
  std::uint64_t index = 0;
  std::memcpy(&index, digest.data(), sizeof index);
  return index;
}

}  // namespace

net::Result<void> TenantDirectory::add(std::span<const TenantSettings> tenants,
                                       std::string_view secret) {
  TenantDirectory next = *this;
  for (const TenantSettings& settings : tenants) {
    const auto answers = std::make_shared<AnswerCounts>();
    if (!next.answers_.emplace(settings.name, answers).second) {
      return net::Error{
          fmt::format("tenant.name: \"{}\" is there twice; names must differ", settings.name)};
    }
    if (settings.private_prefixes && secret.empty()) {
      return net::Error{
          fmt::format("tenant.private_prefixes: \"{}\" has them, and there is no "
                      "http.namespace_secret to make its namespace from",
                      settings.name)};
    }
    Tenant tenant{settings.name, policies::client_key(settings.name), {}, answers};
    if (settings.private_prefixes) tenant.salt = NamespaceSalt(secret, settings.name);
    const auto shared = std::make_shared<const Tenant>(std::move(tenant));
    for (const KeyDigest& digest : settings.keys) {
      if (const Entry* other = next.entry_of(digest)) {
        return net::Error{
            fmt::format("tenant.keys: a key of \"{}\" is there twice, also with "
                        "\"{}\"; a key is that of one tenant",
                        settings.name, other->tenant->name)};
      }
      next.insert(digest, shared);
    }
    if (settings.weight != 1.0) {
      next.weights_.push_back(fmt::format("{}={}", settings.name, settings.weight));
    }
  }
  *this = std::move(next);
  return {};
}

void TenantDirectory::add_key(std::string_view key) {
  const KeyDigest digest = digest_of(key);
  if (entry_of(digest)) return;
  insert(digest, std::make_shared<const Tenant>(Tenant{{}, policies::client_key(key), {}}));
}

std::shared_ptr<const Tenant> TenantDirectory::find(std::string_view key) const {
  const Entry* entry = entry_of(digest_of(key));
  return entry ? entry->tenant : nullptr;
}

void TenantDirectory::take_answers(const TenantDirectory& before) {
  for (auto& [name, answers] : answers_) {
    const auto known = before.answers_.find(name);
    if (known != before.answers_.end()) answers = known->second;
  }
  for (Entry& entry : entries_) {
    if (entry.tenant->name.empty()) continue;
    Tenant tenant = *entry.tenant;
    tenant.answers = answers_.at(tenant.name);
    entry.tenant = std::make_shared<const Tenant>(std::move(tenant));
  }
}

std::vector<std::uint64_t> TenantDirectory::clients_without_tenant() const {
  std::vector<std::uint64_t> clients;
  for (const Entry& entry : entries_) {
    if (entry.tenant->name.empty()) clients.push_back(entry.tenant->client);
  }
  return clients;
}

const TenantDirectory::Entry* TenantDirectory::entry_of(const KeyDigest& digest) const {
  const auto index = index_of(digest);
  auto entry = std::ranges::lower_bound(
      entries_, index, {}, [](const Entry& other) { return index_of(other.digest); });
  const Entry* found = nullptr;
  for (; entry != entries_.end() && index_of(entry->digest) == index; ++entry) {
    if (equal_in_constant_time(entry->digest, digest)) found = &*entry;
  }
  return found;
}

void TenantDirectory::insert(const KeyDigest& digest, std::shared_ptr<const Tenant> tenant) {
  const auto at = std::ranges::upper_bound(
      entries_, index_of(digest), {}, [](const Entry& entry) { return index_of(entry.digest); });
  entries_.insert(at, {digest, std::move(tenant)});
}

}  // namespace dualmesh::node
