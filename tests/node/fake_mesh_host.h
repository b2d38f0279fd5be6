// Stands in for a node's request path: collects what the mesh tells it, says what the test set.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <set>

#include "node/mesh/mesh_host.h"

namespace dualmesh::node {

class FakeMeshHost : public MeshHost, public AdminHost {
 public:
  // The test's side; from any thread.
  void say_load(policies::Slot slot, policies::Load load) {
    std::lock_guard lock(mutex_);
    changes_.loads.emplace_back(slot, load);
  }
  void say_health(policies::Slot slot, bool healthy) {
    std::lock_guard lock(mutex_);
    changes_.health.emplace_back(slot, healthy);
  }
  void say_placement(policies::Slot slot, std::vector<policies::BlockKey> blocks) {
    std::lock_guard lock(mutex_);
    changes_.placements.push_back({slot, std::move(blocks)});
  }
  void say_depth(policies::BlockKey key, std::uint32_t deeper) {
    std::lock_guard lock(mutex_);
    changes_.depth.push_back({key, deeper});
  }
  std::shared_ptr<const policies::FleetView> view() const {
    std::lock_guard lock(mutex_);
    return view_;
  }
  bool ready() const {
    std::lock_guard lock(mutex_);
    return ready_;
  }
  std::string why_not() const {
    std::lock_guard lock(mutex_);
    return why_not_;
  }
  // Oldest first, as an index would have touched them.
  std::vector<policies::BlockKey> learned_in_order(policies::Slot slot) const {
    std::lock_guard lock(mutex_);
    auto held = order_.find(slot);
    return held == order_.end() ? std::vector<policies::BlockKey>{} : held->second;
  }
  std::set<policies::BlockKey> learned(policies::Slot slot) const {
    std::lock_guard lock(mutex_);
    auto held = learned_.find(slot);
    return held == learned_.end() ? std::set<policies::BlockKey>{} : held->second;
  }
  std::uint64_t lessons() const {  // blocks told, repeated ones too
    std::lock_guard lock(mutex_);
    return lessons_;
  }
  std::optional<policies::InstanceView> instance(const std::string& name) const {
    std::lock_guard lock(mutex_);
    if (!view_) return std::nullopt;
    for (const auto& instance : view_->instances) {
      if (instance.name == name) return instance;
    }
    return std::nullopt;
  }

  // MeshHost
  void take_local_changes(LocalChanges& out) override {
    std::lock_guard lock(mutex_);
    out = std::move(changes_);
    changes_ = LocalChanges{};
  }
  void view_changed(std::shared_ptr<const policies::FleetView> view) override {
    std::lock_guard lock(mutex_);
    view_ = std::move(view);
  }
  void placements_learned(policies::Slot slot,
                          std::span<const policies::BlockKey> blocks) override {
    std::lock_guard lock(mutex_);
    lessons_ += blocks.size();
    learned_[slot].insert(blocks.begin(), blocks.end());
    // As the index takes them: the first is the most recently used.
    order_[slot].insert(order_[slot].end(), blocks.rbegin(), blocks.rend());
  }
  void readiness_changed(bool ready, const std::string& why_not) override {
    std::lock_guard lock(mutex_);
    ready_ = ready;
    why_not_ = why_not;
  }

  // AdminHost
  HostStatus status() override { return {}; }
  policies::SchedulerTotals totals() override { return {}; }
  std::vector<policies::QueueSnapshot> queues() override { return {}; }
  InstanceFacts facts(policies::Slot) override { return {}; }
  std::vector<policies::DecisionRecord> decisions(std::size_t) override { return {}; }
  void explain(const std::string&, std::string, Explained done) override {
    done(net::Error{"nothing to explain"});
  }
  std::string metrics() override { return ""; }
  void drain() override {}
  policies::Time now() override { return policies::Time{0}; }

 private:
  mutable std::mutex mutex_;
  LocalChanges changes_;
  std::shared_ptr<const policies::FleetView> view_;
  std::map<policies::Slot, std::set<policies::BlockKey>> learned_;
  std::map<policies::Slot, std::vector<policies::BlockKey>> order_;
  std::uint64_t lessons_ = 0;
  bool ready_ = false;
  std::string why_not_;
};

}  // namespace dualmesh::node
