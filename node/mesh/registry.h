// Registry: the inference instances of the mesh, typed, over the table of last-writer-wins fields.
//
// Who may say what:
//  config   writes its fields with the smallest stamp, the same on every node: equal configurations
//           converge, and whatever an administrator said outranks them, also across restarts.
//  DNS      likewise, and only for addresses that no instance has, removed ones included: a removal
//           outranks discovery, and a look-up that no longer lists an instance removes nobody.
//  admin    stamps of the hybrid clock: the last command that could see the others wins.
//           `remove` is a value; adding the name again revives it.
//  /v1/models  fills `learned_models`, which counts where nobody configured models.
//
// A node that has just started may look a name up before it has heard of the mesh's instances, so
// the rule for DNS holds when the table is read as well: a record from DNS counts as removed while
// another record has its address.
//
// At most max_instances names are in use at a time, removed ones apart; beyond it a command is
// refused and a seed left out.
//
// Invariant: records() is a pure function of the table.
// Threads: none; the mesh thread's.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "net/error.h"
#include "node/mesh/mesh_config.h"
#include "node/mesh/shared_state.h"

namespace dualmesh::node {

struct InstanceRecord {
  std::string name;
  std::string address;
  std::vector<std::string> models;  // configured, else learned
  double weight = 1.0;
  policies::Lifecycle lifecycle = policies::Lifecycle::removed;
  std::string source;
  std::string kv_events;
};

const char* to_string(policies::Lifecycle lifecycle);

class Registry {
 public:
  explicit Registry(SharedState& state) : state_(state) {}

  void configured(std::span<const SeedInstance> instances);
  // What to tell people when `key` is ours by configuration and the mesh holds another value that
  // is a configuration's too; empty otherwise.
  std::string lost_seed(const net::FieldKey& key) const;
  void discovered(std::span<const SeedInstance> instances);
  void models_found(const std::string& name, const std::vector<std::string>& models,
                    std::uint64_t wall_ms);

  // Administrator. The messages are for people.
  net::Result<void> add(const SeedInstance& instance, std::uint64_t wall_ms);
  net::Result<void> set_lifecycle(const std::string& name, policies::Lifecycle lifecycle,
                                  std::uint64_t wall_ms);

  std::vector<InstanceRecord> records() const;  // by name; those with an address
  std::optional<InstanceRecord> find(const std::string& name) const;

 private:
  void seed(const SeedInstance& instance, const char* source, std::uint64_t seed_ms);
  void write(const std::string& name, InstanceField field, crdt::Stamp stamp, std::string value);
  const std::string* value(const std::string& name, InstanceField field) const;

  SharedState& state_;
  std::map<net::FieldKey, std::string> configured_;  // as our own configuration says
  bool told_full_ = false;
};

}  // namespace dualmesh::node
