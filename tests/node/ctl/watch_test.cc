#include "node/ctl/watch.h"

#include <doctest/doctest.h>

#include "tests/node/ctl/stream_ids.h"

namespace dualmesh::node::ctl {
namespace {

WatchedNode node(std::uint64_t id, std::uint64_t load_version) {
  NodeReport report;
  report.name = "r" + std::to_string(id);
  report.node = id;
  report.epoch = 100 + id;
  report.address = "127.0.0." + std::to_string(id) + ":7000";
  report.reached = true;
  report.positions = {{load_of(1), {load_version, 2, load_version}}, {registry(), {3, 9, 11}}};
  report.ring_digest = "aa";
  report.registry_digest = "bb";
  report.depth_digest = "cc";
  return {.report = report, .peers = {}};
}

// r1 wrote five versions of its load; r2 and r3 hold all of them.
std::vector<WatchedNode> in_step() { return {node(1, 5), node(2, 5), node(3, 5)}; }

Baseline baseline(const std::vector<WatchedNode>& nodes) {
  std::vector<NodeReport> reports;
  for (const WatchedNode& each : nodes) reports.push_back(each.report);
  return baseline_of(reports);
}

TEST_CASE("a mesh in step is converged, and its slowest is who acknowledges last") {
  auto nodes = in_step();
  nodes[0].peers = {{"r2", 100, 0.0, 3.0}, {"r3", 100, 0.0, 12.0}};
  nodes[1].peers = {{"r1", 100, 0.0, 4.0}, {"r3", 100, 2.5, -1.0}};
  const WatchRound round = watch_round(nodes, baseline(nodes));
  CHECK(round.verdict == Verdict::converged);
  CHECK(round.missing.empty());
  CHECK(round.feeds == 1);
  CHECK(round.nodes[2].pending_ms == 2.5);
  CHECK(round.nodes[2].ack_p99_ms == 12.0);
  CHECK(round.nodes[0].ack_p99_ms == 4.0);
  for (const WatchLine& line : round.nodes) {
    CHECK(line.ready);
    CHECK((line.rings_agree && line.registry_agrees && line.depth_agrees));
    CHECK(line.behind == 0);
    CHECK_FALSE(line.sent_per_s.has_value());
  }
  const std::string head = headline(round);
  CHECK(head.starts_with("mesh: 3 nodes, 1 feeds, CONVERGED at "));
  CHECK(head.ends_with(", slowest r3 12 ms"));
}

TEST_CASE("only what was written before an earlier round can be missing") {
  auto before = in_step();
  auto now = in_step();
  now[0] = node(1, 9);  // wrote four more, which nobody has yet
  CHECK(watch_round(now, baseline(before)).verdict == Verdict::converged);
  const WatchRound late = watch_round(now, baseline(now));
  CHECK(late.verdict == Verdict::behind);
  CHECK(late.nodes[1].behind == 4);
  CHECK(late.nodes[0].behind == 0);
  now[1] = node(2, 3);  // dropped it and is taking it again
  const WatchRound round = watch_round(now, baseline(before));
  CHECK(round.verdict == Verdict::behind);
  CHECK(round.nodes[1].behind == 2);
  CHECK(round.nodes[2].behind == 0);
}

TEST_CASE("digests that most nodes hold are what the others are compared with") {
  auto nodes = in_step();
  nodes[0].report.ring_digest = "zz";
  nodes[2].report.depth_digest = "dd";
  nodes[2].report.positions[registry()] = {3, 9, 12};
  const WatchRound round = watch_round(nodes, baseline(nodes));
  CHECK_FALSE(round.nodes[0].rings_agree);
  CHECK(round.nodes[1].rings_agree);
  CHECK_FALSE(round.nodes[2].depth_agrees);
  CHECK(round.verdict == Verdict::diverged);
  CHECK(round.nodes[2].behind == 1);
}

TEST_CASE("who cannot be asked or is not ready keeps the mesh from being converged") {
  auto nodes = in_step();
  nodes[1].report.reached = false;
  nodes[1].report.why_not = "connection refused";
  const WatchRound lost = watch_round(nodes, baseline(nodes));
  CHECK(lost.verdict == Verdict::unreached);
  CHECK_FALSE(lost.nodes[1].ready);
  CHECK_FALSE(lost.nodes[1].rings_agree);
  nodes = in_step();
  nodes[1].report.ready = false;
  nodes[1].report.not_ready = "joining";
  const WatchRound joining = watch_round(nodes, baseline(nodes));
  CHECK(joining.verdict == Verdict::behind);
  CHECK(joining.missing.at(0) == "r2 is not ready: joining");
}

TEST_CASE("bytes per second come from two rounds of one life") {
  SendRates rates;
  auto nodes = in_step();
  const auto rate = [&](std::uint64_t bytes, double now_ms) {
    nodes[0].peers = {{"r2", bytes, 0.0, -1.0}, {"r3", 10, 0.0, -1.0}};
    WatchRound round = watch_round(nodes, {});
    rates.add(nodes, now_ms, round);
    return round.nodes[0].sent_per_s;
  };
  CHECK_FALSE(rate(1'000, 0.0).has_value());
  CHECK(rate(3'000, 2'000.0) == 1'000.0);
  CHECK(rate(3'000, 3'000.0) == 0.0);
  nodes[0].report.epoch = 999;  // restarted, and counts from nothing
  CHECK_FALSE(rate(50'000, 4'000.0).has_value());
  CHECK(rate(50'500, 5'000.0) == 500.0);
  CHECK_FALSE(rate(100, 6'000.0).has_value());
}

TEST_CASE("events tell who goes and comes, what diverges, and how long it lasted") {
  WatchEvents events;
  auto nodes = in_step();
  CHECK(events.of(watch_round(nodes, baseline(nodes)), 0.0).empty());
  CHECK(events.of(watch_round(nodes, baseline(nodes)), 1'000.0).empty());

  nodes[2].report.reached = false;
  nodes[2].report.why_not = "connection refused";
  auto told = events.of(watch_round(nodes, baseline(nodes)), 2'000.0);
  REQUIRE(told.size() == 1);
  CHECK(told[0].text == "UNREACHED: r3 was not reached: connection refused");
  CHECK(told[0].verdict == Verdict::unreached);
  CHECK(events.of(watch_round(nodes, baseline(nodes)), 3'000.0).empty());

  nodes.pop_back();
  told = events.of(watch_round(nodes, baseline(nodes)), 6'000.0);
  REQUIRE(told.size() == 2);
  CHECK(told[0].text == "r3 is no living member any more: 2 now");
  CHECK(told[1].text == "CONVERGED again after 4.0 s");
  CHECK(told[1].lasted_ms == 4'000.0);

  nodes.push_back(node(3, 2));
  told = events.of(watch_round(nodes, baseline(nodes)), 7'000.0);
  REQUIRE(told.size() == 2);
  CHECK(told[0].text == "r3 is a living member: 3 now");
  CHECK(told[1].text == "BEHIND: load/r1: r3 is 3 versions behind");
}

TEST_CASE("a mesh that is not converged from the start is told so, and a silent one too") {
  WatchEvents events;
  auto nodes = in_step();
  nodes[1] = node(2, 1);
  auto told = events.of(watch_round(nodes, baseline(nodes)), 500.0);
  REQUIRE(told.size() == 1);
  CHECK(told[0].text == "BEHIND: load/r1: r2 is 4 versions behind");
  told = events.unanswered("cannot reach 127.0.0.1:7000", 1'000.0);
  REQUIRE(told.size() == 1);
  CHECK(told[0].text == "UNREACHED: cannot reach 127.0.0.1:7000");
  CHECK(events.unanswered("still", 2'000.0).empty());
  nodes = in_step();
  told = events.of(watch_round(nodes, baseline(nodes)), 2'500.0);
  REQUIRE(told.size() == 1);
  CHECK(told[0].lasted_ms == 2'000.0);
}

}  // namespace
}  // namespace dualmesh::node::ctl
