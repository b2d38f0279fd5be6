// Views of a fleet made by hand, for tests: instances e00, e01, ... in slots 0, 1, ...
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "policies/fleet_view.h"
#include "policies/scheduler.h"

namespace dualmesh::policies {

inline std::string instance_name(std::size_t i) {
  return (i < 10 ? "e0" : "e") + std::to_string(i);
}

class FleetBuilder {
 public:
  explicit FleetBuilder(std::size_t instances, const std::string& model = "m") {
    view.settings.policy = "dualmap";  // unless a test wants another
    for (std::size_t i = 0; i < instances; ++i) add(model);
  }

  FleetBuilder& add(const std::string& model) {
    const std::size_t i = view.instances.size();
    InstanceView instance;
    instance.slot = static_cast<Slot>(i);
    instance.name = instance_name(i);
    instance.id = instance_id_of(instance.name);
    instance.lifecycle = Lifecycle::active;
    instance.models = {model};
    view.instances.push_back(instance);
    return *this;
  }

  InstanceView& operator[](std::size_t i) { return view.instances[i]; }

  std::shared_ptr<const FleetView> build() {
    ++view.generation;
    view.peers = std::make_shared<const Peers>(peers);
    view.models.clear();
    view.ring_digest = 0;
    for (const InstanceView& instance : view.instances) {
      if (instance.lifecycle == Lifecycle::removed) continue;
      for (const std::string& name : instance.models) {
        ModelView& model = view.models[name];
        model.name = name;
        model.serving.push_back(instance.slot);
        if (instance.lifecycle == Lifecycle::active) model.active.push_back(instance.slot);
      }
    }
    for (auto& [name, model] : view.models) {
      std::vector<RingMember> members;
      for (const Slot slot : model.active) {
        members.push_back({view.instances[slot].id, slot, view.instances[slot].weight});
      }
      const RingParameters ring;
      model.ring_a = Ring(members, ring.seed_a, ring.points_per_weight);
      model.ring_b = Ring(members, ring.seed_b, ring.points_per_weight);
      model.ring_digest = model.ring_a.digest() ^ model.ring_b.digest();
      view.ring_digest += model.ring_digest;
    }
    return std::make_shared<const FleetView>(view);
  }

  FleetView view;  // but for its peers
  Peers peers;
};

// A chain of blocks named by numbers: equal leading numbers are an equal prefix.
inline PromptChain chain_of(const std::vector<std::uint64_t>& blocks) {
  PromptChain chain;
  std::uint64_t key = 17;
  for (const std::uint64_t block : blocks) {
    key = key * 0x9e3779b97f4a7c15 + block + 1;
    chain.blocks.push_back(key);
  }
  chain.whole = key;
  chain.bytes = blocks.size() * 2048;
  return chain;
}

inline constexpr std::uint32_t kBlock = 512;  // tokens

inline Arrival arrival_of(RequestId id, const std::vector<std::uint64_t>& blocks,
                          std::vector<std::uint32_t> hit_blocks = {}) {
  Arrival arrival;
  arrival.id = id;
  arrival.model = "m";
  arrival.chain = chain_of(blocks);
  arrival.input_tokens = static_cast<std::uint32_t>(blocks.size() * kBlock);
  arrival.hit_tokens = std::move(hit_blocks);
  for (std::uint32_t& hit : arrival.hit_tokens) hit *= kBlock;
  return arrival;
}

}  // namespace dualmesh::policies
