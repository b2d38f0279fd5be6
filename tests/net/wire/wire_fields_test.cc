#include "tests/net/wire/wire_fields.h"

#include <doctest/doctest.h>

#include <fstream>

namespace dualmesh::wire_test {

TEST_CASE("nothing that protocol version 2 says has moved") {
  const std::set<std::string> today = wire_fields();
  std::ifstream in(DUALMESH_WIRE "/protocol-2.fields");
  std::size_t lines = 0;
  for (std::string line; std::getline(in, line); ++lines) {
    CHECK_MESSAGE(today.contains(line), line);
  }
  CHECK(lines > 100);
}

}  // namespace dualmesh::wire_test
