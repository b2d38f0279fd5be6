#include "policies/fleet.h"

#include <algorithm>

namespace dualmesh::policies {

const Load Fleet::kNobody{};

Fleet::Fleet(const SchedulerSettings& settings)
    : settings_(settings), view_([&] {
        auto empty = std::make_shared<FleetView>();
        empty->settings = {settings.policy, settings.queue, settings.slo_ttft_s,
                           settings.client_weights};
        return empty;
      }()) {}

void Fleet::set_view(std::shared_ptr<const FleetView> view, Time now) {
  const auto known = std::min(view_->instances.size(), view->instances.size());
  for (std::size_t i = 0; i < known; ++i) {
    const Load& before = view_->instances[i].others;
    if (view->instances[i].others.prefilling_requests < before.prefilling_requests) {
      instances_[i].prefill_ended = now;
    }
  }
  view_ = std::move(view);
  while (instances_.size() < view_->instances.size()) {
    instances_.emplace_back(settings_.prefill_s_per_token);
  }
  others_pending_.assign(instances_.size(), 0);
  for (std::size_t i = 0; i < view_->instances.size(); ++i) {
    others_pending_[i] = view_->instances[i].others.pending_tokens();
  }
  judge();
}

bool Fleet::set_health(Slot slot, bool healthy, std::uint32_t trial) {
  if (slot >= instances_.size()) return false;
  InstanceState& instance = instances_[slot];
  if (instance.healthy == healthy && instance.trial == trial) return false;
  instance.healthy = healthy;
  instance.trial = trial;
  judge();
  return true;
}

void Fleet::judge() {
  bounded_ = settings_.max_requests > 0 || settings_.max_waiting > 0;
  standing_.assign(view_->instances.size(), Standing::none);
  for (std::size_t slot = 0; slot < standing_.size(); ++slot) {
    const InstanceView& instance = view_->instances[slot];
    if (instance.slot != slot || instance.lifecycle != Lifecycle::active) continue;
    standing_[slot] = instances_[slot].healthy ? Standing::healthy : Standing::active;
    bounded_ |= instances_[slot].trial > 0;
  }
  // More than half of those that serve a model look dead: panic.
  models_.clear();
  for (const auto& [name, model] : view_->models) {
    const auto dead = std::count_if(model.serving.begin(), model.serving.end(),
                                    [&](Slot slot) { return !instances_[slot].healthy; });
    const bool whole = std::any_of(model.active.begin(), model.active.end(), [&](Slot slot) {
      return instances_[slot].healthy && instances_[slot].trial == 0;
    });
    const bool panicking = 2 * static_cast<std::size_t>(dead) > model.serving.size();
    ModelState& state = models_.emplace_back(ModelState{&model, panicking, !whole, {}});
    for (const Slot slot : model.active) {
      if (serves(slot, panicking)) state.serving_now.push_back(slot);
    }
  }
}

const ModelState* Fleet::model(const std::string& name) const {
  const auto found = view_->models.find(name);
  if (found == view_->models.end() || found->second.serving.empty()) return nullptr;
  return &models_[static_cast<std::size_t>(found - view_->models.begin())];
}

const std::vector<Waiting>& Fleet::others_waiting(Slot slot) const {
  static const std::vector<Waiting> kNone;
  return slot < view_->instances.size() ? view_->instances[slot].others_waiting : kNone;
}

double Fleet::decoding_uncached_tokens(Slot slot) const {
  const InstanceState& instance = instances_[slot];
  const std::uint32_t own = instance.own.decoding_requests;
  if (own == 0) return static_cast<double>(others(slot).decoding_tokens);  // at most
  return static_cast<double>(instance.decoding_uncached_tokens) * decoding_requests(slot) / own;
}

bool Fleet::over_threshold(Slot slot, std::uint64_t extra_tokens) const {
  const auto tokens = static_cast<double>(pending_tokens(slot) + extra_tokens);
  return tokens * prefill_s_per_token(slot) > threshold_s();
}

bool Fleet::waited_too_long(Slot slot, Time now) const {
  const double limit_s = settings_.overload_wait_s;
  const RequestQueue& queue = instances_[slot].queue;
  if (!queue.empty() && to_seconds(now - queue.oldest()) >= limit_s) return true;
  return others(slot).head_wait_ms >= limit_s * 1000;
}

}  // namespace dualmesh::policies
