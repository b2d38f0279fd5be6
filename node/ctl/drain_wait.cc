// instance drain --wait: until no live node has a request at the instance, nor may send it one.
#include <spdlog/fmt/fmt.h>

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "node/ctl/commands.h"
#include "node/ctl/json.h"
#include "node/ctl/tables.h"

namespace dualmesh::node::ctl {
namespace {

constexpr std::uint32_t kPollMs = 200;

// Why the instance is not idle as this node knows it first-hand; empty when it is.
std::string busy(const std::string& node, const std::string& instance,
                 capnp::List<wire::InstanceInfo>::Reader instances) {
  for (auto info : instances) {
    if (instance != info.getName().cStr()) continue;
    if (std::string_view(info.getLifecycle().cStr()) == "active") {
      return fmt::format("{} takes it as active", node);
    }
    const auto own = info.getOwn();
    const std::uint64_t requests = std::uint64_t{own.getQueuedRequests()} +
                                   own.getPrefillingRequests() + own.getDecodingRequests();
    if (requests == 0) return {};
    return fmt::format("{} has {} request{} there", node, count_text(requests),
                       requests == 1 ? "" : "s");
  }
  return {};
}

// Each live node is asked for its own requests: what it says of the others' is older.
net::Result<std::vector<std::string>> busy_nodes(Session& session, const std::string& instance) {
  auto nodes = session.live_nodes();
  if (!nodes) return nodes.error();
  std::vector<PendingCall<wire::Admin::InstancesResults>> calls;
  for (const LiveNode& live : *nodes) {
    AdminClient& asked = session.client(live.mesh_address);
    calls.push_back(asked.send(asked.admin().instancesRequest(), "read the instances"));
  }
  std::vector<std::string> why;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    auto answer = calls[i].wait();
    std::string reason;
    if (answer) {
      reason = busy((*nodes)[i].name, instance, answer->getInstances());
    } else {
      reason = fmt::format("{} was not reached: {}", (*nodes)[i].name, answer.error().message);
      session.forget((*nodes)[i].mesh_address);
    }
    if (!reason.empty()) why.push_back(std::move(reason));
  }
  return why;
}

int report(const Session& session, const InstanceChange& change, double waited_ms,
           const std::vector<std::string>& why) {
  if (session.json()) {
    print_json({{"instance", change.name},
                {"action", "drain"},
                {"done", true},
                {"idle", why.empty()},
                {"waited_ms", waited_ms},
                {"busy", why}});
  } else if (why.empty()) {
    std::puts(fmt::format("{} is drained: no live node has a request there, after {}", change.name,
                          ms_text(waited_ms))
                  .c_str());
  } else {
    std::puts(
        fmt::format("{} is draining, not idle after {}:", change.name, ms_text(waited_ms)).c_str());
    for (const std::string& reason : why) std::puts(("  " + wrapped(reason, 4)).c_str());
  }
  return why.empty() ? kExitDone : kExitNo;
}

}  // namespace

int wait_drained(Session& session, const InstanceChange& change) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  while (true) {
    auto why = busy_nodes(session, change.name);
    if (!why) return failed(why.error());
    const double waited_ms =
        std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    if (why->empty() || waited_ms >= change.timeout_ms) {
      return report(session, change, waited_ms, *why);
    }
    session.node().sleep_ms(kPollMs);
  }
}

}  // namespace dualmesh::node::ctl
