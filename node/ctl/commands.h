// The commands of dualmeshctl, one function each; main.cc reads the command line and calls one.
//
// Each prints its answer to standard output, a failure to standard error, and returns the exit
// status of node/ctl/session.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "node/ctl/session.h"

namespace dualmesh::node::ctl {

// commands_mesh.cc
int run_status(Session& session);
int run_members(Session& session);
int run_rings(Session& session);
int run_policy(Session& session);
int run_policy_set(Session& session, const std::string& policy);
int run_metrics(Session& session);
int run_drain(Session& session);

// commands_weights.cc
int run_weights(Session& session);
struct WeightsSet {  // names do not leave this program
  std::vector<std::string> items;  // NAME=WEIGHT or #KEY=WEIGHT each
  std::string file;                // more, a line each; empty: none
  bool force = false;              // also of clients that no node knows
};
int run_weights_set(Session& session, const WeightsSet& asked);
int run_weights_clear(Session& session, const std::vector<std::string>& names, bool all);

// commands_instances.cc
struct InstanceChange {
  wire::InstanceAction action = wire::InstanceAction::ADD;
  std::string name;
  std::string address;
  std::vector<std::string> models;
  double weight = 1.0;
  std::string kv_events;
  bool wait = false;  // of a drain: until no live node has a request there
  std::uint32_t timeout_ms = 300'000;
};
int run_instances(Session& session);
int run_instance_change(Session& session, const InstanceChange& change);
int wait_drained(Session& session, const InstanceChange& change);  // drain_wait.cc

// commands_convergence.cc
int run_lag(Session& session);
int run_wait_converged(Session& session, std::uint32_t timeout_ms);

// commands_keys.cc
// A key from standard input, or a new one, hashed for the configuration. Asks no node.
int run_hash_key(Session& session, bool make_new);

// commands_kv.cc
// An instance, INSTANCE/RANK, or all where it is empty.
int run_kv(Session& session, const std::string& instance);

// commands_watch.cc
struct WatchQuery {
  std::uint32_t interval_ms = 1'000;
  bool once = false;
};
int run_watch(Session& session, const WatchQuery& query);

// commands_diff.cc; nodes by name, or by mesh address
// `stream` as lag names it, or a kind of stream; empty: all.
int run_diff(Session& session, const std::string& a, const std::string& b,
             const std::string& stream);

// commands_requests.cc
struct ExplainQuery {
  std::string prompt_file;
  std::string model;
  std::string path;
};
int run_explain(Session& session, const ExplainQuery& query);
// `id`: that decision alone; 0: the last ones.
int run_decisions(Session& session, std::uint32_t last, std::uint64_t id);

}  // namespace dualmesh::node::ctl
