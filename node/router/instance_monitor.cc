#include "node/router/instance_monitor.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <limits>

namespace dualmesh::node {
namespace {

constexpr std::size_t kLargestHealthBytes = 64 * 1024;
constexpr std::size_t kLargestModelsBytes = 4 * 1024 * 1024;
constexpr std::uint32_t kAtOnce = std::numeric_limits<std::uint32_t>::max() / 2;

}  // namespace

InstanceMonitor::InstanceMonitor(net::IoThread& thread, Settings settings, Hooks hooks)
    : thread_(thread),
      settings_(std::move(settings)),
      hooks_(std::move(hooks)),
      client_(thread, net::HttpClient::Limits{}),
      scraper_(thread, client_,
               {.interval = settings_.metrics_interval,
                .upstream_api_key = settings_.upstream_api_key}) {}

void InstanceMonitor::set_view(ViewPointer view) {
  thread_.post([this, view = std::move(view)] { adopt(view); });
}

void InstanceMonitor::adopt(const ViewPointer& view) {
  if (view->generation < generation_) return;  // overtaken on its way here
  generation_ = view->generation;
  forget_all_but(*view);
  for (const policies::InstanceView& instance : view->instances) {
    if (instance.slot == policies::kNoSlot || instance.lifecycle == policies::Lifecycle::removed) {
      continue;
    }
    std::vector<std::string> models = instance.models;
    std::ranges::sort(models);
    watch(instance, models);
  }
}

void InstanceMonitor::forget_all_but(const policies::FleetView& view) {
  const std::lock_guard lock(mutex_);
  for (auto it = watched_.begin(); it != watched_.end();) {
    const bool stays = it->first < view.instances.size() &&
                       view.instances[it->first].lifecycle != policies::Lifecycle::removed;
    if (!stays) scraper_.forget(it->first);
    it = stays ? std::next(it) : watched_.erase(it);
  }
}

void InstanceMonitor::watch(const policies::InstanceView& instance,
                            const std::vector<std::string>& models) {
  bool moved = false;
  std::uint64_t life = 0;
  {
    const std::lock_guard lock(mutex_);
    const auto [it, is_new] = watched_.try_emplace(instance.slot);
    Watched& watched = it->second;
    watched.models = models;
    if (!is_new && watched.address == instance.address) return;
    moved = !is_new;
    life = ++lives_;
    watched = Watched{instance.name, instance.address, models, life};
  }
  if (moved) hooks_.cache_lost(instance.slot);
  hooks_.health_changed(instance.slot, true);
  // First probes differ in delay, which spreads them over the interval for good.
  schedule_probe(instance.slot, life, settings_.probe_interval * (life % 8) / 8);
  schedule_models(instance.slot, life, std::chrono::nanoseconds(0));
  scraper_.watch(instance.slot, instance.address);
}

InstanceMonitor::Watched* InstanceMonitor::find(policies::Slot slot, std::uint64_t life) {
  const auto found = watched_.find(slot);
  return found != watched_.end() && found->second.life == life ? &found->second : nullptr;
}

void InstanceMonitor::schedule_probe(policies::Slot slot, std::uint64_t life,
                                     std::chrono::nanoseconds delay) {
  auto timer = thread_.after(delay, [this, slot, life] { probe(slot, life); });
  const std::lock_guard lock(mutex_);
  if (Watched* watched = find(slot, life)) watched->probe_timer = std::move(timer);
}

void InstanceMonitor::schedule_models(policies::Slot slot, std::uint64_t life,
                                      std::chrono::nanoseconds delay) {
  auto timer = thread_.after(delay, [this, slot, life] { ask_models(slot, life); });
  const std::lock_guard lock(mutex_);
  if (Watched* watched = find(slot, life)) watched->models_timer = std::move(timer);
}

net::HttpRequest InstanceMonitor::get(const std::string& target) const {
  net::HttpRequest request;
  request.method = "GET";
  request.target = target;
  if (!settings_.upstream_api_key.empty()) {
    request.headers.add("Authorization", "Bearer " + settings_.upstream_api_key);
  }
  return request;
}

// Unless a status is asked for, a server that has no such path is alive, too.
bool InstanceMonitor::is_well(int status) const {
  return settings_.health_status > 0 ? status == static_cast<int>(settings_.health_status)
                                     : status < 500;
}

void InstanceMonitor::probe(policies::Slot slot, std::uint64_t life) {
  std::string address;
  {
    const std::lock_guard lock(mutex_);
    const Watched* watched = find(slot, life);
    if (!watched) return;
    address = watched->address;
  }
  const policies::Time started = monotonic_now();
  client_.fetch(address, get(settings_.health_path), settings_.probe_timeout, kLargestHealthBytes,
                [this, slot, life, started](net::ClientError error, net::HttpResponse answer) {
                  if (error == net::ClientError::local) {
                    // Nobody has been asked.
                  } else if (error != net::ClientError::none) {
                    missed(slot, life, 1,
                           "GET " + settings_.health_path + ": " + net::to_string(error));
                  } else if (!is_well(answer.status)) {
                    missed(slot, life, 1,
                           fmt::format("GET {}: status {}", settings_.health_path, answer.status));
                  } else {
                    answered(slot, life);
                  }
                  const auto used = monotonic_now() - started;
                  schedule_probe(slot, life,
                                 std::max<std::chrono::nanoseconds>(settings_.probe_interval - used,
                                                                    std::chrono::milliseconds(1)));
                });
}

void InstanceMonitor::ask_models(policies::Slot slot, std::uint64_t life) {
  std::string address;
  {
    const std::lock_guard lock(mutex_);
    const Watched* watched = find(slot, life);
    if (!watched) return;
    address = watched->address;
  }
  client_.fetch(address, get("/v1/models"), settings_.probe_timeout, kLargestModelsBytes,
                [this, slot, life](net::ClientError error, net::HttpResponse answer) {
                  if (error == net::ClientError::none && answer.status == 200) {
                    models_answered(slot, life, answer);
                  } else if (error == net::ClientError::none) {
                    models_failed(slot, life, "status " + std::to_string(answer.status));
                  } else if (error == net::ClientError::timeout ||
                             error == net::ClientError::too_large ||
                             error == net::ClientError::malformed) {
                    models_failed(slot, life, net::to_string(error));
                  }  // else nobody is there, which /health tells
                  schedule_models(slot, life, models_pause(slot, life));
                });
}

// As long as the mesh knows no model of it, an instance gets no requests: ask again soon.
std::chrono::nanoseconds InstanceMonitor::models_pause(policies::Slot slot, std::uint64_t life) {
  const std::lock_guard lock(mutex_);
  const Watched* watched = find(slot, life);
  const bool unknown = watched && watched->models.empty();
  return unknown ? std::min<std::chrono::nanoseconds>(settings_.probe_interval,
                                                      settings_.models_interval)
                 : settings_.models_interval;
}

void InstanceMonitor::models_answered(policies::Slot slot, std::uint64_t life,
                                      const net::HttpResponse& answer) {
  auto listed = parse_models(answer.body);
  if (!listed) return models_failed(slot, life, "not a list of models");
  std::vector<std::string> ids;
  for (const ListedModel& model : *listed) ids.push_back(model.id);
  std::ranges::sort(ids);
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  std::string name;
  bool differs = false;
  {
    const std::lock_guard lock(mutex_);
    Watched* watched = find(slot, life);
    if (!watched) return;
    watched->listed = std::move(*listed);
    watched->models_trouble.clear();
    watched->settled = watched->models;
    name = watched->name;
    differs = ids != watched->models;
  }
  tell_kinds();
  if (differs && !ids.empty()) hooks_.models_found(name, std::move(ids));
}

// Told once per change: an instance of which no model is known gets no request.
void InstanceMonitor::models_failed(policies::Slot slot, std::uint64_t life, std::string why) {
  {
    const std::lock_guard lock(mutex_);
    Watched* watched = find(slot, life);
    if (!watched) return;
    watched->settled = watched->models;
    if (watched->models_trouble != why) {
      spdlog::warn("instance {} ({}): GET /v1/models: {}", watched->name, watched->address, why);
    }
    watched->models_trouble = std::move(why);
  }
  tell_kinds();
}

void InstanceMonitor::tell_kinds() {
  ModelKinds kinds;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [slot, each] : watched_) {
      for (const ListedModel& model : each.listed) kinds[model.id] |= model.adapter;
    }
    for (const auto& [slot, each] : watched_) {
      for (const std::string& model : each.settled) kinds.try_emplace(model, false);
    }
    if (kinds == kinds_) return;
    kinds_ = kinds;
  }
  if (hooks_.kinds_found) hooks_.kinds_found(std::move(kinds));
}

