// status and members: what one node says of itself and of the others.
#include <spdlog/fmt/fmt.h>

#include <cmath>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "node/ctl/answers.h"
#include "node/ctl/commands.h"
#include "node/ctl/json.h"
#include "node/ctl/tables.h"

namespace dualmesh::node::ctl {
namespace {

constexpr double kWarnOffsetMs = 1'000;
constexpr double kRefusedOffsetMs = 60'000;  // crdt::HybridClock::kMaxAheadMs
constexpr std::int64_t kWarnExpiryDays = 14;

void line(const char* label, const std::string& value) {
  constexpr std::size_t kIndent = 13;
  std::puts(fmt::format("{:<13}{}", label, wrapped(value, kIndent)).c_str());
}

std::string readiness(wire::Status::Reader status) {
  if (status.getDraining()) return "draining";
  return status.getReady() ? "ready" : "not ready: " + text(status.getNotReadyReason());
}

std::string utc(std::uint64_t unix_ms) {
  const auto seconds = static_cast<std::time_t>(unix_ms / 1000);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char buffer[32];
  std::strftime(buffer, sizeof buffer, "%Y-%m-%d %H:%M:%S UTC", &parts);
  return buffer;
}

std::string removed_text(wire::Status::Reader status) {
  std::string told = fmt::format("{} remembered", count_text(status.getRemovedInstances()));
  if (status.getCollectionHorizonMs() == 0) return told + ", none forgotten yet";
  return told + ", forgotten if removed before " + utc(status.getCollectionHorizonMs());
}

std::string certificate_text(wire::Status::Reader status) {
  const auto now_s = static_cast<std::int64_t>(status.getClockMs() / 1000);
  const std::int64_t left_s = status.getCertificateExpiresS() - now_s;
  const std::int64_t days = left_s / 86'400;
  const std::string when = utc(static_cast<std::uint64_t>(status.getCertificateExpiresS()) * 1000);
  if (left_s <= 0) return fmt::format("EXPIRED at {}: no new link can be made; renew it", when);
  if (days < kWarnExpiryDays) return fmt::format("EXPIRES in {} days, at {}: renew it", days, when);
  return fmt::format("good for {} days, until {}", days, when);
}

std::string counts_text(capnp::List<wire::Count>::Reader counts) {
  std::vector<std::string> parts;
  for (auto entry : counts) {
    parts.push_back(fmt::format("{} {}", text(entry.getName()), count_text(entry.getCount())));
  }
  return joined(parts);
}

void print_replication(wire::Status::Reader status) {
  line("replication",
       fmt::format("{} sent, {} received, {} snapshots sent, {} received, {} resets, {} deltas "
                   "through relays",
                   bytes_text(status.getBytesSent()), bytes_text(status.getBytesReceived()),
                   count_text(status.getSnapshots()), count_text(status.getSnapshotsReceived()),
                   count_text(status.getResets()), count_text(status.getRelayedDeltas())));
  for (auto relay : status.getRelayedBy()) {
    line("relayed", fmt::format("{} is not heard itself, {} passes on what it says",
                                text(relay.getWriter()), text(relay.getThrough())));
  }
  if (status.getDigestMismatches() > 0) {
    line("MISMATCH", fmt::format("{} times one version with two contents: never normal",
                                 count_text(status.getDigestMismatches())));
  }
  line("removed", removed_text(status));
  if (status.getCertificateExpiresS() != 0) line("certificate", certificate_text(status));
  if (status.getRefusalCounts().size() > 0) {
    line("refusals", counts_text(status.getRefusalCounts()));
  }
}

// What each node routes by; unequal only for as long as a change is on its way.
void print_nodes(wire::Status::Reader status) {
  TextTable table({{.title = "node", .shrink = 1},
                   {"ready"},
                   {"rings"},
                   {"registry"},
                   {"depth marks"},
                   {"agrees"}});
  for (auto node : by_name(status.getNodes())) {
    table.add({text(node.getName()), node.getReady() ? "yes" : "NO", text(node.getRingDigest()),
               text(node.getRegistryDigest()), text(node.getDepthDigest()),
               node.getAgrees() ? "yes" : "NO"});
  }
  std::fputs(("\n" + table.render()).c_str(), stdout);
}

void print_status(wire::Status::Reader status) {
  line("node", fmt::format("{} ({}), {}", text(status.getName()), text(status.getNode()),
                           readiness(status)));
  line("build",
       fmt::format("{}, up {}", text(status.getBuild()), ms_text(status.getUptimeS() * 1'000.0)));
  const std::string clients = text(status.getHttpAddress());
  line("addresses",
       fmt::format("clients {}, mesh {}", clients.empty() ? "by TLS alone" : clients.c_str(),
                   text(status.getMeshAddress())));
  line("cluster", fmt::format("{}: {} of {} known nodes alive", text(status.getCluster()),
                              status.getMembersAlive(), status.getMembersKnown()));
  line("health", fmt::format("{} of 8 (0 is well), {} accusations answered",
                             status.getLocalHealth(), count_text(status.getRefutations())));
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
  print_replication(status);
  for (const std::string& refusal : texts(status.getRefusals())) line("refused", refusal);
  for (const std::string& conflict : texts(status.getSettingConflicts())) {
    line("conflict", conflict);
  }
  print_nodes(status);
}

std::string link_text(wire::MemberInfo::Reader member) {
  if (member.getIsSelf()) return "self";
  return member.getLinked() ? "up" : "down";
}

std::string millis(bool known, double value) { return known ? ms_text(value) : "-"; }

std::string offset_text(bool known, double offset_ms) {
  if (!known) return "-";
  return ms_text(offset_ms) + (std::abs(offset_ms) > kWarnOffsetMs ? " !" : "");
}

void print_members(capnp::List<wire::MemberInfo>::Reader members) {
  TextTable table({{.title = "node", .shrink = 2},
                   {"status"},
                   {"for", Align::right},
                   {"link"},
                   {.title = "mesh", .shrink = 2},
                   {.title = "clients", .shrink = 2},
                   {"round trip", Align::right},
                   {"clock", Align::right},
                   {"heard", Align::right},
                   {.title = "build", .shrink = 1}});
  std::vector<std::string> remarks;
  for (auto member : by_name(members)) {
    const bool measured = !member.getIsSelf() && member.getLinked();
    const double offset_ms = member.getClockOffsetMs();
    table.add({text(member.getName()), text(member.getStatus()), ms_text(member.getSinceMs()),
               link_text(member), text(member.getMeshAddress()), text(member.getHttpAddress()),
               millis(measured, member.getRttMs()), offset_text(measured, offset_ms),
               millis(!member.getIsSelf() && member.getLastHeardMs() >= 0, member.getLastHeardMs()),
               text(member.getBuild())});
    if (measured && std::abs(offset_ms) > kWarnOffsetMs) {
      remarks.push_back(fmt::format(
          "the clock of {} is {} {} that of the node asked{}", text(member.getName()),
          ms_text(std::abs(offset_ms)), offset_ms > 0 ? "ahead of" : "behind",
          std::abs(offset_ms) > kRefusedOffsetMs
              ? ": what it says of instances and settings is refused until the clocks agree"
              : fmt::format("; beyond {} its changes to instances and settings are refused",
                            ms_text(kRefusedOffsetMs))));
    }
    if (member.getRelayedBy().size() > 0) {
      remarks.push_back(fmt::format("{} is not heard itself: {} passes on what it says",
                                    text(member.getName()), text(member.getRelayedBy())));
    }
  }
  std::fputs(table.render().c_str(), stdout);
  for (const std::string& remark : remarks) std::puts(wrapped(remark, 2).c_str());
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
    if (answer->getPartition().size() > 0) {
      std::puts(wrapped(text(answer->getPartition()), 2).c_str());
    }
  }
  return kExitDone;
}

}  // namespace dualmesh::node::ctl
