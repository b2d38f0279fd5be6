// A node's certificate as it is renewed while the node runs.
#include "node/mesh/mesh_security.h"

#include <doctest/doctest.h>

#include <ctime>
#include <filesystem>

#include "tests/net/certificates.h"

namespace dualmesh::node {
namespace {

constexpr std::int64_t kDay_s = 86'400;

struct Secured {
  Certificates made{"a"};
  MeshConfig config;
  const std::int64_t now_s = std::time(nullptr);
  std::unique_ptr<MeshSecurity> security;

  Secured() {
    config.node_name = "a";
    config.tls = made.of("a");
    auto opened = MeshSecurity::open(config, now_s);
    REQUIRE(opened.has_value());
    security = std::move(*opened);
  }
};

}  // namespace

TEST_CASE("a renewed certificate that is not valid yet is taken when it is, without a touch") {
  Secured secured;
  const auto first = secured.security->certificate();
  secured.made.make("a");
  CHECK_FALSE(secured.security->check(secured.now_s - kDay_s));
  CHECK(secured.security->certificate() == first);
  CHECK(secured.security->check(secured.now_s));
  CHECK(secured.security->certificate() != first);
  CHECK_FALSE(secured.security->check(secured.now_s));  // nothing is new any more
}

TEST_CASE("half a renewal is not taken; the certificate in use stays until the rest has come") {
  Secured secured;
  const auto first = secured.security->certificate();
  const std::string key = secured.config.tls.key;
  std::filesystem::rename(key, key + ".old");
  CHECK_FALSE(secured.security->check(secured.now_s));
  CHECK(secured.security->certificate() == first);
  std::filesystem::rename(key + ".old", key);
  CHECK(secured.security->check(secured.now_s));
}

}  // namespace dualmesh::node