void InstanceMonitor::failed(policies::Slot slot, net::ClientError error) {
  if (error != net::ClientError::connect && error != net::ClientError::resolve) return;
  std::uint64_t life = 0;
  {
    const std::lock_guard lock(mutex_);
    const auto found = watched_.find(slot);
    if (found == watched_.end()) return;
    life = found->second.life;
  }
  missed(slot, life, kAtOnce, std::string("request: ") + net::to_string(error));
}

void InstanceMonitor::missed(policies::Slot slot, std::uint64_t life, std::uint32_t misses,
                             std::string reason) {
  {
    const std::lock_guard lock(mutex_);
    Watched* watched = find(slot, life);
    if (!watched) return;
    watched->answers = 0;
    watched->misses = std::min(watched->misses + misses, kAtOnce);
    if (!watched->healthy || watched->misses < settings_.unhealthy_after) return;
    watched->healthy = false;
    watched->reason = reason;
    spdlog::warn("instance {} ({}) is unhealthy: {}", watched->name, watched->address, reason);
  }
  hooks_.health_changed(slot, false);
}

void InstanceMonitor::answered(policies::Slot slot, std::uint64_t life) {
  {
    const std::lock_guard lock(mutex_);
    Watched* watched = find(slot, life);
    if (!watched) return;
    watched->misses = 0;
    if (watched->healthy || ++watched->answers < settings_.healthy_after) return;
    watched->healthy = true;
    watched->reason.clear();
    watched->answers = 0;
    spdlog::info("instance {} ({}) is healthy again", watched->name, watched->address);
  }
  hooks_.cache_lost(slot);
  hooks_.health_changed(slot, true);
  schedule_models(slot, life, std::chrono::nanoseconds(0));
}

InstanceFacts InstanceMonitor::facts(policies::Slot slot) const {
  const std::lock_guard lock(mutex_);
  const auto found = watched_.find(slot);
  InstanceFacts facts;
  if (found != watched_.end()) {
    facts.healthy = found->second.healthy;
    facts.unhealthy_reason = found->second.reason;
    if (facts.healthy && !found->second.models_trouble.empty()) {
      facts.unhealthy_reason = "GET /v1/models: " + found->second.models_trouble;
    }
  }
  return facts;
}

std::vector<std::vector<ListedModel>> InstanceMonitor::listed_models() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::vector<ListedModel>> by_slot;
  for (const auto& [slot, watched] : watched_) {
    by_slot.resize(slot + 1u);
    by_slot[slot] = watched.listed;
  }
  return by_slot;
}

}  // namespace dualmesh::node
