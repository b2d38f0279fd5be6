#include "node/router/node.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <random>
#include <thread>

#include "node/mesh/ring_generation.h"
#include "node/router/node_settings.h"

namespace dualmesh::node {
namespace {

constexpr std::chrono::milliseconds kTick{100};
constexpr std::size_t kExpirePerTick = 20'000;
constexpr std::chrono::minutes kWrongProtocolsInterval{1};
constexpr std::uint32_t kLeaveTimeout_ms = 2'000;

std::size_t thread_count(std::uint32_t wanted) {
  return wanted > 0 ? wanted : std::clamp(std::thread::hardware_concurrency(), 1u, 255u);
}

net::HostPort host_port(const std::string& address) {
  net::HostPort parsed;
  if (!address.empty()) {
    DUALMESH_CHECK(net::split_destination(address, parsed, net::PortZero::allowed), "address {}",
                   address);
  }
  return parsed;
}

Config completed(Config config) {
  if (const auto directory = make_directory(config.identity)) {
    const std::vector<std::string>& weights = directory->weights();
    config.client_weights.insert(config.client_weights.end(), weights.begin(), weights.end());
  }
  config.mesh = mesh_config(config);
  return config;
}

void warn_of_open_doors(const Config& config) {
  if (!config.identity.api_keys.empty()) {
    spdlog::warn("http.api_keys: {} keys in clear; dualmeshctl hash-key makes [[tenant]] keys",
                 config.identity.api_keys.size());
  }
  for (const std::string& listen : {config.http_listen, config.http_tls_listen}) {
    if (!config.metrics_token.empty() || net::is_loopback(host_port(listen).host)) continue;
    if (listen.empty()) continue;
    spdlog::warn("http.metrics_token: empty, and {} is beyond loopback: whoever reaches it may "
                 "read /metrics",
                 listen);
  }
}

}  // namespace

Node::Node(Config config, std::unique_ptr<AccessLog> access_log)
    : own_weights_(config.client_weights),
      config_(completed(std::move(config))),
      access_log_(std::move(access_log)),
      io_threads_(thread_count(config_.io_threads)),
      scheduler_(scheduler_settings(config_), io_threads_, monotonic_now),
      residency_(residency_limits(config_)),
      health_(io_threads_.at(0), health_settings(config_), monotonic_now,
              [this](policies::Slot slot) { tell_scheduler(scheduler_, health_, slot); }),
      monitor_(io_threads_.at(0), monitor_settings(config_),
               {[this](policies::Slot slot, bool healthy) { health_changed(slot, healthy); },
                [this](policies::Slot slot) { cache_lost(slot); },
                [this](const std::string& instance, std::vector<std::string> models) {
                  if (auto* mesh = mesh_ready_.load()) {
                    mesh->models_found(instance, std::move(models));
                  }
                },
                [this](ModelKinds kinds) { flow_.knowledge().set_kinds(std::move(kinds)); }}),
      flow_(
          io_threads_, scheduler_, health_, residency_, flow_settings(config_),
          [this](policies::Slot slot, net::ClientError error) { monitor_.failed(slot, error); },
          [this] { wake_mesh(); }),
      tenants_(config_.identity,
               [this](const std::vector<std::string>& weights) { use_weights(weights); }),
      front_door_(flow_, tenants_, front_door_settings(),
                  {[this] { return readiness(); },
                   [this] { return metrics() + mesh_ready_.load()->metrics(); },
                   [this] { return merge_models(*scheduler_.view(), monitor_.listed_models()); }}),
      server_(io_threads_, config_.http_limits,
              [this](std::shared_ptr<net::Exchange> exchange) {
                front_door_.handle(std::move(exchange));
              },
              [this](const net::HttpRequest& head, net::IoThread& thread) {
                return front_door_.head(head, thread);
              }),
      peers_(io_threads_.at(0), "mesh name", host_port(config_.mesh_dns),
             std::chrono::seconds(config_.mesh_dns_interval_s),
             [this](std::vector<std::string> addresses) {
               mesh_ready_.load()->peers_found(std::move(addresses));
             }),
      instances_(io_threads_.at(0), "instances name", host_port(config_.instances_dns),
                 std::chrono::seconds(config_.instances_dns_interval_s),
                 [this](std::vector<std::string> addresses) {
                   std::vector<SeedInstance> found;
                   for (const std::string& address : addresses) found.push_back({address, address});
                   mesh_ready_.load()->instances_found(std::move(found));
                 }),
      kv_(config_, flow_, [this] {
        if (auto* mesh = mesh_ready_.load()) mesh->kv_waiting();
      }) {
  chain_ = flow_.settings().chain;
  scheduler_.on_load_changed([this] { wake_mesh(); });
}

net::Result<std::unique_ptr<Node>> Node::start(Config config) {
  std::unique_ptr<AccessLog> access_log;
  if (!config.access_file.empty()) {
    auto opened = AccessLog::open({.file = config.access_file,
                                   .node = mesh_config(config).node_name,
                                   .lanes = thread_count(config.io_threads),
                                   .waiting_records = config.access_waiting_records});
    if (opened.has_error()) return net::Error{"log.access_file: " + opened.error().message};
    access_log = std::move(*opened);
  }
  std::unique_ptr<Node> node(new Node(std::move(config), std::move(access_log)));
  if (auto joined = node->join_mesh(); joined.has_error()) return joined.error();
  return node;
}

FrontDoor::Settings Node::front_door_settings() {
  const auto wall_us = [] {
    return std::chrono::duration_cast<std::chrono::microseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  };
  const auto seed = [] {
    std::random_device device;
    return (std::uint64_t{device()} << 32) | device();
  };
  return {config_.metrics_token, io_threads_.count(), seed,
          {access_log_.get(), monotonic_now, wall_us}, answers_of_nobody_};
}

net::Result<void> Node::join_mesh() {
  if (auto opened = open_certificate(); opened.has_error()) return opened;
  auto started = MeshThread::start(config_.mesh, *this, *this, &kv_.port());
  if (started.has_error()) return started.error();
  mesh_ = std::move(*started);
  mesh_ready_.store(mesh_.get());
  monitor_.set_view(scheduler_.view());
  mesh_->wake();
  warn_of_open_doors(config_);
  tenants_.watch();
  if (!config_.mesh_dns.empty()) peers_.start();
  if (!config_.instances_dns.empty()) instances_.start();
  io_threads_.at(0).post([this] {
    tick();
    if (certificate_) watch_certificate();
    open_listeners();  // the mesh may have been ready before it could be asked
  });
  spdlog::info("node {} of cluster {}: mesh on {}, {} I/O threads", config_.mesh.node_name,
               config_.mesh.cluster, config_.mesh.listen, io_threads_.count());
  return {};
}

Node::~Node() {
  // First the threads stop, those that use the mesh before the mesh; then the parts go in the
  // reverse of their making.
  io_threads_.stop();
  tenants_.stop();
  kv_.stop();
  mesh_ready_.store(nullptr);
  mesh_.reset();
}

// Of tenants, whose file has changed.
void Node::use_weights(const std::vector<std::string>& of_tenants) {
  MeshThread* mesh = mesh_ready_.load();
  if (!mesh) return;  // the first are in config_
  std::vector<std::string> all = own_weights_;
  all.insert(all.end(), of_tenants.begin(), of_tenants.end());
  policies::ClientWeights weights;
  if (const std::string problem = weights.read(all); !problem.empty()) {
    return spdlog::error("tenants: their weights stay as they were: {}", problem);
  }
  mesh->set_configured_weights(std::move(weights));
}

void Node::wake_mesh() {
  if (auto* mesh = mesh_ready_.load()) mesh->wake();
}

// --- what the mesh takes and tells ---

void Node::take_local_changes(LocalChanges& out) {
  scheduler_.take_load_changes(out.loads, out.depth);
  residency_.take_placements(out.placements);
  const std::lock_guard lock(mutex_);
  out.health.insert(out.health.end(), untold_health_.begin(), untold_health_.end());
  untold_health_.clear();
}

void Node::view_changed(ViewPointer view) {
  if (view->chain != chain_) {
    chain_ = view->chain;
    flow_.set_chain(chain_);
    residency_.forget_all();  // its keys match nothing any more
  }
  scheduler_.set_view(view);
  // Most views differ in their loads only, which concerns nobody else.
  if (std::exchange(roster_, view->roster) == view->roster) return;
  health_.set_view(*view);
  flow_.knowledge().rank_load().forget_all_but(*view);
  kv_.view_changed(view);
  // What the monitor finds goes to the mesh, so it begins when that can be called (join_mesh).
  if (mesh_ready_.load()) monitor_.set_view(std::move(view));
}

void Node::placements_learned(policies::Slot slot, std::span<const policies::BlockKey> blocks) {
  residency_.placed_elsewhere(slot, blocks, scheduler_.now());
}

void Node::readiness_changed(bool ready, const std::string& why_not) {
  if (ready) {
    spdlog::info("ready");
  } else {
    spdlog::info("not ready: {}", why_not);
  }
  {
    const std::lock_guard lock(mutex_);
    why_not_ready_ = why_not;
  }
  ready_.store(ready);
  if (ready) io_threads_.at(0).post([this] { open_listeners(); });
}

// An instance is back: perhaps another engine, surely with nothing cached.
void Node::cache_lost(policies::Slot slot) {
  residency_.forget(slot);
  health_.renewed(slot);
  const ViewPointer view = scheduler_.view();
  if (slot >= view->instances.size()) return;
  flow_.predictions().forget(view->instances[slot].name);
  flow_.knowledge().rank_load().forget(view->instances[slot].id);
  kv_.was_away(view->instances[slot].name);
}

void Node::health_changed(policies::Slot slot, bool healthy) {
  health_.probed(slot, healthy);
  {
    const std::lock_guard lock(mutex_);
    untold_health_.emplace_back(slot, healthy);
  }
  if (!healthy) flow_.instance_unhealthy(slot);
  if (!healthy) kv_.missed(*scheduler_.view(), slot);
  wake_mesh();
}

// --- readiness, draining ---

void Node::drain() {
  if (draining_.exchange(true)) return;
  io_threads_.at(0).post([this] { begin_draining(); });
}

void Node::begin_draining() {
  spdlog::info("draining: {} requests in flight, at most {} s", live_requests(),
               config_.drain_timeout_s);
  server_.close_listener();
  mesh_ready_.load()->set_draining();
  drain_until_ = scheduler_.now() + std::chrono::seconds(config_.drain_timeout_s);
  idle_told_at_ = scheduler_.now() + net::HttpServer::closing_grace;
  check_drained();
}

// A client that is set up wrongly comes again and again: told at most once a minute.
void Node::tell_wrong_protocols() {
  const policies::Time at = scheduler_.now();
  if (at < wrong_.next) return;
  const net::ServerStats http = server_.stats();
  if (http.refused_tls > wrong_.tls) {
    spdlog::warn("http: {} connections spoke TLS to http.listen, which has none: use http://{}",
                 http.refused_tls - wrong_.tls,
                 config_.http_tls_listen.empty() ? "" : ", or the port of http.tls.listen");
  }
  if (http.refused_plain_text > wrong_.plain_text) {
    spdlog::warn("http: {} connections spoke HTTP without TLS to http.tls.listen: use https://",
                 http.refused_plain_text - wrong_.plain_text);
  }
  if (http.refused_tls + http.refused_plain_text == wrong_.tls + wrong_.plain_text) return;
  wrong_ = {http.refused_tls, http.refused_plain_text, at + kWrongProtocolsInterval};
}

void Node::tick() {
  tell_wrong_protocols();
  scheduler_.enter([](policies::Scheduler& scheduler, policies::Time at,
                      policies::Effects& effects) { scheduler.tick(at, effects); });
  residency_.expire(scheduler_.now(), kExpirePerTick);
  tick_timer_ = io_threads_.at(0).after(kTick, [this] {
    tick();
    if (draining_.load() && drain_until_.count() > 0) check_drained();
  });
}

// Connections that were open go on being served, also while the mesh is told goodbye: only a node
// that has been idle from one tick to the next stops.
void Node::check_drained() {
  const bool idle = live_requests() == 0 && server_.stats().held_requests == 0;
  const bool was_idle = std::exchange(was_idle_, idle);
  const policies::Time at = scheduler_.now();
  if (!idle && at < drain_until_) return;
  if (!idle && !aborted_) {
    spdlog::warn("draining took too long: breaking off {} requests", live_requests());
    aborted_ = true;
    flow_.abort_all();
    drain_until_ = at + std::chrono::seconds(1);  // for the last answers to leave
    return;
  }
  if (!leaving_) return leave_mesh();
  if (left_ && (was_idle || !idle) && at > idle_told_at_) stopped(0);
}

void Node::leave_mesh() {
  leaving_ = true;
  mesh_ready_.load()->leave(kLeaveTimeout_ms,
                            [this] { io_threads_.at(0).post([this] { left_ = true; }); });
}

void Node::stopped(int exit_status) {
  exit_status_.store(exit_status);
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  changed_.notify_all();
}

bool Node::wait_stopped(std::chrono::milliseconds at_most) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, at_most, [this] { return stopped_; });
}

std::string Node::not_ready_reason() const {
  if (draining_.load()) return "draining";
  if (ready_.load()) return {};
  const std::lock_guard lock(mutex_);
  return why_not_ready_;
}

std::uint16_t Node::mesh_port() const { return mesh_->port(); }

}  // namespace dualmesh::node
