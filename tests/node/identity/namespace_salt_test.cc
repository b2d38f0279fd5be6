#include "node/identity/namespace_salt.h"

#include <doctest/doctest.h>

#include <set>

using namespace dualmesh::node;

TEST_CASE("without a salt everything is as it was") {
  const NamespaceSalt none;
  CHECK(none.shares());
  CHECK(none.name_space("m") == "m");
  CHECK(none.system_key(7) == 7);
}

TEST_CASE("salts are equal for equal secrets and names, and differ for any other") {
  const NamespaceSalt one("secret of the mesh", "a");
  CHECK(!one.shares());
  CHECK(NamespaceSalt("secret of the mesh", "a").name_space("m") == one.name_space("m"));
  std::set<std::string> spaces{"m", one.name_space("m")};
  std::set<std::uint64_t> keys{7, one.system_key(7)};
  for (const auto& other : {std::pair{"secret of the mesh", "b"},
                            {"secret of the mesh", "A"},
                            {"secret of the mesH", "a"},
                            {"secret of the mesh", "aa"}}) {
    CAPTURE(other.first);
    CAPTURE(other.second);
    CHECK(spaces.insert(NamespaceSalt(other.first, other.second).name_space("m")).second);
    CHECK(keys.insert(NamespaceSalt(other.first, other.second).system_key(7)).second);
  }
  CHECK(one.system_key(0) == 0);
  CHECK(one.name_space("m") != one.name_space("n"));
}

TEST_CASE("neither the secret nor the tenant's name stands in a namespace") {
  const std::string space = NamespaceSalt("secret of the mesh", "tenant").name_space("model");
  CHECK(space.find("secret") == std::string::npos);
  CHECK(space.find("tenant") == std::string::npos);
  CHECK(space.size() == 1 + 16 + 5);
}
