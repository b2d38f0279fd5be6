#include "node/access/request_id.h"

#include <doctest/doctest.h>

#include <set>

using namespace dualmesh;
using namespace dualmesh::node;

TEST_CASE("well-formed ids are kept, anything else is replaced") {
  std::mt19937_64 random(1);
  const auto id_of = [&](std::initializer_list<std::string> values) {
    net::Headers head;
    head.add("Host", "h");
    for (const std::string& value : values) head.add("X-Request-ID", value);
    return std::string(RequestId::of(head, random).text());
  };
  for (const std::string& good :
       {std::string("a"), std::string("7b44c1b2-0c1d-4c44-9e0a-5f1f6b9d0000"),
        std::string("svc/1:2+3=4@x_y.z"), std::string(128, 'x')}) {
    CHECK(id_of({good}) == good);
  }
  std::set<std::string> made;
  for (const std::string& bad : {std::string(), std::string(129, 'x'), std::string("a b"),
                                 std::string("a\"b"), std::string("a\xff"), std::string("a,b"),
                                 std::string("<x>"), std::string("a\tb"), std::string("a{b}")}) {
    CAPTURE(bad);
    const std::string id = id_of({bad});
    CHECK(id.size() == 32);
    CHECK(id.find_first_not_of("0123456789abcdef") == std::string::npos);
    CHECK(made.insert(id).second);
  }
  CHECK(made.insert(id_of({})).second);
  CHECK(id_of({"one", "two"}).size() == 32);  // whose would it be?
  CHECK(id_of({"one", "one"}).size() == 32);
}

TEST_CASE("ids are the generator's, and no two are equal") {
  std::mt19937_64 one(7), same(7);
  std::set<std::string> ids;
  for (int i = 0; i < 10'000; ++i) {
    const RequestId id = RequestId::make(one);
    CHECK(id.text() == RequestId::make(same).text());
    CHECK(ids.insert(std::string(id.text())).second);
  }
}
