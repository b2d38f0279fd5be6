#include "tests/sim/sim_cluster.h"

#include <spdlog/spdlog.h>

namespace dualmesh::sim {
namespace {

constexpr std::uint64_t kWallStartMs = 1'760'000'000'000;

void quiet_unless_asked() {
  static const bool set = [] {
    spdlog::set_level(std::getenv("DUALMESH_SIM_LOG") != nullptr ? spdlog::level::debug
                                                                 : spdlog::level::off);
    return true;
  }();
  (void)set;
}

}  // namespace

SimCluster::SimCluster(std::uint64_t seed)
    : random_(seed), scope_(loop_), network_(events_, seed ^ 0x5eed) {
  quiet_unless_asked();
}

SimCluster::~SimCluster() noexcept(false) {
  for (std::size_t i = 0; i < nodes_.size(); ++i) crash(i);
}

SimNode& SimCluster::add(const std::string& name) {
  auto added = std::make_unique<SimNode>(timers_.emplace_back(kj::origin<kj::TimePoint>()));
  added->address = name + ":7000";
  node::MeshConfig& config = added->config;
  config.node_name = name;
  config.advertise = added->address;
  config.http_advertise = name + ":8080";
  config.instances = {{"e0", "10.0.0.1:9000", {"m"}, 1.0},
                      {"e1", "10.0.0.2:9000", {"m"}, 1.0},
                      {"e2", "10.0.0.3:9000", {"m"}, 2.0}};
  for (std::size_t i = 0; i < std::min<std::size_t>(nodes_.size() + 1, 2); ++i) {
    config.seeds.push_back(i < nodes_.size() ? nodes_[i]->address : added->address);
  }
  nodes_.push_back(std::move(added));
  return *nodes_.back();
}

void SimCluster::add_many(std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) add("n" + std::to_string(i));
  for (auto& each : nodes_) {
    each->config.seeds = {nodes_[0]->address, nodes_[std::min<std::size_t>(1, count - 1)]->address};
  }
}

void SimCluster::start(std::size_t index) {
  SimNode& starting = node(index);
  ++starting.lives;
  starting.paused = false;
  starting.timer.advanceTo(events_.now());
  starting.dialer = network_.dialer_of(starting.address);
  if (starting.wrap_dialer) starting.dialer = starting.wrap_dialer(std::move(starting.dialer));
  const auto micros = [this] {
    return static_cast<std::uint64_t>((events_.now() - kj::origin<kj::TimePoint>()) /
                                      kj::MICROSECONDS);
  };
  const auto wall_ms = [micros, &starting] {
    return kWallStartMs + static_cast<std::uint64_t>(starting.clock_skew_ms) + micros() / 1000;
  };
  starting.mesh = std::make_unique<node::MeshNode>(
      starting.config,
      node::MeshEnvironment{starting.timer, *starting.dialer, wall_ms,
                            [micros] { return micros() * 1000; }, random_(), starting.kv},
      starting.host, starting.host);
  network_.listen(starting.address, [&starting](kj::Own<kj::AsyncIoStream> stream) {
    starting.mesh->accept(kj::mv(stream));
  });
  if (starting.before_start) starting.before_start(*starting.mesh);
  starting.mesh->start();
}

void SimCluster::start_all() {
  for (std::size_t i = 0; i < nodes_.size(); ++i) start(i);
}

void SimCluster::crash(std::size_t index) {
  network_.down(node(index).address);
  node(index).mesh.reset();
  resume(index);
}

void SimCluster::vanish(std::size_t index) {
  network_.vanish(node(index).address);
  node(index).mesh.reset();
  resume(index);
}

void SimCluster::pause(std::size_t index) {
  if (!node(index).runs()) return;
  node(index).paused = true;
  network_.set_paused(node(index).address, true);
}

void SimCluster::resume(std::size_t index) {
  if (!node(index).paused) return;
  node(index).paused = false;
  node(index).timer.advanceTo(events_.now());
  network_.set_paused(node(index).address, false);
}

void SimCluster::partition(const std::vector<std::size_t>& left) {
  const auto on_left = [&](std::size_t i) {
    return std::find(left.begin(), left.end(), i) != left.end();
  };
  for (std::size_t a = 0; a < nodes_.size(); ++a) {
    for (std::size_t b = a + 1; b < nodes_.size(); ++b) {
      if (on_left(a) != on_left(b)) network_.set_cut(node(a).address, node(b).address, true);
    }
  }
}

