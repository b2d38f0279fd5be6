// rings, policy, metrics, drain: one node's view of the mesh.
#include <spdlog/fmt/fmt.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "node/ctl/answers.h"
#include "node/ctl/commands.h"
#include "node/ctl/json.h"
#include "node/ctl/tables.h"

namespace dualmesh::node::ctl {
namespace {

void print_rings(wire::Rings::Reader rings) {
  std::puts(fmt::format("rings {} on this node, {}", text(rings.getDigest()),
                        rings.getAgree() ? "AGREED by all live nodes"
                                         : "NOT AGREED: nodes route on, each by its own")
                .c_str());
  std::string generation = fmt::format("ring generation {}", rings.getGeneration());
  if (rings.getGeneration() != rings.getConfiguredGeneration()) {
    generation += fmt::format(", though the configuration of this node says {}",
                              rings.getConfiguredGeneration());
  }
  std::puts(generation.c_str());
  for (auto model : rings.getModels()) {
    std::puts(wrapped(fmt::format("ring of {} {}: {}", text(model.getModel()),
                                  text(model.getDigest()), joined(texts(model.getMembers()))),
                      2)
                  .c_str());
  }
  TextTable table({{.title = "node", .shrink = 1},
                   {"rings"},
                   {"generation", Align::right},
                   {"depth marks"},
                   {"agrees"}});
  for (auto node : by_name(rings.getNodes())) {
    table.add({text(node.getName()), text(node.getRingDigest()), count_text(node.getGeneration()),
               text(node.getDepthDigest()), node.getAgrees() ? "yes" : "NO"});
  }
  std::fputs(table.render().c_str(), stdout);
  const auto decisions = rings.getDecisions();
  const double share = decisions == 0
                           ? 0.0
                           : 100.0 * static_cast<double>(rings.getDecisionsUnderDisagreement()) /
                                 static_cast<double>(decisions);
  std::puts(fmt::format("{} of {} decisions ({:.2f} %) while rings differed; depth marks {}",
                        count_text(rings.getDecisionsUnderDisagreement()), count_text(decisions),
                        share, count_text(rings.getDepthMarks()))
                .c_str());
  const auto agreement = rings.getAgreementMs();
  if (agreement.getCount() > 0) {
    std::puts(fmt::format("time to agreement over {} changes: p50 {}, p99 {}, max {}",
                          agreement.getCount(), ms_text(agreement.getP50()),
                          ms_text(agreement.getP99()), ms_text(agreement.getMax()))
                  .c_str());
  }
}

}  // namespace

int run_rings(Session& session) {
  AdminClient& node = session.node();
  auto answer = node.call(node.admin().ringsRequest(), "read the rings");
  if (!answer) return failed(answer.error());
  if (session.json()) {
    print_json(to_json(answer->getRings()));
  } else {
    print_rings(answer->getRings());
  }
  return kExitDone;
}

int run_policy(Session& session) {
  AdminClient& node = session.node();
  auto answer = node.call(node.admin().policyRequest(), "read the policy");
  if (!answer) return failed(answer.error());
  if (session.json()) {
    print_json({{"policy", text(answer->getPolicy())},
                {"available", texts(answer->getAvailable())},
                {"per_node", to_json(answer->getPerNode())}});
    return kExitDone;
  }
  const std::string available = joined(texts(answer->getAvailable()));
  std::puts(
      wrapped(fmt::format("{} (available: {})", text(answer->getPolicy()), available), 2).c_str());
  TextTable table({{.title = "node", .shrink = 1}, {.title = "policy", .shrink = 2}});
  for (auto node_policy : by_name(answer->getPerNode())) {
    table.add({text(node_policy.getName()), text(node_policy.getPolicy())});
  }
  std::fputs(table.render().c_str(), stdout);
  return kExitDone;
}

int run_policy_set(Session& session, const std::string& policy) {
  AdminClient& node = session.node();
  auto request = node.admin().setPolicyRequest();
  request.setPolicy(policy.c_str());
  auto answer = node.call(kj::mv(request), "set the policy");
  if (!answer) return failed(answer.error());
  if (session.json()) {
    print_json({{"policy", policy}, {"set", true}});
  } else {
    std::puts(
        fmt::format("policy {} set; `dualmeshctl policy` shows when every node has it", policy)
            .c_str());
  }
  return kExitDone;
}

int run_metrics(Session& session) {
  AdminClient& node = session.node();
  auto answer = node.call(node.admin().metricsRequest(), "read the metrics");
  if (!answer) return failed(answer.error());
  if (session.json()) {
    print_json({{"text", text(answer->getText())}});
  } else {
    std::fputs(answer->getText().cStr(), stdout);
  }
  return kExitDone;
}

int run_drain(Session& session) {
  AdminClient& node = session.node();
  auto answer = node.call(node.admin().drainRequest(), "drain the node");
  if (!answer) return failed(answer.error());
  if (session.json()) {
    print_json({{"node", session.address()}, {"draining", true}});
  } else {
    std::puts(fmt::format("{} takes no new connections and stops when its last request has "
                          "ended, at the latest after its node.drain_timeout_s",
                          session.address())
                  .c_str());
  }
  return kExitDone;
}

}  // namespace dualmesh::node::ctl
