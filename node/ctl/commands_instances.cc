// instances, instance add | drain | resume | remove.
#include <spdlog/fmt/fmt.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "node/ctl/commands.h"
#include "node/ctl/json.h"
#include "node/ctl/tables.h"

namespace dualmesh::node::ctl {
namespace {

std::string health_text(wire::InstanceInfo::Reader instance) {
  if (!instance.getHealthy()) return fmt::format("NO: {}", instance.getUnhealthyReason().cStr());
  return instance.getOverloaded() ? "overloaded" : "yes";
}

// own+others, as queued/prefilling/decoding
std::string load_text(wire::InstanceInfo::Reader instance) {
  const auto own = instance.getOwn();
  const auto others = instance.getOthers();
  return fmt::format("{}+{} {}+{} {}+{}", own.getQueuedRequests(), others.getQueuedRequests(),
                     own.getPrefillingRequests(), others.getPrefillingRequests(),
                     own.getDecodingRequests(), others.getDecodingRequests());
}

void print_instances(capnp::List<wire::InstanceInfo>::Reader instances) {
  TextTable table({{.title = "instance", .may_shrink = true},
                   {.title = "address", .may_shrink = true},
                   {.title = "models", .may_shrink = true},
                   {"weight", Align::right},
                   {"state"},
                   {"from"},
                   {.title = "healthy", .may_shrink = true},
                   {"queue prefill decode"},
                   {"us/token", Align::right},
                   {"done", Align::right},
                   {"failed", Align::right}});
  for (auto instance : instances) {
    std::vector<std::string> models;
    for (auto model : instance.getModels()) models.emplace_back(model.cStr());
    table.add({instance.getName().cStr(), instance.getAddress().cStr(),
               models.empty() ? "none yet" : joined(models, ","),
               fmt::format("{:g}", instance.getWeight()), instance.getLifecycle().cStr(),
               instance.getSource().cStr(), health_text(instance), load_text(instance),
               fmt::format("{:.0f}", instance.getPrefillUsPerToken()),
               count_text(instance.getCompleted()), count_text(instance.getFailed())});
  }
  std::fputs(table.render().c_str(), stdout);
  std::puts("load is this node's own + the other nodes', in requests; health as this node sees it");
}

const char* done_text(wire::InstanceAction action) {
  switch (action) {
    case wire::InstanceAction::ADD:
      return "added";
    case wire::InstanceAction::DRAIN:
      return "draining: it finishes what it has and gets nothing new";
    case wire::InstanceAction::RESUME:
      return "active again";
    case wire::InstanceAction::REMOVE:
      return "removed";
  }
  return "changed";
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
  auto answer =
      node.call(kj::mv(request), fmt::format("{} instance {}", verb(change.action), change.name));
  if (!answer) return failed(answer.error());
  if (session.json()) {
    print_json({{"instance", change.name}, {"action", verb(change.action)}, {"done", true}});
  } else {
    std::puts(fmt::format("{} {}", change.name, done_text(change.action)).c_str());
  }
  return kExitDone;
}

}  // namespace dualmesh::node::ctl
