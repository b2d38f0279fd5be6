#include "node/mesh/admin_changes.h"

#include <kj/exception.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "node/mesh/admin_server.h"
#include "node/mesh/handshake.h"
#include "node/mesh/mesh_node.h"

namespace dualmesh::node {
namespace {

constexpr std::size_t kLongestLine = 256;  // the rest is cut off anyhow

std::string key_of(std::string_view client) {
  return policies::client_key_text(policies::client_key(client));
}

// As dualmeshctl writes clients. Anything else may be an API key in clear.
bool is_key(std::string_view client) {
  return client.size() == key_of("").size() && client.front() == '#' &&
         client.find_first_not_of("0123456789abcdef", 1) == std::string_view::npos;
}

std::string who_is(const net::IncomingPeer& caller) {
  const auto& identity = caller.identity();
  if (!identity) return caller.from() + " (no certificate)";
  std::string names;
  for (const std::string& name : identity->names) names += (names.empty() ? "" : ", ") + name;
  if (names.empty()) names = "a certificate without a name";
  return fmt::format("{} at {}", cut_text(names), caller.from());
}

SeedInstance instance_of(wire::Admin::ChangeInstanceParams::Reader asked) {
  SeedInstance instance{text_of(asked.getName()),
                        text_of(asked.getAddress()),
                        {},
                        asked.getWeight(),
                        text_of(asked.getKvEvents())};
  if (instance.weight == 0.0) instance.weight = 1.0;
  for (auto model : asked.getModels()) instance.models.push_back(text_of(model));
  return instance;
}

std::string described(const SeedInstance& instance) {
  std::string text = fmt::format("instance add {} {}", instance.name, instance.address);
  if (instance.weight != 1.0) text += fmt::format(" --weight {}", instance.weight);
  for (const std::string& model : instance.models) text += " --model " + model;
  if (!instance.kv_events.empty()) text += " --kv-events " + instance.kv_events;
  return text;
}

}  // namespace

AdminChanges::AdminChanges(MeshNode& node, const net::IncomingPeer& caller)
    : node_(node), who_(who_is(caller)) {}

void AdminChanges::done(const std::string& what, const net::Result<void>& result) const {
  if (result) return spdlog::info("admin: {}: {}", who_, cut_text(what));
  spdlog::info("admin: {}: {}: refused: {}", who_, cut_text(what),
               cut_text(result.error().message));
  // The exception's description is what dualmeshctl prints.
  kj::throwRecoverableException(kj::Exception(kj::Exception::Type::FAILED, __FILE__, __LINE__,
                                              kj::str(result.error().message.c_str())));
}

void AdminChanges::change_instance(wire::Admin::ChangeInstanceParams::Reader asked,
                                   wire::Admin::ChangeInstanceResults::Builder out) {
  const std::string name = text_of(asked.getName());
  const auto before = node_.registry().find(name);
  switch (asked.getAction()) {
    case wire::InstanceAction::ADD: {
      const SeedInstance instance = instance_of(asked);
      done(described(instance), node_.change(instance));
      break;
    }
    case wire::InstanceAction::DRAIN:
      done("instance drain " + name, node_.change(name, policies::Lifecycle::draining));
      break;
    case wire::InstanceAction::RESUME:
      done("instance resume " + name, node_.change(name, policies::Lifecycle::active));
      break;
    case wire::InstanceAction::REMOVE:
      done("instance remove " + name, node_.change(name, policies::Lifecycle::removed));
      break;
    default:
      done("a change of instance " + name, net::Error{"unknown action"});
  }
  if (!before) return;
  out.setBefore(to_string(before->lifecycle));
  const bool removed = before->lifecycle == policies::Lifecycle::removed;
  if (!removed) out.setKvEventsBefore(before->kv_events);
}

void AdminChanges::set_policy(const std::string& policy) {
  done("policy set " + policy, node_.set_policy(policy));
}

// As the log calls a client: the name of a tenant, the hash of anybody else's.
std::string AdminChanges::name_of(const std::string& client) const {
  for (const std::string& tenant : node_.admin_host().clients().tenants) {
    if (key_of(tenant) == client) return tenant;
  }
  return client;
}

std::string AdminChanges::names_in(std::string_view weights) const {
  std::string text;
  while (!weights.empty()) {
    const std::string_view item = weights.substr(0, weights.find(','));
    weights.remove_prefix(std::min(weights.size(), item.size() + 1));
    const std::size_t at = std::min(item.rfind('='), item.size());
    const std::string client(item.substr(0, at));
    text +=
        fmt::format(" {}{}", name_of(is_key(client) ? client : key_of(client)), item.substr(at));
    if (text.size() > kLongestLine) break;
  }
  return text;
}

void AdminChanges::set_client_weights(wire::Admin::SetClientWeightsParams::Reader asked) {
  MeshNode::WeightChange change{
      .weights = text_of(asked.getWeights()), .cleared = {}, .clear_all = asked.getClearAll()};
  std::string what;
  for (const std::uint64_t client : asked.getCleared()) {
    change.cleared.push_back(client);
    if (what.size() > kLongestLine) continue;
    what += (what.empty() ? "weights clear " : " ") + name_of(policies::client_key_text(client));
  }
  if (change.clear_all) what = "weights clear --all";
  if (!change.weights.empty())
    what += (what.empty() ? "" : ", ") + ("weights set" + names_in(change.weights));
  done(what.empty() ? "weights set of nobody" : what, node_.change_client_weights(change));
}

void AdminChanges::drain() {
  done("drain");
  node_.admin_host().drain();
}

}  // namespace dualmesh::node
