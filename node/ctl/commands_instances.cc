// instances, instance add | drain | resume | remove.
#include <spdlog/fmt/fmt.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "node/ctl/commands.h"
#include "node/ctl/json.h"
#include "node/ctl/tables.h"

namespace dualmesh::node::ctl {
namespace {

bool asked(wire::InstanceInfo::Reader instance) {
  return std::string_view(instance.getLifecycle().cStr()) != "removed";
}

std::string health_text(wire::InstanceInfo::Reader instance) {
  if (!asked(instance)) return "-";
  if (!instance.getHealthy()) return "NO";  // why: below the table, where there is room
  return instance.getOverloaded() ? "overloaded" : "yes";
}

std::string gauges(wire::LoadInfo::Reader load) {
  return fmt::format("{}/{}/{}", load.getQueuedRequests(), load.getPrefillingRequests(),
                     load.getDecodingRequests());
}

std::string state_text(wire::InstanceInfo::Reader instance) {
  const std::string weight =
      instance.getWeight() == 1.0 ? "" : fmt::format(" x{:g}", instance.getWeight());
  return instance.getLifecycle().cStr() + weight;
}

void print_instances(capnp::List<wire::InstanceInfo>::Reader instances) {
  TextTable table({{.title = "instance", .shrink = 2},
                   {.title = "address", .shrink = 2},
                   {.title = "models", .shrink = 1},
                   {"state"},
                   {"from"},
                   {"healthy"},
                   {"own load"},
                   {"others'"},
                   {"us/token", Align::right},
                   {"done", Align::right},
                   {"failed", Align::right}});
  std::vector<std::string> remarks;
  for (auto instance : instances) {
    if (asked(instance) && !instance.getHealthy()) {
      remarks.push_back(fmt::format("{} is not healthy: {}", instance.getName().cStr(),
                                    instance.getUnhealthyReason().cStr()));
    } else if (asked(instance) && instance.getUnhealthyReason().size() > 0) {
      remarks.push_back(fmt::format("{}: {}", instance.getName().cStr(),
                                    instance.getUnhealthyReason().cStr()));
    }
    std::vector<std::string> models;
    for (auto model : instance.getModels()) models.emplace_back(model.cStr());
    table.add({instance.getName().cStr(), instance.getAddress().cStr(),
               models.empty() ? "none yet" : joined(models, ","), state_text(instance),
               instance.getSource().cStr(), health_text(instance), gauges(instance.getOwn()),
               gauges(instance.getOthers()), fmt::format("{:.0f}", instance.getPrefillUsPerToken()),
               count_text(instance.getCompleted()), count_text(instance.getFailed())});
  }
  std::fputs(table.render().c_str(), stdout);
  for (const std::string& remark : remarks) std::puts(wrapped(remark, 2).c_str());
  std::puts(
      "load: requests queued/prefilling/decoding, through this node and through the others; "
      "health,\n"
      "cost and counts as this node knows them");
}

// `before`: its state until now; empty when nobody knew it.
std::string done_text(wire::InstanceAction action, std::string_view before) {
  switch (action) {
    case wire::InstanceAction::ADD:
      if (before == "active") return "changed: it was there already";
      if (before == "draining") return "changed, and active again: it was draining";
      return before == "removed" ? "added again: it had been removed" : "added";
    case wire::InstanceAction::DRAIN:
      return "draining: it finishes what it has and gets nothing new";
    case wire::InstanceAction::RESUME:
      return "active again";
    case wire::InstanceAction::REMOVE:
      return before == "removed" ? "was removed already" : "removed";
  }
  return "changed";
}

void tell_of_events(const InstanceChange& change, const std::string& before) {
  if (before.empty() || before == change.kv_events) return;
  std::string text = fmt::format("its KV events were at {} and are ", before);
  text += change.kv_events.empty()
              ? "not heard any more: its cache is predicted; to keep them, give --kv-events again"
              : "at " + change.kv_events + " now";
  std::puts(wrapped(text, 2).c_str());
}

const char* verb(wire::InstanceAction action) {
  switch (action) {
    case wire::InstanceAction::ADD:
      return "add";
    case wire::InstanceAction::DRAIN:
      return "drain";
    case wire::InstanceAction::RESUME:
      return "resume";
    case wire::InstanceAction::REMOVE:
      return "remove";
  }
  return "change";
}

}  // namespace

int run_instances(Session& session) {
  AdminClient& node = session.node();
  auto answer = node.call(node.admin().instancesRequest(), "read the instances");
  if (!answer) return failed(answer.error());
  if (session.json()) {
    print_json(to_json(answer->getInstances()));
  } else if (answer->getInstances().size() == 0) {
    std::puts("no instances; add one: dualmeshctl instance add NAME HOST:PORT");
  } else {
    print_instances(answer->getInstances());
  }
  return kExitDone;
}

int run_instance_change(Session& session, const InstanceChange& change) {
  AdminClient& node = session.node();
  auto request = node.admin().changeInstanceRequest();
  request.setAction(change.action);
  request.setName(change.name.c_str());
  request.setAddress(change.address.c_str());
  auto models = request.initModels(static_cast<unsigned>(change.models.size()));
  for (unsigned i = 0; i < models.size(); ++i) models.set(i, change.models[i].c_str());
  request.setWeight(change.weight);
  request.setKvEvents(change.kv_events.c_str());
  auto answer =
      node.call(kj::mv(request), fmt::format("{} instance {}", verb(change.action), change.name));
  if (!answer) return failed(answer.error());
  if (change.wait) return wait_drained(session, change);
  const std::string before = answer->getBefore().cStr();
  if (session.json()) {
    print_json({{"instance", change.name},
                {"action", verb(change.action)},
                {"before", before},
                {"kv_events_before", answer->getKvEventsBefore().cStr()},
                {"done", true}});
  } else {
    std::puts(fmt::format("{} {}", change.name, done_text(change.action, before)).c_str());
    if (change.action == wire::InstanceAction::ADD) {
      tell_of_events(change, answer->getKvEventsBefore().cStr());
    }
  }
  return kExitDone;
}

}  // namespace dualmesh::node::ctl
