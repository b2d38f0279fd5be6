#include "node/router/engine_scraper.h"

#include <utility>

namespace dualmesh::node {
namespace {

constexpr std::size_t kLargestMetricsBytes = 4 * 1024 * 1024;

}  // namespace

EngineScraper::EngineScraper(net::IoThread& thread, net::HttpClient& client, Settings settings)
    : thread_(thread), client_(client), settings_(std::move(settings)) {}

void EngineScraper::watch(policies::Slot slot, const std::string& address) {
  const std::uint64_t life = ++lives_;
  {
    const std::lock_guard lock(mutex_);
    watched_[slot] = Watched{address, life};
  }
  // First questions differ in delay, which spreads them over the interval for good.
  schedule(slot, life, settings_.interval * (1 + life % 8) / 8);
}

void EngineScraper::forget(policies::Slot slot) {
  const std::lock_guard lock(mutex_);
  watched_.erase(slot);
}

EngineMetrics EngineScraper::metrics(policies::Slot slot) const {
  const std::lock_guard lock(mutex_);
  const auto found = watched_.find(slot);
  return found == watched_.end() ? EngineMetrics{} : found->second.metrics;
}

EngineScraper::Watched* EngineScraper::find(policies::Slot slot, std::uint64_t life) {
  const auto found = watched_.find(slot);
  return found != watched_.end() && found->second.life == life ? &found->second : nullptr;
}

void EngineScraper::schedule(policies::Slot slot, std::uint64_t life,
                             std::chrono::nanoseconds delay) {
  auto timer = thread_.after(delay, [this, slot, life] { ask(slot, life); });
  const std::lock_guard lock(mutex_);
  if (Watched* watched = find(slot, life)) watched->timer = std::move(timer);
}

void EngineScraper::ask(policies::Slot slot, std::uint64_t life) {
  net::HttpRequest request;
  request.method = "GET";
  request.target = "/metrics";
  if (!settings_.upstream_api_key.empty()) {
    request.headers.add("Authorization", "Bearer " + settings_.upstream_api_key);
  }
  std::string address;
  {
    const std::lock_guard lock(mutex_);
    const Watched* watched = find(slot, life);
    if (!watched) return;
    address = watched->address;
  }
  client_.fetch(address, std::move(request), settings_.timeout, kLargestMetricsBytes,
                [this, slot, life](net::ClientError error, net::HttpResponse answer) {
                  answered(slot, life, error, answer);
                });
}

void EngineScraper::answered(policies::Slot slot, std::uint64_t life, net::ClientError error,
                             const net::HttpResponse& answer) {
  EngineMetrics read;
  const bool heard = error == net::ClientError::none;
  if (heard && answer.status == 200) read = read_engine_metrics(answer.body);
  const bool has_none = heard && answer.status < 500 && !read.known();
  {
    const std::lock_guard lock(mutex_);
    Watched* watched = find(slot, life);
    if (!watched) return;
    watched->metrics = read;
  }
  schedule(slot, life, has_none ? settings_.pause_without : settings_.interval);
}

}  // namespace dualmesh::node
