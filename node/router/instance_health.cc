#include "node/router/instance_health.h"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace dualmesh::node {

using policies::OutlierSign;
using policies::Slot;
using State = policies::CircuitBreaker::State;

InstanceHealth::InstanceHealth(net::IoThread& thread, Settings settings, Clock clock,
                               std::function<void(Slot)> changed)
    : thread_(thread),
      settings_(std::move(settings)),
      clock_(std::move(clock)),
      changed_(std::move(changed)),
      outliers_(settings_.outliers) {}

void InstanceHealth::set_view(const policies::FleetView& view) {
  const std::lock_guard lock(mutex_);
  for (auto it = watched_.begin(); it != watched_.end();) {
    const bool stays = it->first < view.instances.size() &&
                       view.instances[it->first].lifecycle != policies::Lifecycle::removed;
    if (!stays) outliers_.forget(it->first);
    it = stays ? std::next(it) : watched_.erase(it);
  }
  for (const policies::InstanceView& instance : view.instances) {
    if (instance.slot == policies::kNoSlot || instance.lifecycle == policies::Lifecycle::removed) {
      continue;
    }
    watched_.try_emplace(instance.slot, settings_.trial_requests).first->second.name =
        instance.name;
    outliers_.watch(instance.slot);
  }
  models_.clear();
  for (const auto& [name, model] : view.models) models_.push_back(model.active);
}

InstanceHealth::Watched* InstanceHealth::find(Slot slot) {
  const auto found = watched_.find(slot);
  return found != watched_.end() ? &found->second : nullptr;
}

void InstanceHealth::probed(Slot slot, bool healthy) {
  {
    const std::lock_guard lock(mutex_);
    // The monitor may have a view that is newer than ours.
    Watched& watched = watched_.try_emplace(slot, settings_.trial_requests).first->second;
    outliers_.watch(slot);
    watched.probed_well = healthy;
  }
  changed_(slot);
}

void InstanceHealth::renew(Slot slot, Watched& watched) {
  outliers_.forget(slot);
  outliers_.watch(slot);
  if (watched.breaker.state() == State::closed) return;
  watched.breaker.close();
  watched.reason.clear();
}

void InstanceHealth::renewed(Slot slot) {
  {
    const std::lock_guard lock(mutex_);
    Watched* watched = find(slot);
    if (!watched) return;
    renew(slot, *watched);
  }
  changed_(slot);
}

InstanceHealth::Era InstanceHealth::sent(Slot slot) const {
  if (!any_tripped_.load(std::memory_order_relaxed)) return 0;
  const std::lock_guard lock(mutex_);
  const auto found = watched_.find(slot);
  return found != watched_.end() ? found->second.breaker.era() : 0;
}

void InstanceHealth::answered(Slot slot, Era sent_in) {
  if (!any_tripped_.load(std::memory_order_relaxed)) return;
  {
    const std::lock_guard lock(mutex_);
    Watched* watched = find(slot);
    if (!watched || !watched->breaker.answered(sent_in)) return;
    outliers_.readmit(slot, clock_());
    watched->reason.clear();
    spdlog::info("instance {} answers again: it takes requests as before", watched->name);
  }
  changed_(slot);
}

void InstanceHealth::ended(Slot slot, Era sent_in, policies::Answered how,
                           const std::string& what) {
  policies::Time wakes{};
  {
    const std::lock_guard lock(mutex_);
    Watched* watched = find(slot);
    if (!watched) return;
    const policies::Time now = clock_();
    const OutlierSign sign = outliers_.observe(slot, how, now);
    const bool again = how != policies::Answered::well && watched->breaker.failed_trial(sent_in);
    if (sign == OutlierSign::none && !again) return;
    const std::string why = again ? "failed again when it was tried: " + what
                            : sign == OutlierSign::failures_in_a_row
                                ? fmt::format("{} failures in a row, the last: {}",
                                              settings_.outliers.failures_in_a_row, what)
                                : "fails more often than the others, lately: " + what;
    if (!eject(slot, *watched, why, now)) return;
    wakes = watched->breaker.open_until();
  }
  changed_(slot);
  wake_later(slot, wakes);
}

bool InstanceHealth::eject(Slot slot, Watched& watched, const std::string& why,
                           policies::Time now) {
  if (watched.breaker.state() == State::closed && !somebody_else(slot)) return false;
  const auto rest = outliers_.eject(slot, now);
  if (!rest) return false;
  watched.breaker.trip(now, *rest);
  watched.reason = why;
  any_tripped_.store(true, std::memory_order_relaxed);
  ejections_.fetch_add(1, std::memory_order_relaxed);
  spdlog::warn("instance {} is ejected for {} s: {}", watched.name, policies::to_seconds(*rest),
               why);
  return true;
}

bool InstanceHealth::somebody_else(Slot slot) const {
  const auto is_well = [&](Slot other) {
    const auto found = watched_.find(other);
    return other != slot && found != watched_.end() && found->second.probed_well &&
           found->second.breaker.state() == State::closed;
  };
  return std::ranges::all_of(models_, [&](const std::vector<Slot>& active) {
    return std::ranges::find(active, slot) == active.end() || std::ranges::any_of(active, is_well);
  });
}

void InstanceHealth::wake_later(Slot slot, policies::Time at) {
  thread_.post([this, slot, at] {
    timers_[slot] = thread_.after(at - clock_(), [this, slot] { wake(slot); });
  });
}

void InstanceHealth::wake(Slot slot) {
  {
    const std::lock_guard lock(mutex_);
    Watched* watched = find(slot);
    if (!watched || watched->breaker.state() != State::open) return;
    if (!watched->breaker.wake(clock_())) return wake_later(slot, watched->breaker.open_until());
    spdlog::info("instance {} is tried again, with {} requests at a time", watched->name,
                 watched->breaker.trial_requests());
  }
  changed_(slot);
}

void tell_scheduler(SharedScheduler& scheduler, const InstanceHealth& health, Slot slot) {
  scheduler.enter([&](policies::Scheduler& inner, policies::Time now, policies::Effects& effects) {
    const InstanceHealth::Verdict verdict = health.verdict(slot);
    inner.set_health(slot, verdict.usable(), now, effects, verdict.trial);
  });
}

InstanceHealth::Verdict InstanceHealth::verdict(Slot slot) const {
  const std::lock_guard lock(mutex_);
  const auto found = watched_.find(slot);
  if (found == watched_.end()) return {};
  const Watched& watched = found->second;
  if (!watched.probed_well) return {Verdict::State::unwell, 0, {}};
  switch (watched.breaker.state()) {
    case State::closed:
      break;
    case State::open:
      return {Verdict::State::ejected, 0, "ejected: " + watched.reason};
    case State::half_open:
      return {Verdict::State::on_trial, watched.breaker.trial_requests(),
              fmt::format("on trial, {} of {} answered, after: {}", watched.breaker.answers(),
                          watched.breaker.trial_requests(), watched.reason)};
  }
  return {};
}

}  // namespace dualmesh::node
