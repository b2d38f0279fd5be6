// Measures a running mesh from outside: how long a change takes until the scheduler of the last
// node has read it, and how long until all nodes hold equal rings.
//
//   bench_mesh_probe propagation --nodes A,B,... --trials 400
//   bench_mesh_probe rings       --nodes A,B,... --trials 100 --address HOST:PORT
//   bench_mesh_probe kv-steps    --nodes A,B,... --instances a,b,...
//
// The last says when each node's index had which batches of which instance, from the first question
// on: {instance: [[[batches, ns], ...] of each node]}.
//
// Each node notes the time on CLOCK_MONOTONIC when its scheduler had what changed, so the nodes
// must run on the machine of the probe. Prints one JSON object with every latency in milliseconds;
// a change that never reached a node counts as `lost`.
#include <time.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "node/ctl/admin_client.h"

namespace dualmesh {
namespace {

using node::ctl::AdminClient;
using Clients = std::vector<std::unique_ptr<AdminClient>>;

std::uint64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(now.tv_nsec);
}

double ms_between(std::uint64_t from_ns, std::uint64_t to_ns) {
  return (static_cast<double>(to_ns) - static_cast<double>(from_ns)) / 1e6;
}

template <class T>
T require(net::Result<T> result) {
  if (result.has_error()) {
    std::fprintf(stderr, "bench_mesh_probe: %s\n", result.error().message.c_str());
    std::exit(2);
  }
  return std::move(*result);
}

nlohmann::json summary(const std::vector<double>& latencies_ms, std::size_t lost) {
  return {{"latencies_ms", latencies_ms}, {"lost", lost}, {"trials", latencies_ms.size() + lost}};
}

// Written and read through the path of real load: admin.capnp setBeacon.
nlohmann::json propagation(Clients& clients, std::size_t trials, std::mt19937& random) {
  struct Change {
    std::string writer;
    std::uint64_t written_ns = 0;
    std::uint64_t last_read_ns = 0;
    std::size_t readers = 0;
  };
  std::vector<std::string> names;
  for (auto& client : clients) {
    auto status = require(client->call(client->admin().statusRequest(), "read the status"));
    names.emplace_back(status.getStatus().getName().cStr());
  }
  std::map<std::uint64_t, Change> changes;
  std::uniform_int_distribution<std::uint32_t> pause_ms(40, 80);
  for (std::size_t trial = 1; trial <= trials; ++trial) {
    const std::size_t writer = trial % clients.size();
    auto request = clients[writer]->admin().setBeaconRequest();
    request.setValue(trial);
    auto answer = require(clients[writer]->call(std::move(request), "write a beacon"));
    changes[trial] = {names[writer], answer.getAtNs(), 0, 0};
    clients[writer]->sleep_ms(pause_ms(random));
  }
  clients[0]->sleep_ms(1'000);
  for (std::size_t reader = 0; reader < clients.size(); ++reader) {
    auto answer =
        require(clients[reader]->call(clients[reader]->admin().beaconsRequest(), "read beacons"));
    for (auto seen : answer.getSeen()) {
      const auto change = changes.find(seen.getValue());
      if (change == changes.end() || names[reader] == change->second.writer) continue;
      if (change->second.writer != seen.getNode().cStr()) continue;
      change->second.last_read_ns = std::max(change->second.last_read_ns, seen.getAtNs());
      ++change->second.readers;
    }
  }
  std::vector<double> latencies_ms;
  std::size_t lost = 0;
  for (const auto& [value, change] : changes) {
    if (change.readers + 1 < clients.size()) {
      ++lost;
    } else {
      latencies_ms.push_back(ms_between(change.written_ns, change.last_read_ns));
    }
  }
  return summary(latencies_ms, lost);
}

// Alternately adds and removes an instance, each time at another node.
nlohmann::json rings(Clients& clients, std::size_t trials, const std::string& address,
                     std::mt19937& random) {
  std::vector<std::uint64_t> issued_ns;
  std::uniform_int_distribution<std::uint32_t> pause_ms(150, 250);
  for (std::size_t trial = 0; trial < trials; ++trial) {
    auto& client = *clients[trial % clients.size()];
    auto request = client.admin().changeInstanceRequest();
    request.setAction(trial % 2 == 0 ? wire::InstanceAction::ADD : wire::InstanceAction::REMOVE);
    request.setName("joins-and-leaves");
    request.setAddress(address);
    request.initModels(1).set(0, "sim");
    request.setWeight(1.0);
    issued_ns.push_back(monotonic_ns());
    require(client.call(std::move(request), "change an instance"));
    client.sleep_ms(pause_ms(random));
  }
  clients[0]->sleep_ms(1'000);
  issued_ns.push_back(monotonic_ns());

  struct Agreement {
    std::string digest;
    std::uint64_t last_ns = 0;
    std::size_t nodes = 0;
    bool equal = true;
  };
  std::vector<Agreement> agreements(trials);
  for (auto& client : clients) {
    auto answer = require(client->call(client->admin().ringsRequest(), "read the rings"));
    std::vector<std::pair<std::string, std::uint64_t>> last(trials);
    for (auto change : answer.getRings().getChanges()) {
      const auto next = std::upper_bound(issued_ns.begin(), issued_ns.end(), change.getAtNs());
      if (next == issued_ns.begin() || next == issued_ns.end()) continue;
      last[static_cast<std::size_t>(next - issued_ns.begin()) - 1] = {change.getDigest().cStr(),
                                                                      change.getAtNs()};
    }
    for (std::size_t trial = 0; trial < trials; ++trial) {
      if (last[trial].second == 0) continue;
      Agreement& agreement = agreements[trial];
      if (agreement.nodes++ == 0) agreement.digest = last[trial].first;
      agreement.equal = agreement.equal && agreement.digest == last[trial].first;
      agreement.last_ns = std::max(agreement.last_ns, last[trial].second);
    }
  }
  std::vector<double> latencies_ms;
  std::size_t lost = 0;
  for (std::size_t trial = 0; trial < trials; ++trial) {
    const Agreement& agreement = agreements[trial];
    if (agreement.nodes == clients.size() && agreement.equal) {
      latencies_ms.push_back(ms_between(issued_ns[trial], agreement.last_ns));
    } else {
      ++lost;
    }
  }
  return summary(latencies_ms, lost);
}

nlohmann::json kv_steps(Clients& clients, const std::vector<std::string>& instances) {
  nlohmann::json all = nlohmann::json::object();
  for (const std::string& instance : instances) {
    for (auto& client : clients) {
      auto request = client->admin().kvStepsRequest();
      request.setInstance(instance);
      auto answer = require(client->call(std::move(request), "read the times of batches"));
      nlohmann::json steps = nlohmann::json::array();
      for (auto step : answer.getSteps()) steps.push_back({step.getEnd(), step.getAtNs()});
      all[instance].push_back(std::move(steps));
    }
  }
  return all;
}

}  // namespace
}  // namespace dualmesh

int main(int argc, char** argv) {
  CLI::App app{"Measures a running mesh from outside"};
  std::vector<std::string> nodes;
  std::string address;
  std::size_t trials = 100;
  auto* propagation = app.add_subcommand("propagation", "one load change until the last scheduler");
  auto* rings = app.add_subcommand("rings", "one registry change until all rings are equal");
  auto* kv_steps = app.add_subcommand("kv-steps", "when the indexes had batches of KV events");
  app.require_subcommand(1);
  for (auto* command : {propagation, rings, kv_steps}) {
    command->add_option("--nodes", nodes, "mesh addresses")->required()->delimiter(',');
  }
  for (auto* command : {propagation, rings}) command->add_option("--trials", trials);
  std::vector<std::string> instances;
  kv_steps->add_option("--instances", instances)->required()->delimiter(',');
  rings->add_option("--address", address, "of the instance that joins and leaves")->required();
  CLI11_PARSE(app, argc, argv);

  dualmesh::node::ctl::AdminIo io;
  dualmesh::Clients clients;
  for (const std::string& node : nodes) {
    clients.push_back(std::make_unique<dualmesh::AdminClient>(node, io));
  }
  std::mt19937 random(1);
  nlohmann::json result;
  if (propagation->parsed()) result = dualmesh::propagation(clients, trials, random);
  if (rings->parsed()) result = dualmesh::rings(clients, trials, address, random);
  if (kv_steps->parsed()) result = dualmesh::kv_steps(clients, instances);
  std::printf("%s\n", result.dump().c_str());
}
