// weights: whose service counts how much, for the orders that share it out.
#include <spdlog/fmt/fmt.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "node/ctl/answers.h"
#include "node/ctl/client_weights.h"
#include "node/ctl/commands.h"
#include "node/ctl/json.h"
#include "node/ctl/tables.h"
#include "policies/client_weights.h"

namespace dualmesh::node::ctl {
namespace {

// A client as a person named it; `said` may be shown to that person.
struct NamedClient {
  std::string client;  // "#KEY"
  std::string said;
};

net::Result<std::vector<std::string>> lines_of(const std::string& file) {
  std::ifstream in(file);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(std::move(line));
  if (!in.eof()) return net::Error{file + ": cannot be read"};
  return lines;
}

nlohmann::ordered_json to_json(const WeightTexts& weights) {
  auto object = nlohmann::ordered_json::object();
  for (const auto& [client, weight] : weights) object[client] = std::stod(weight);
  return object;
}

std::string clients_text(std::size_t count) {
  return count == 1 ? "1 client" : count_text(count) + " clients";
}

std::string silence_of(const MeshClients& mesh) {
  return mesh.silent.empty() ? "" : "not answered: " + joined(mesh.silent);
}

// Refuses what no node knows; says on standard error who does not know the rest.
net::Result<void> check_known(const std::vector<NamedClient>& clients, const MeshClients& mesh) {
  std::vector<std::string> unknown;
  for (const NamedClient& one : clients) {
    const std::vector<std::string> strangers = mesh.strangers_at(one.client);
    if (strangers.empty()) continue;
    if (strangers.size() == mesh.nodes.size()) {
      unknown.push_back("'" + one.said + "'");
    } else {
      std::fputs(fmt::format("dualmeshctl: '{}' is no client at {}, by its files\n", one.said,
                             joined(strangers))
                     .c_str(),
                 stderr);
    }
  }
  if (unknown.empty()) return {};
  constexpr std::size_t kShown = 12;
  std::vector<std::string> tenants;
  for (const auto& [client, name] : mesh.names) {
    if (tenants.size() < kShown) tenants.push_back(name);
  }
  std::sort(tenants.begin(), tenants.end());
  if (mesh.names.size() > kShown) tenants.push_back("...");
  const std::string known = tenants.empty() ? "" : "; tenants are: " + joined(tenants);
  const std::string silence = mesh.silent.empty() ? "" : "; " + silence_of(mesh);
  return net::Error{
      fmt::format("nothing was set: no node that answered knows {}{}{}. --force sets "
                  "weights of clients that are still to come",
                  joined(unknown), known, silence)};
}

void print_weights(const MeshClients& mesh) {
  std::map<std::string, std::string> rows;  // by what is shown -> "#KEY"
  const auto add = [&](const std::string& client) { rows[mesh.name_of(client)] = client; };
  for (const auto& [client, weight] : mesh.set) add(client);
  for (const auto& [client, name] : mesh.names) add(client);
  for (const NodeClients& node : mesh.nodes) {
    for (const auto& [client, weight] : node.configured) add(client);
  }
  if (rows.empty()) {
    std::puts("every client has weight 1");
    return;
  }
  TextTable table(
      {{.title = "client", .shrink = 1}, {"weight"}, {"set"}, {.title = "files", .shrink = 2}});
  for (const auto& [shown, client] : rows) {
    const auto set = mesh.set.find(client);
    const std::string files = mesh.configured(client);
    const bool is_set = set != mesh.set.end();
    const bool differs = files.find(' ') != std::string::npos;
    table.add({shown,
               is_set    ? set->second
               : differs ? "differs"
                         : files,
               is_set ? set->second : "-", files});
  }
  std::fputs(table.render().c_str(), stdout);
  std::puts(wrapped("set: for the whole mesh (weights set, weights clear); files: as the nodes' "
                    "configurations say; all others have 1",
                    0)
                .c_str());
  if (!mesh.silent.empty()) std::puts(silence_of(mesh).c_str());
}

int change(Session& session, const policies::ClientWeights& added,
           const std::vector<std::string>& cleared, bool clear_all) {
  AdminClient& node = session.node();
  auto request = node.admin().setClientWeightsRequest();
  request.setWeights(added.text().c_str());
  request.setClearAll(clear_all);
  auto out = request.initCleared(static_cast<unsigned>(cleared.size()));
  for (unsigned i = 0; i < out.size(); ++i) {
    out.set(i, std::stoull(cleared[i].substr(1), nullptr, 16));
  }
  auto answer = node.call(kj::mv(request), "change the weights");
  return answer ? kExitDone : failed(answer.error());
}

}  // namespace

int run_weights(Session& session) {
  const auto mesh = ask_clients(session);
  if (!mesh) return failed(mesh.error());
  if (!session.json()) {
    print_weights(*mesh);
    return kExitDone;
  }
  auto files = nlohmann::ordered_json::object();
  for (const NodeClients& node : mesh->nodes) files[node.node] = to_json(node.configured);
  auto names = nlohmann::ordered_json::object();
  for (const auto& [client, name] : mesh->names) names[client] = name;
  print_json({{"weights", to_json(mesh->weights)},
              {"set", to_json(mesh->set)},
              {"files", files},
              {"tenants", names},
              {"not_answered", mesh->silent}});
  return kExitDone;
}

int run_weights_set(Session& session, const WeightsSet& asked) {
  std::vector<std::string> items = asked.items;
  std::vector<NamedClient> clients;
  for (const std::string& item : items) {
    const std::string name = item.substr(0, item.rfind('='));
    clients.push_back({client_of(name), name});
  }
  if (!asked.file.empty()) {
    const auto lines = lines_of(asked.file);
    if (!lines) return failed(lines.error());
    for (std::size_t i = 0; i < lines->size(); ++i) {
      const std::string& item = (*lines)[i];
      if (item.empty()) continue;
      items.push_back(item);
      // Not the name: files are for those that are secret.
      clients.push_back({client_of(item.substr(0, item.rfind('='))),
                         fmt::format("line {} of {}", i + 1, asked.file)});
    }
  }
  if (items.empty()) {
    return failed(net::Error{
        "no client is named; `weights clear --all` gives all clients the weights of the nodes' "
        "files again"});
  }
  policies::ClientWeights weights;
  if (const std::string problem = weights.read(items); !problem.empty()) {
    return failed(net::Error{problem});
  }
  if (!asked.force) {
    const auto mesh = ask_clients(session);
    if (!mesh) return failed(mesh.error());
    if (const auto known = check_known(clients, *mesh); !known) return failed(known.error());
  }
  if (const int status = change(session, weights, {}, false); status != kExitDone) return status;
  if (session.json()) {
    print_json({{"set", items.size()}});
  } else {
    std::puts(fmt::format("weights of {} set on all nodes, those of others stay as they "
                          "are",
                          clients_text(items.size()))
                  .c_str());
  }
  return kExitDone;
}

int run_weights_clear(Session& session, const std::vector<std::string>& names, bool all) {
  if (names.empty() != all) {
    return failed(net::Error{"name the clients whose weights are to go, or --all"});
  }
  const auto mesh = ask_clients(session);
  if (!mesh) return failed(mesh.error());
  std::vector<std::string> clients;
  for (const std::string& name : names) {
    clients.push_back(client_of(name));
    if (mesh->set.contains(clients.back())) continue;
    return failed(net::Error{"nothing was cleared: no weight is set for '" + name + "'"});
  }
  if (const int status = change(session, {}, clients, all); status != kExitDone) return status;
  const std::size_t count = all ? mesh->set.size() : clients.size();
  if (session.json()) {
    print_json({{"cleared", count}});
  } else {
    std::puts(fmt::format("weights of {} cleared on all nodes: the nodes' files count again",
                          clients_text(count))
                  .c_str());
  }
  return kExitDone;
}

}  // namespace dualmesh::node::ctl
