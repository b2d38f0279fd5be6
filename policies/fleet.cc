#include "policies/fleet.h"

#include <algorithm>

namespace dualmesh::policies {

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
  find_panic();
}

bool Fleet::set_health(Slot slot, bool healthy, std::uint32_t trial) {
  if (slot >= instances_.size()) return false;
  InstanceState& instance = instances_[slot];
  if (instance.healthy == healthy && instance.trial == trial) return false;
  instance.healthy = healthy;
  instance.trial = trial;
  find_panic();
  return true;
}

void Fleet::find_panic() {
  models_.clear();
  for (const auto& [name, model] : view_->models) {
    const auto dead = std::count_if(model.serving.begin(), model.serving.end(),
                                    [&](Slot slot) { return !instances_[slot].healthy; });
    const bool whole = std::any_of(model.active.begin(), model.active.end(), [&](Slot slot) {
      return instances_[slot].healthy && instances_[slot].trial == 0;
    });
    models_.push_back({&model, 2 * static_cast<std::size_t>(dead) > model.serving.size(), !whole});
  }
}

const ModelState* Fleet::model(const std::string& name) const {
  const auto found = view_->models.find(name);
  if (found == view_->models.end() || found->second.serving.empty()) return nullptr;
  return &models_[static_cast<std::size_t>(found - view_->models.begin())];
}

const Load& Fleet::others(Slot slot) const {
  static const Load kNone;
  return slot < view_->instances.size() ? view_->instances[slot].others : kNone;
}

const std::vector<Waiting>& Fleet::others_waiting(Slot slot) const {
  static const std::vector<Waiting> kNone;
  return slot < view_->instances.size() ? view_->instances[slot].others_waiting : kNone;
}

Time Fleet::lapse(Slot slot) const {
  if (others(slot).prefilling_requests == 0) return {};
  return view_->instances[slot].others_busy_until + kDoubt;
}

std::uint32_t Fleet::running(Slot slot, Time now) const {
  const std::uint32_t own = instances_[slot].own.prefilling_requests;
  return now < lapse(slot) ? own + others(slot).prefilling_requests : own;
}

Time Fleet::free_at(Slot slot, Time now) const {
  Time at = now;
  if (instances_[slot].own.prefilling_requests > 0) at = std::max(at, instances_[slot].busy_until);
  if (now < lapse(slot)) at = std::max(at, view_->instances[slot].others_busy_until);
  return at;
}

double Fleet::decoding_uncached_tokens(Slot slot) const {
  const InstanceState& instance = instances_[slot];
  const std::uint32_t own = instance.own.decoding_requests;
  if (own == 0) return static_cast<double>(others(slot).decoding_tokens);  // at most
  return static_cast<double>(instance.decoding_uncached_tokens) * decoding_requests(slot) / own;
}

double Fleet::prefill_s_per_token(Slot slot) const {
  if (slot < view_->instances.size() && view_->instances[slot].prefill_s_per_token > 0) {
    return view_->instances[slot].prefill_s_per_token;
  }
  return settings_.learn_prefill_cost ? instances_[slot].prefill.s_per_token()
                                      : settings_.prefill_s_per_token;
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
