#include "node/ctl/client_weights.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>

#include "node/ctl/answers.h"
#include "node/ctl/tables.h"
#include "policies/client_weights.h"

namespace dualmesh::node::ctl {
namespace {

using ClientWeightsResults = wire::Admin::ClientWeightsResults;

NodeClients read_node(const std::string& node, ClientWeightsResults::Reader answer,
                      std::map<std::string, std::string>& names) {
  NodeClients read{.node = node,
                   .configured = weight_texts(answer.getConfigured().cStr()),
                   .known = {},
                   .anybody = answer.getAnybody()};
  for (const auto& [client, weight] : read.configured) read.known.insert(client);
  for (const std::uint64_t key : answer.getKeys()) {
    read.known.insert(policies::client_key_text(key));
  }
  for (const std::string& name : texts(answer.getTenants())) {
    const std::string client = client_of(name);
    read.known.insert(client);
    names[client] = name;
  }
  return read;
}

}  // namespace

std::string client_of(std::string_view name) {
  return name.starts_with('#') ? std::string(name)
                               : policies::client_key_text(policies::client_key(name));
}

WeightTexts weight_texts(std::string_view text) {
  WeightTexts weights;
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    const std::size_t at = item.find('=');
    weights.emplace(item.substr(0, at), item.substr(at + 1));
  }
  return weights;
}

std::vector<std::string> MeshClients::strangers_at(const std::string& client) const {
  std::vector<std::string> strangers;
  for (const NodeClients& node : nodes) {
    if (!node.anybody && !node.known.contains(client)) strangers.push_back(node.node);
  }
  return strangers;
}

std::string MeshClients::name_of(const std::string& client) const {
  const auto name = names.find(client);
  return name == names.end() ? client : name->second;
}

std::string MeshClients::configured(const std::string& client) const {
  std::vector<std::string> said;
  std::set<std::string> different;
  for (const NodeClients& node : nodes) {
    const auto weight = node.configured.find(client);
    const std::string text = weight == node.configured.end() ? "1" : weight->second;
    different.insert(text);
    said.push_back(fmt::format("{} {}", node.node, text));
  }
  return different.size() == 1 ? *different.begin() : joined(said);
}

net::Result<MeshClients> ask_clients(Session& session) {
  AdminClient& asked = session.node();
  const auto own = asked.call(asked.admin().clientWeightsRequest(), "read the weights");
  if (!own) return own.error();
  MeshClients mesh{.weights = weight_texts(own->getWeights().cStr()),
                   .set = weight_texts(own->getSet().cStr()),
                   .nodes = {},
                   .silent = {},
                   .names = {}};
  std::vector<DeadNode> dead;
  const auto nodes = session.live_nodes(&dead);
  if (!nodes) return nodes.error();
  for (const DeadNode& node : dead) mesh.silent.push_back(node.name);
  std::vector<PendingCall<ClientWeightsResults>> calls;
  for (const LiveNode& node : *nodes) {
    AdminClient& client = session.client(node.mesh_address);
    calls.push_back(client.send(client.admin().clientWeightsRequest(), "read the weights"));
  }
  for (std::size_t i = 0; i < calls.size(); ++i) {
    const std::string& name = (*nodes)[i].name;
    if (const auto answer = calls[i].wait()) {
      mesh.nodes.push_back(read_node(name, *answer, mesh.names));
    } else {
      mesh.silent.push_back(name);
    }
  }
  return mesh;
}

}  // namespace dualmesh::node::ctl