kj::TimePoint SimCluster::next_event(kj::TimePoint end) const {
  kj::TimePoint next = events_.next(end);
  for (const auto& each : nodes_) {
    if (!each->runs()) continue;
    KJ_IF_MAYBE (due, each->timer.nextEvent()) {
      next = std::min(next, *due);
    }
  }
  return next;
}

void SimCluster::advance_to(kj::TimePoint time) {
  for (auto& each : nodes_) {
    if (!each->paused) each->timer.advanceTo(std::max(time, each->timer.now()));
  }
  events_.advance_to(time);
}

void SimCluster::run_loop() {
  if (!watch_) return loop_.run();
  while (loop_.isRunnable()) {
    loop_.run(1);
    watch_();
  }
}

void SimCluster::run_for(double milliseconds) {
  const kj::TimePoint end = events_.now() + from_ms(milliseconds);
  for (;;) {
    run_loop();
    const kj::TimePoint next = next_event(end);
    if (next >= end) break;
    advance_to(next);
  }
  advance_to(end);
  run_loop();
  note_trace();
}

double SimCluster::run_until(const std::function<bool()>& condition, double at_most_ms,
                             double step_ms) {
  const double begin = now_ms();
  while (!condition()) {
    if (now_ms() - begin >= at_most_ms) return -1.0;
    run_for(step_ms);
  }
  return now_ms() - begin;
}

bool SimCluster::converged() const {
  std::uint64_t root = 0;
  std::size_t running = 0;
  for (const auto& each : nodes_) running += each->up() ? 1 : 0;
  for (const auto& each : nodes_) {
    if (!each->up()) continue;
    const std::uint64_t held = each->mesh->state().root();
    if (root == 0) root = held;
    if (held != root || each->mesh->view()->live_nodes != running) return false;
  }
  return true;
}

bool SimCluster::all_ready() const {
  return std::all_of(nodes_.begin(), nodes_.end(),
                     [](const auto& each) { return !each->up() || each->mesh->ready(); });
}

void SimCluster::note_trace() {
  for (const auto& each : nodes_) {
    const std::uint64_t root = each->up() ? each->mesh->state().root() : 0;
    trace_ = (trace_ ^ root) * 0x100000001b3ULL;
  }
  trace_ = (trace_ ^ network_.bytes_carried()) * 0x100000001b3ULL;
}

void SimCluster::change_something() {
  std::vector<SimNode*> running;
  for (auto& each : nodes_) {
    if (each->up() && !each->mesh->view()->instances.empty()) running.push_back(each.get());
  }
  if (running.empty()) return;
  const auto draw = [this](std::uint64_t below) {
    return std::uniform_int_distribution<std::uint64_t>(0, below - 1)(random_);
  };
  SimNode& chosen = *running[draw(running.size())];
  const auto slot = static_cast<policies::Slot>(draw(chosen.mesh->view()->instances.size()));
  switch (draw(10)) {
    case 0:
      chosen.mesh->change(node::SeedInstance{"x" + std::to_string(draw(6)),
                                             "10.0.1." + std::to_string(draw(200)) + ":9000",
                                             {"m"},
                                             1.0});
      return;
    case 1:
      chosen.mesh->change("e" + std::to_string(draw(3)), draw(2) == 0
                                                             ? policies::Lifecycle::draining
                                                             : policies::Lifecycle::active);
      return;
    case 2:
      chosen.mesh->set_policy(draw(2) == 0 ? "dualmap" : "round_robin");
      return;
    case 3:
      chosen.host.say_depth(draw(50), static_cast<std::uint32_t>(1 + draw(8)));
      break;
    case 4:
    case 5:
      chosen.host.say_placement(slot, {draw(1000), draw(1000), draw(1000)});
      break;
    default: {
      policies::Load load;
      load.queued_requests = static_cast<std::uint32_t>(draw(4));
      load.queued_tokens = load.queued_requests * 100;
      chosen.host.say_load(slot, load);
    }
  }
  chosen.mesh->local_changes();
}

}  // namespace dualmesh::sim
