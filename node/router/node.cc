#include "node/router/node.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <thread>

#include "node/router/node_metrics.h"
#include "node/router/node_settings.h"
#include "policies/hits.h"

namespace dualmesh::node {
namespace {

constexpr std::chrono::milliseconds kTick{100};
constexpr std::size_t kExpirePerTick = 20'000;
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
  config.mesh = mesh_config(config);
  return config;
}

}  // namespace

Node::Node(Config config)
    : config_(completed(std::move(config))),
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
      front_door_(flow_, config_.api_keys,
                  {[this] { return not_ready_reason(); },
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
  std::unique_ptr<Node> node(new Node(std::move(config)));
  if (auto joined = node->join_mesh(); joined.has_error()) return joined.error();
  return node;
}

net::Result<void> Node::join_mesh() {
  if (auto opened = open_certificate(); opened.has_error()) return opened;
  auto started = MeshThread::start(config_.mesh, *this, *this, &kv_.port());
  if (started.has_error()) return started.error();
  mesh_ = std::move(*started);
  mesh_ready_.store(mesh_.get());
  monitor_.set_view(scheduler_.view());
  mesh_->wake();
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
  kv_.stop();
  mesh_ready_.store(nullptr);
  mesh_.reset();
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

void Node::tick() {
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

// --- questions of administrators ---

HostStatus Node::status() {
  const net::ServerStats http = server_.stats();
  const ViewPointer view = scheduler_.view();
  HostStatus status;
  status.held_body_bytes = http.held_body_bytes;
  status.open_connections = http.open_connections;
  status.draining = draining_.load();
  scheduler_.read([&](const policies::Scheduler& scheduler) {
    for (const auto& [name, model] : view->models) {
      if (scheduler.panicking(name)) status.panicking_models.push_back(name);
    }
  });
  return status;
}

policies::SchedulerTotals Node::totals() {
  return scheduler_.read([](const policies::Scheduler& scheduler) { return scheduler.totals(); });
}

std::vector<policies::QueueSnapshot> Node::queues() {
  return scheduler_.read([](const policies::Scheduler& scheduler) { return scheduler.queues(); });
}

InstanceFacts Node::facts(policies::Slot slot) {
  InstanceFacts facts = monitor_.facts(slot);
  const InstanceHealth::Verdict verdict = health_.verdict(slot);
  if (facts.healthy && !verdict.reason.empty()) {
    facts.healthy = verdict.usable();
    facts.unhealthy_reason = verdict.reason;
  }
  facts.resident_blocks = residency_.size(slot);
  const ViewPointer view = scheduler_.view();
  if (slot < view->instances.size()) {
    facts.tokens_lacking = in_words(flow_.lacks_tokens(view->instances[slot].address));
  }
  facts.engine_ranks = monitor_.engine_metrics(slot).ranks;
  return facts;
}

std::vector<policies::DecisionRecord> Node::decisions(std::size_t last) {
  return scheduler_.read(
      [last](const policies::Scheduler& scheduler) { return scheduler.decisions(last); });
}

void Node::explain(const std::string& path, std::string body, Explained done) {
  const net::Endpoint endpoint = net::endpoint_of(path);
  if (endpoint == net::Endpoint::other) {
    return done(
        net::Error{path + " is not routed by prefix; it is passed to the least loaded instance"});
  }
  net::PromptReader reader;
  auto fields = reader.read(endpoint, body, net::Tokens::wanted);
  if (fields.has_error()) return done(net::Error{fields.error().message});
  const ViewPointer view = scheduler_.view();
  if (!view->models.contains(fields->model)) {
    return done(net::Error{"no instance serves the model \"" + fields->model + "\""});
  }
  flow_.arrival_of(view, std::move(*fields), std::move(body),
                   [this, view, done = std::move(done)](const policies::Arrival& arrival,
                                                        const RankChoices& ranks) {
                     done(explanation_of(arrival, ranks, *view));
                   });
}

Explanation Node::explanation_of(const policies::Arrival& arrival, const RankChoices& ranks,
                                 const policies::FleetView& view) {
  Explanation explanation;
  explanation.decision = scheduler_.read([&](const policies::Scheduler& scheduler) {
    return scheduler.explain(arrival, scheduler_.now());
  });
  const auto model = view.models.find(arrival.model);
  if (model == view.models.end()) return explanation;
  const auto caches = flow_.knowledge().view();
  for (const policies::Slot slot : model->second.serving) {
    const policies::HitSource source = policies::hit_source(arrival, slot);
    std::uint32_t block_tokens = arrival.block_tokens;
    if (source >= policies::HitSource::degraded && caches && slot < caches->by_slot.size()) {
      block_tokens = caches->by_slot[slot].block_tokens;
    }
    Explanation::Hit hit{slot, policies::hit_tokens(arrival, slot), block_tokens, source};
    if (caches && slot < caches->by_slot.size()) hit.ranks = caches->by_slot[slot].ranks;
    if (const RankChoice* choice = ranks.at(slot)) hit.rank = choice->rank;
    explanation.hits.push_back(hit);
  }
  return explanation;
}

std::string Node::metrics() {
  return node_metrics({*scheduler_.view(), totals(), queues(), status(), server_.stats(),
                       certificate_state(), flow_.stats(), residency_.size(),
                       [this](policies::Slot slot) { return monitor_.engine_metrics(slot); },
                       [this](policies::Slot slot) { return health_.verdict(slot).state; },
                       health_.ejections()}) +
         flow_.cache_metrics() + kv_.metrics();
}

std::string Node::dump_state() {
  std::string out = fmt::format("node {}: ready {}, draining {}, live requests {}\n",
                                config_.mesh.node_name, ready(), draining_.load(), live_requests());
  out += metrics();
  out += mesh_->dump_state();
  return out;
}

}  // namespace dualmesh::node
