#include "policies/client_weights.h"

#include <doctest/doctest.h>

#include <vector>

using dualmesh::policies::client_key;
using dualmesh::policies::ClientWeights;

namespace {

std::string read(ClientWeights& weights, const std::vector<std::string>& items) {
  return weights.read(items);
}

}  // namespace

TEST_CASE("who is not listed has weight 1, and names are known by their key alone") {
  ClientWeights weights;
  CHECK(weights.empty());
  CHECK(weights.of(client_key("a")) == 1);
  CHECK(read(weights, {"a=2", "with=sign=0.5"}).empty());
  CHECK(weights.of(client_key("a")) == 2);
  CHECK(weights.of(client_key("with=sign")) == 0.5);
  CHECK(weights.of(client_key("b")) == 1);
  CHECK(weights.of(0) == 1);
  CHECK(client_key("") == 0);
  CHECK(weights.text().find("sign") == std::string::npos);
  CHECK(read(weights, {}).empty());
  CHECK(weights.empty());
}

TEST_CASE("the text of weights is the same for the same weights and reads back as they were") {
  ClientWeights weights;
  ClientWeights same;
  CHECK(read(weights, {"a=2", "b=0.125", "#00000000000000ff=3"}).empty());
  CHECK(read(same, {"b=0.125", "#00000000000000FF=3", "a=2"}).empty());
  CHECK(weights == same);
  CHECK(weights.text() == same.text());
  CHECK(weights.text().rfind("#00000000000000ff=3", 0) == 0);
  ClientWeights again;
  CHECK_FALSE(again == weights);
  CHECK(again.read_text(weights.text()).empty());
  CHECK(again == weights);
  CHECK(again.of(255) == 3);
  CHECK(again.read_text("").empty());
  CHECK(again.empty());
}

TEST_CASE("bad weights say what is allowed, change nothing and repeat no name") {
  ClientWeights weights;
  CHECK(read(weights, {"a=2"}).empty());
  for (const char* bad : {"secret", "=2", "secret=", "secret=0", "secret=-1", "secret=nan",
                          "secret=1001", "secret=2x", "#12=2", "#000000000000000g=2"}) {
    CAPTURE(bad);
    const std::string problem = read(weights, {"b=3", bad});
    CHECK_FALSE(problem.empty());
    CHECK(problem.find("secret") == std::string::npos);
  }
  CHECK(read(weights, {"a=1", "a=2"}) == "a client has two weights");
  CHECK(read(weights, {"a=0"}) == "'0' is no weight; allowed: 0.001 to 1000");
  std::vector<std::string> many;
  for (std::size_t i = 0; i <= ClientWeights::kMaxClients; ++i) {
    many.push_back("c" + std::to_string(i) + "=2");
  }
  CHECK(read(weights, many) == "more than 4096 clients have weights");
  CHECK(weights.of(client_key("a")) == 2);
  CHECK(weights.of(client_key("b")) == 1);
  many.pop_back();
  CHECK(read(weights, many).empty());
}

TEST_CASE("client weights: what lies over others counts, and what goes has 1 again") {
  ClientWeights below;
  ClientWeights over;
  REQUIRE(read(below, {"a=2", "b=3"}).empty());
  REQUIRE(read(over, {"b=5", "c=7"}).empty());
  const ClientWeights both = below.overlaid(over);
  const auto of = [](const ClientWeights& weights) {
    return std::vector<double>{weights.of(client_key("a")), weights.of(client_key("b")),
                               weights.of(client_key("c"))};
  };
  CHECK(of(both) == std::vector<double>{2, 5, 7});
  CHECK(both.size() == 3);
  CHECK(of(below) == std::vector<double>{2, 3, 1});
  CHECK(below.overlaid({}) == below);
  CHECK(ClientWeights().overlaid(over) == over);
  const std::vector<std::uint64_t> gone = {client_key("b"), client_key("nobody")};
  CHECK(of(both.without(gone)) == std::vector<double>{2, 1, 7});
  const std::vector<std::uint64_t> last = {client_key("b"), client_key("c")};
  CHECK(over.without(last).empty());
  CHECK(ClientWeights().without(last).empty());
}
