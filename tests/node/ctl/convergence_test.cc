#include "node/ctl/convergence.h"

#include <doctest/doctest.h>

#include "tests/node/ctl/stream_ids.h"

namespace dualmesh::node::ctl {
namespace {

NodeReport node(std::uint64_t id, std::map<StreamId, Position> positions) {
  return {.name = "r" + std::to_string(id),
          .node = id,
          .epoch = 100 + id,
          .address = "127.0.0." + std::to_string(id) + ":7000",
          .reached = true,
          .why_not = {},
          .positions = std::move(positions)};
}

// Two nodes in step: r1 wrote 5 versions of its load, both hold the same registry.
std::vector<NodeReport> equal_nodes() {
  return {node(1, {{load_of(1), {5, 2, 77}}, {registry(), {3, 9, 11}}}),
          node(2, {{load_of(1), {5, 2, 77}}, {registry(), {8, 9, 11}}})};
}

TEST_CASE("equal digests converge although tables count versions each in their own way") {
  const auto nodes = equal_nodes();
  const Comparison comparison = compare(nodes);
  CHECK(comparison.verdict == Verdict::converged);
  CHECK(comparison.differing.empty());
  CHECK(comparison.rows.size() == 2);
  CHECK(missing_from(baseline_of(nodes), nodes).empty());
}

TEST_CASE("a feed that lags its writer is behind by so many versions") {
  auto nodes = equal_nodes();
  nodes[1].positions[load_of(1)] = {3, 2, 50};
  const Comparison comparison = compare(nodes);
  CHECK(comparison.verdict == Verdict::behind);
  REQUIRE(comparison.differing.size() == 1);
  CHECK(comparison.differing[0] == "load/r1: r2 is 2 versions behind");
  CHECK(missing_from(baseline_of(nodes), nodes) == comparison.differing);
}

TEST_CASE("a version that is there in part only is incomplete, not a number of versions behind") {
  auto nodes = equal_nodes();
  nodes[1].positions[load_of(1)] = {5, 1, 50, true};
  const Comparison comparison = compare(nodes);
  CHECK(comparison.verdict == Verdict::behind);
  for (const StreamRow& row : comparison.rows) {
    CHECK(row.cells[1].partial == (row.label == "load/r1"));
  }
  REQUIRE(comparison.differing.size() == 1);
  CHECK(comparison.differing[0] == "load/r1: r2 holds the newest version in part only");
  CHECK(missing_from(baseline_of(nodes), nodes) == comparison.differing);
}

TEST_CASE("a feed that is heard through a third node is marked where it is, and tables never") {
  auto nodes = equal_nodes();
  nodes[1].relays[1] = "r3";
  const Comparison comparison = compare(nodes);
  for (const StreamRow& row : comparison.rows) {
    CHECK_FALSE(row.cells[0].relayed);
    CHECK(row.cells[1].relayed == (row.label == "load/r1"));
  }
  CHECK(comparison.verdict == Verdict::converged);
}

TEST_CASE("a feed never heard of counts as version zero") {
  auto nodes = equal_nodes();
  nodes[1].positions.erase(load_of(1));
  const Comparison comparison = compare(nodes);
  CHECK(comparison.verdict == Verdict::behind);
  CHECK(comparison.differing.at(0) == "load/r1: r2 is 5 versions behind");
}

TEST_CASE("the same version with another digest is an alarm, not a lag") {
  auto nodes = equal_nodes();
  nodes[1].positions[load_of(1)].sum = 78;
  const Comparison comparison = compare(nodes);
  CHECK(comparison.verdict == Verdict::diverged);
  CHECK(comparison.differing.at(0) == "load/r1: r2 has the same version with another digest");
  CHECK(missing_from(baseline_of(nodes), nodes).size() == 1);
}

TEST_CASE("tables are compared by digest; the minority is named") {
  auto nodes = equal_nodes();
  nodes.push_back(node(3, {{load_of(1), {5, 2, 77}}, {registry(), {3, 8, 12}}}));
  const Comparison comparison = compare(nodes);
  CHECK(comparison.verdict == Verdict::diverged);
  REQUIRE(comparison.differing.size() == 1);
  CHECK(comparison.differing[0] == "registry: r3 holds other rows");
}

TEST_CASE("what was written after the call is not waited for, what before is") {
  auto nodes = equal_nodes();
  const Baseline baseline = baseline_of(nodes);
  nodes[0].positions[load_of(1)] = {9, 2, 90};
  CHECK(missing_from(baseline, nodes).empty());
  nodes[1].positions[load_of(1)] = {4, 2, 60};
  CHECK(missing_from(baseline, nodes).size() == 1);
}

TEST_CASE("a replica seen after its writer may be ahead") {
  auto nodes = equal_nodes();
  nodes[1].positions[load_of(1)] = {6, 2, 80};
  CHECK(compare(nodes).verdict == Verdict::converged);
}

TEST_CASE("feeds of lives that have ended are left out") {
  auto nodes = equal_nodes();
  nodes[0].positions[StreamId{kLoad, 1, 7}] = {50, 1, 1};   // an earlier life of r1
  nodes[1].positions[StreamId{kLoad, 99, 1}] = {50, 1, 1};  // a node that is gone
  CHECK(compare(nodes).verdict == Verdict::converged);
  CHECK(compare(nodes).rows.size() == 2);
}

TEST_CASE("a live node that was not reached is never taken for converged") {
  auto nodes = equal_nodes();
  nodes.push_back({.name = "r3",
                   .node = 3,
                   .epoch = 103,
                   .address = "127.0.0.3:7000",
                   .reached = false,
                   .why_not = "refused",
                   .positions = {}});
  const Comparison comparison = compare(nodes);
  CHECK(comparison.verdict == Verdict::unreached);
  CHECK(comparison.differing.at(0) == "r3 was not reached: refused");
  CHECK(comparison.rows.at(0).cells.at(2).state == Cell::State::unknown);
  CHECK(missing_from(baseline_of(nodes), nodes).size() == 1);
}

TEST_CASE("a node that is not ready yet is never taken for converged, however alone it is") {
  std::vector<NodeReport> nodes = {node(1, {{load_of(1), {5, 2, 77}}})};
  CHECK(missing_from(baseline_of(nodes), nodes).empty());
  nodes[0].ready = false;
  nodes[0].not_ready = "receiving the state of b";
  const auto missing = missing_from(baseline_of(nodes), nodes);
  REQUIRE(missing.size() == 1);
  CHECK(missing[0] == nodes[0].name + " is not ready: receiving the state of b");
}

TEST_CASE("without its writer a feed is measured against the furthest replica") {
  auto nodes = equal_nodes();
  nodes[0].reached = false;
  nodes[0].positions.clear();
  nodes.push_back(node(3, {{load_of(1), {4, 2, 60}}, {registry(), {3, 9, 11}}}));
  bool named = false;
  for (const std::string& what : compare(nodes).differing) {
    named = named || what == "load/r1: r3 is 1 version behind";
  }
  CHECK(named);
}

TEST_CASE("equal meshes have equal digests, others differ") {
  auto nodes = equal_nodes();
  CHECK(compare(nodes).digest == compare(equal_nodes()).digest);
  for (auto& n : nodes) n.positions[registry()].sum = 12;
  CHECK(compare(nodes).digest != compare(equal_nodes()).digest);
}

TEST_CASE("a row's key names the instance whose id it begins with, and no other") {
  const std::map<std::string, std::string> names = {{"9ee73d2f2d7db8c8", "gpu-1"}};
  CHECK(readable_key("9ee73d2f2d7db8c8", names) == "gpu-1");
  CHECK(readable_key("9ee73d2f2d7db8c8/166ffeead36adb1c", names) == "gpu-1/166ffeead36adb1c");
  CHECK(readable_key("166ffeead36adb1c/9ee73d2f2d7db8c8", names) ==
        "166ffeead36adb1c/9ee73d2f2d7db8c8");
  CHECK(readable_key("gpu-2.address", names) == "gpu-2.address");
  CHECK(readable_key("", names).empty());
}

StreamId cache_of(const std::string& instance, std::uint64_t epoch) {
  return {kKvStream, kv_stream_id(instance, 0), epoch};
}

std::vector<NodeReport> nodes_with_a_cache(Position first, Position second) {
  auto nodes = equal_nodes();
  nodes[0].positions[cache_of("e1", 7)] = first;
  nodes[1].positions[cache_of("e1", 7)] = second;
  for (NodeReport& node : nodes) node.kv_streams[kv_stream_id("e1", 0)] = {"e1", 0};
  return nodes;
}

TEST_CASE("a cache is compared with the most that any node knows of it") {
  CHECK(compare(nodes_with_a_cache({90, 4, 5}, {90, 4, 5})).verdict == Verdict::converged);
  const auto nodes = nodes_with_a_cache({90, 4, 5}, {88, 3, 5});
  const Comparison comparison = compare(nodes);
  CHECK(comparison.verdict == Verdict::behind);
  REQUIRE(comparison.differing.size() == 1);
  CHECK(comparison.differing[0] == "kv/e1: r2 is 2 versions behind");
  CHECK(missing_from(baseline_of(nodes), nodes) == comparison.differing);
}

TEST_CASE("a cache known in part is behind one that is known whole, and equal to its like") {
  const Comparison apart = compare(nodes_with_a_cache({90, 4, 5}, {90, 3, 9, true}));
  REQUIRE(apart.differing.size() == 1);
  CHECK(apart.differing[0] == "kv/e1: r2 holds the newest version in part only");
  CHECK(compare(nodes_with_a_cache({90, 3, 9, true}, {90, 3, 9, true})).verdict ==
        Verdict::converged);
}

TEST_CASE("one number of batches with two contents is a divergence") {
  CHECK(compare(nodes_with_a_cache({90, 4, 5}, {90, 4, 6})).verdict == Verdict::diverged);
}

TEST_CASE("only the newest life of an engine counts") {
  auto nodes = nodes_with_a_cache({90, 4, 5}, {90, 4, 5});
  nodes[0].positions[cache_of("e1", 8)] = {3, 1, 1};
  const Comparison comparison = compare(nodes);
  REQUIRE(comparison.differing.size() == 1);
  CHECK(comparison.differing[0] == "kv/e1: r2 is 3 versions behind");
}

}  // namespace
}  // namespace dualmesh::node::ctl
