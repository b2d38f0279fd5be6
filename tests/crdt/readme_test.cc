// The example of crdt/README.md, compiled as it stands there.
#include <doctest/doctest.h>

#include <string>

#include "crdt/or_map.h"
#include "crdt/or_set.h"

namespace dualmesh::crdt {
namespace {

TEST_CASE("the example of the README does what it says") {
#include <readme_example.inc>
  CHECK(here == there);
  CHECK(here.size() == 1);
  REQUIRE(here.find("fruit") != nullptr);
  REQUIRE(here.find("fruit")->entries().size() == 1);
  CHECK(here.find("fruit")->find("plum") != nullptr);
}

}  // namespace
}  // namespace dualmesh::crdt
