#include "node/identity/tenant_directory.h"

#include <doctest/doctest.h>

#include <map>
#include <random>

using namespace dualmesh::node;

namespace {

TenantSettings tenant(std::string name, std::vector<std::string> keys) {
  TenantSettings settings;
  settings.name = std::move(name);
  for (const std::string& key : keys) settings.keys.push_back(digest_of(key));
  return settings;
}

}  // namespace

TEST_CASE("every key finds its tenant, and no other text finds one") {
  TenantDirectory directory;
  std::map<std::string, std::string> owners;
  std::vector<TenantSettings> all;
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    const std::string name = "t" + std::to_string(i);
    std::vector<std::string> keys;
    for (std::uint32_t k = random() % 4; k > 0; --k) {
      keys.push_back(std::to_string(random()) + "/" + std::to_string(owners.size()));
      owners[keys.back()] = name;
    }
    all.push_back(tenant(name, keys));
  }
  REQUIRE(directory.add(all, "").has_value());
  CHECK(directory.tenants() == 300);
  for (const auto& [key, name] : owners) {
    const auto found = directory.find(key);
    REQUIRE(found);
    CHECK(found->name == name);
    CHECK(found->client == dualmesh::policies::client_key(name));
    CHECK(!directory.find(key + "x"));
    CHECK(!directory.find(to_text(digest_of(key))));  // a digest is no key
  }
  CHECK(!directory.find(""));
}

TEST_CASE("a key that two tenants have, and a name that two bear, are refused, and nothing added") {
  TenantDirectory directory;
  REQUIRE(directory.add(std::vector{tenant("a", {"k1"})}, "").has_value());
  CHECK(directory.add(std::vector{tenant("b", {"k2"}), tenant("c", {"k1"})}, "").has_error());
  CHECK(directory.add(std::vector{tenant("b", {"k2"}), tenant("a", {})}, "").has_error());
  CHECK(directory.add(std::vector{tenant("b", {"k2", "k2"})}, "").has_error());
  CHECK(directory.tenants() == 1);
  CHECK(!directory.find("k2"));
  CHECK(directory.find("k1"));
}

TEST_CASE(
    "a key in clear has no tenant but is a client of its own; a tenant's stays the tenant's") {
  TenantDirectory directory;
  REQUIRE(directory.add(std::vector{tenant("a", {"k1"})}, "").has_value());
  directory.add_key("k1");
  directory.add_key("k2");
  directory.add_key("k2");
  CHECK(directory.find("k1")->name == "a");
  CHECK(directory.find("k2")->name.empty());
  CHECK(directory.find("k2")->client == dualmesh::policies::client_key("k2"));
}

TEST_CASE("private prefixes need the mesh's secret") {
  TenantSettings own = tenant("a", {"k"});
  own.private_prefixes = true;
  TenantDirectory directory;
  CHECK(directory.add(std::vector{own}, "").has_error());
  REQUIRE(directory.add(std::vector{own}, "secret").has_value());
  CHECK(!directory.find("k")->salt.shares());
}

TEST_CASE("weights other than 1 are told by name") {
  TenantSettings heavy = tenant("a", {});
  heavy.weight = 2.5;
  TenantDirectory directory;
  REQUIRE(directory.add(std::vector{heavy, tenant("b", {})}, "").has_value());
  CHECK(directory.weights() == std::vector<std::string>{"a=2.5"});
  dualmesh::policies::ClientWeights weights;
  REQUIRE(weights.read(directory.weights()).empty());
  CHECK(weights.of(dualmesh::policies::client_key("a")) == 2.5);
}

TEST_CASE("names of tenants") {
  for (const char* good : {"a", "Team-1", "x.y_z@corp", "0"}) CHECK(is_tenant_name(good));
  CHECK(is_tenant_name(std::string(64, 'a')));
  CHECK(!is_tenant_name(std::string(65, 'a')));
  for (const char* bad : {"", "#1", "a b", "a=b", "-a", "\xc3\xa4", "a\n", "a,b", "a\"b"}) {
    CHECK(!is_tenant_name(bad));
  }
}
