// Which ring parameters a mesh uses, and what a partition is called.
#include "node/mesh/ring_generation.h"

#include <doctest/doctest.h>

#include "node/mesh/partition.h"

using namespace dualmesh;
using namespace dualmesh::node;

namespace {

MeshConfig config_of(std::uint32_t generation, std::uint32_t block_bytes,
                     std::uint32_t points = 160) {
  MeshConfig config;
  config.ring_generation = generation;
  config.chain.block_bytes = block_bytes;
  config.ring.points_per_weight = points;
  return config;
}

using Row = crdt::MultiValue<std::string>;

net::SettingsTable table_of(const std::vector<Row>& rows) {
  net::SettingsTable table;
  for (const Row& row : rows) table.join({kRingSetting}, row);
  return table;
}

Row row_of(const MeshConfig& config) { return *with_own_parameters({}, config); }

crdt::Member dead() {
  crdt::Member member;
  member.status = crdt::MemberStatus::dead;
  return member;
}

}  // namespace

TEST_CASE("generation: text and back, and what is no text of parameters") {
  const auto parameters = configured_parameters(config_of(7, 4096, 80));
  CHECK(read_parameters(to_text(parameters)) == parameters);
  CHECK(to_text(configured_parameters(config_of(2, 2048))).starts_with("2 2048 "));
  for (const char* bad :
       {"", "2", "2 2048 1 160 1", "2 2048 1 160 1 1 ", "2 2048 1 160 1 1 1", "x 2048 1 160 1 1",
        "2  2048 1 160 1 1", "-2 2048 1 160 1 1", "0 2048 1 160 1 1", "2 63 1 160 1 1",
        "2 1048577 1 160 1 1", "2 2048 1 0 1 1", "2 2048 1 10001 1 1", "1000000001 2048 1 160 1 1",
        "2 2048 99999999999999999999 160 1 1"}) {
    CAPTURE(bad);
    CHECK_FALSE(read_parameters(bad));
  }
}

TEST_CASE("generation: the highest known counts, whatever the own configuration says") {
  const MeshConfig old = config_of(1, 2048), middle = config_of(2, 1024), high = config_of(3, 512);
  CHECK(parameters_in_use({}, old) == configured_parameters(old));
  const auto table = table_of({row_of(middle)});
  CHECK(parameters_in_use(table, old) == configured_parameters(middle));
  CHECK(parameters_in_use(table, high) == configured_parameters(high));
}

TEST_CASE("generation: a row is written by the higher one only, and replaces the lower") {
  const MeshConfig middle = config_of(2, 1024), high = config_of(3, 512);
  auto table = table_of({row_of(high)});
  CHECK_FALSE(with_own_parameters(table, middle));
  CHECK_FALSE(with_own_parameters(table, high));
  table = table_of({row_of(middle)});
  const auto raised = with_own_parameters(table, high);
  REQUIRE(raised);
  CHECK(raised->siblings().size() == 1);
  table.join({kRingSetting}, *raised);
  table.join({kRingSetting}, row_of(middle));  // an old node says its own again
  CHECK(table.find({kRingSetting})->siblings().size() == 1);
  CHECK(parameters_in_use(table, middle) == configured_parameters(high));
}

TEST_CASE("generation: nodes that write the same write the same row") {
  CHECK(row_of(config_of(2, 1024)) == row_of(config_of(2, 1024)));
  CHECK(row_of(config_of(2, 1024)) != row_of(config_of(2, 512)));
}

TEST_CASE("generation: two contents of one generation end as one, in any order") {
  const MeshConfig x = config_of(2, 1024), y = config_of(2, 512);
  const auto chosen = parameters_in_use(table_of({row_of(x), row_of(y)}), x);
  CHECK(chosen == parameters_in_use(table_of({row_of(y), row_of(x)}), y));
  CHECK(chosen == parameters_in_use(table_of({row_of(y)}), x));
  CHECK(chosen == parameters_in_use(table_of({row_of(x)}), y));
  CHECK((chosen == configured_parameters(x) || chosen == configured_parameters(y)));
  // What is shown as acted on is what is acted on.
  const auto table = table_of({row_of(x), row_of(y)});
  CHECK(*table.find({kRingSetting})->chosen() == to_text(chosen));
}

TEST_CASE("generation: a row that cannot be read changes nothing") {
  Row garbage;
  garbage.assign({5, crdt::NodeId{1}}, "5 garbage");
  const MeshConfig own = config_of(1, 2048);
  CHECK(parameters_in_use(table_of({garbage}), own) == configured_parameters(own));
  const auto row = with_own_parameters(table_of({garbage}), config_of(2, 1024));
  REQUIRE(row);
  CHECK(row->siblings().size() == 1);
}

TEST_CASE("generation: block keys of two generations never meet, those of the first are as ever") {
  const auto keys = [](std::uint32_t generation) {
    policies::PromptChainBuilder builder(
        chain_of(configured_parameters(config_of(generation, 64))));
    builder.update(std::string(640, 'x'));
    return builder.finish("m").blocks;
  };
  CHECK(chain_of(configured_parameters(config_of(1, 64))) == config_of(1, 64).chain);
  for (const auto& key : keys(1)) {
    const auto second = keys(2);
    CHECK(std::find(second.begin(), second.end(), key) == second.end());
  }
  CHECK(keys(2) == keys(2));
  CHECK(keys(2) != keys(3));
}

TEST_CASE("partition: counts the dead that have not left, until they answer or a day has passed") {
  using std::chrono::seconds;
  Partition partition;
  const crdt::NodeId a{1}, b{2};
  CHECK(partition.state(3).whole());
  CHECK(describe(partition.state(3), seconds(9)).empty());
  partition.learned(a, dead(), seconds(10));
  partition.learned(b, dead(), seconds(20));
  partition.learned(b, dead(), seconds(25));
  CHECK(partition.state(3).unreachable == 2);
  CHECK(partition.state(3).of == 5);
  CHECK(partition.state(3).since == seconds(10));
  CHECK(describe(partition.state(3), seconds(70)) ==
        "2 of 5 members unreachable since 60 s, dead or cut off, which look alike "
        "from here; commands given here reach them once they are back");
  CHECK(describe(partition.state(2), seconds(70)).ends_with("this side has no majority"));

  SUBCASE("one answers") {
    partition.learned(a, crdt::Member{}, seconds(30));
    CHECK(partition.state(4).since == seconds(20));
  }
  SUBCASE("one leaves") {
    crdt::Member left;
    left.status = crdt::MemberStatus::left;
    partition.learned(a, left, seconds(30));
    CHECK(partition.state(3).of == 4);
  }
  SUBCASE("one is remembered no more") {
    partition.forget(seconds(30), [&](crdt::NodeId node) { return node == b; });
    CHECK(partition.state(3).unreachable == 1);
  }
  SUBCASE("a day later") {
    const auto all = [](crdt::NodeId) { return true; };
    partition.forget(std::chrono::hours(24) + seconds(15), all);
    CHECK(partition.state(3).unreachable == 1);
    partition.forget(std::chrono::hours(25), all);
    CHECK(partition.state(3).whole());
  }
}
