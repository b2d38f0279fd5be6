// What the nodes of a mesh know of clients and their weights, put together for `weights`.
//
// Clients go by "#KEY", as policies/client_weights.h writes them: names are hashed before they
// leave the command. Threads: plain values.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "net/error.h"
#include "node/ctl/session.h"

namespace dualmesh::node::ctl {

using WeightTexts = std::map<std::string, std::string>;  // "#KEY" -> weight

struct NodeClients {
  std::string node;
  WeightTexts configured;
  std::set<std::string> known;  // tenants, keys of no tenant, and whom its weights name
  bool anybody = false;         // no key is asked for, so every name may be a client's
};

struct MeshClients {
  WeightTexts weights;  // in effect at the node that was asked
  WeightTexts set;      // for the whole mesh, as that node has it
  std::vector<NodeClients> nodes;
  std::vector<std::string> silent;           // nodes that did not answer
  std::map<std::string, std::string> names;  // "#KEY" -> name, of tenants

  // Nodes that do not know the client, by name.
  std::vector<std::string> strangers_at(const std::string& client) const;
  std::string name_of(const std::string& client) const;  // "#KEY" where there is no name
  // What the nodes' files say: one weight, or "NODE WEIGHT, ..." where they differ.
  std::string configured(const std::string& client) const;
};

// "#KEY" of a client's name, which may be "#KEY" itself.
std::string client_of(std::string_view name);
WeightTexts weight_texts(std::string_view text);  // "#KEY=WEIGHT,..."

net::Result<MeshClients> ask_clients(Session& session);

}  // namespace dualmesh::node::ctl
