// status, members, rings, policy, metrics, drain: one node's view of the mesh.
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <type_traits>

#include "node/ctl/commands.h"
#include "node/ctl/json.h"
#include "node/ctl/tables.h"

namespace dualmesh::node::ctl {
namespace {

std::string text(capnp::Text::Reader reader) { return std::string(reader.cStr()); }

template <class List>
std::vector<std::string> texts(const List& list) {
  std::vector<std::string> result;
  for (auto entry : list) result.push_back(text(entry));
  return result;
}

// In an order that is the same whoever is asked.
template <class List>
auto by_name(const List& list) {
  std::vector<std::decay_t<decltype(list[0])>> sorted;
  for (auto entry : list) sorted.push_back(entry);
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.getName() < b.getName(); });
  return sorted;
}

void line(const char* label, const std::string& value) {
  constexpr std::size_t kIndent = 13;
  std::puts(fmt::format("{:<13}{}", label, wrapped(value, kIndent)).c_str());
}

std::string readiness(wire::Status::Reader status) {
  if (status.getDraining()) return "draining";
  return status.getReady() ? "ready" : "not ready: " + text(status.getNotReadyReason());
}

void print_status(wire::Status::Reader status) {
  line("node", fmt::format("{} ({}), {}", text(status.getName()), text(status.getNode()),
                           readiness(status)));
  line("build",
       fmt::format("{}, up {}", text(status.getBuild()), ms_text(status.getUptimeS() * 1'000.0)));
  line("addresses", fmt::format("clients {}, mesh {}", text(status.getHttpAddress()),
                                text(status.getMeshAddress())));
  line("cluster", fmt::format("{}: {} of {} known nodes alive", text(status.getCluster()),
                              status.getMembersAlive(), status.getMembersKnown()));
  if (status.getPartition().size() > 0) line("PARTITION", text(status.getPartition()));
  line("policy", text(status.getPolicy()));
  line("instances", fmt::format("{} active, {} healthy", status.getInstancesActive(),
                                status.getInstancesHealthy()));
  if (status.getPanic().size() > 0) {
    line("PANIC",
         "more than half look dead, health is ignored: " + joined(texts(status.getPanic())));
  }
  line("requests",
       fmt::format("{} live, {} in all, {} failed, {} rejected, {} moved",
                   count_text(status.getRequestsLive()), count_text(status.getRequestsTotal()),
                   count_text(status.getRequestsFailed()), count_text(status.getRequestsRejected()),
                   count_text(status.getMigrations())));
  line("held", fmt::format("{} of request bodies, {} connections",
                           bytes_text(status.getHeldBodyBytes()), status.getOpenConnections()));
  line("digests", fmt::format("rings {}, registry {}, depth {}", text(status.getRingDigest()),
                              text(status.getRegistryDigest()), text(status.getDepthDigest())));
  for (const std::string& refusal : texts(status.getRefusals())) line("refused", refusal);
  for (const std::string& conflict : texts(status.getSettingConflicts())) {
    line("conflict", conflict);
  }
}

std::string link_text(wire::MemberInfo::Reader member) {
  if (member.getIsSelf()) return "self";
  return member.getLinked() ? "up" : "down";
}

std::string millis(bool known, double value) { return known ? ms_text(value) : "-"; }

void print_members(capnp::List<wire::MemberInfo>::Reader members) {
  TextTable table({{.title = "node", .shrink = 2},
                   {"status"},
                   {"link"},
                   {.title = "mesh", .shrink = 2},
                   {.title = "clients", .shrink = 2},
                   {"round trip", Align::right},
                   {"clock", Align::right},
                   {"heard", Align::right},
                   {.title = "build", .shrink = 1}});
  for (auto member : by_name(members)) {
    const bool measured = !member.getIsSelf() && member.getLinked();
    table.add({text(member.getName()), text(member.getStatus()), link_text(member),
               text(member.getMeshAddress()), text(member.getHttpAddress()),
               millis(measured, member.getRttMs()), millis(measured, member.getClockOffsetMs()),
               millis(!member.getIsSelf() && member.getLastHeardMs() >= 0, member.getLastHeardMs()),
               text(member.getBuild())});
  }
  std::fputs(table.render().c_str(), stdout);
}

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
    std::puts(fmt::format("  {}  {}  {}", text(model.getDigest()), text(model.getModel()),
                          wrapped(joined(texts(model.getMembers())), 4))
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

int run_status(Session& session) {
  AdminClient& node = session.node();
  auto answer = node.call(node.admin().statusRequest(), "read the status");
  if (!answer) return failed(answer.error());
  if (session.json()) {
    print_json(to_json(answer->getStatus()));
  } else {
    print_status(answer->getStatus());
  }
  return kExitDone;
}

int run_members(Session& session) {
  AdminClient& node = session.node();
  auto answer = node.call(node.admin().membersRequest(), "read the members");
  if (!answer) return failed(answer.error());
  if (session.json()) {
    print_json(to_json(answer->getMembers()));
  } else {
    print_members(answer->getMembers());
    if (answer->getPartition().size() > 0) std::puts(text(answer->getPartition()).c_str());
  }
  return kExitDone;
}

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
  std::puts(fmt::format("{} (available: {})", text(answer->getPolicy()),
                        joined(texts(answer->getAvailable())))
                .c_str());
  TextTable table({{.title = "node", .shrink = 1}, {"policy"}});
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
    std::puts(fmt::format("{} takes no new connections and stops when its last request has ended",
                          session.address())
                  .c_str());
  }
  return kExitDone;
}

}  // namespace dualmesh::node::ctl
