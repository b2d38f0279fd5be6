#include "tests/node/lifecycle/world.h"

#include <algorithm>

#include "policies/token_chain.h"
#include "tests/node/lifecycle/test_clock.h"

namespace dualmesh::node::testing {
namespace {

using Ask = Scene::Ask;
using policies::Lifecycle;
using std::chrono::seconds;

constexpr std::uint32_t kBlock = 16;

std::string request_of(Ask ask, std::size_t client) {
  const std::string prompt(600 + 100 * client, static_cast<char>('a' + client));
  const auto post = [](std::string_view target, const std::string& body) {
    return "POST " + std::string(target) +
           " HTTP/1.1\r\nHost: node\r\nContent-Type: application/json\r\nContent-Length: " +
           std::to_string(body.size()) + "\r\n\r\n" + body;
  };
  switch (ask) {
    case Ask::stream:
      return post("/v1/chat/completions", chat_body("m", prompt, true));
    case Ask::whole:
      return post("/v1/completions", R"({"model":"m","prompt":")" + prompt + "\"}");
    case Ask::pass_through:
      return post("/v1/audio", R"({"model":"m","input":")" + prompt + "\"}");
    case Ask::get:
      break;
  }
  return "GET /v1/files HTTP/1.1\r\nHost: node\r\n\r\n";
}

FlowSettings settings_of(const Scene& scene) {
  FlowSettings settings = TestRouter::default_settings();
  settings.upstream_timeouts = {seconds(2), seconds(40), seconds(30)};
  settings.upstream_pool.idle_time = seconds(60);
  settings.queue_timeout = seconds(30);
  settings.tokens.ask = scene.events;
  return settings;
}

net::ServerLimits limits_of(const Scene& scene) {
  net::ServerLimits limits;
  limits.head_timeout = seconds(15);
  limits.body_timeout = limits.write_timeout = seconds(20);
  if (scene.tight) {
    limits.held_requests = 2;
    limits.held_body_bytes = 1'500;
    limits.connections = 3;
  }
  return limits;
}

}  // namespace

const std::vector<Scene>& scenes() {
  static const std::vector<Scene> all = {
      {.name = "default"},
      {.name = "moving",
       .policy = "dualmap@vtc",
       .clients = {Ask::stream, Ask::stream, Ask::stream, Ask::stream},
       .slo_ttft_s = 0.09},
      {.name = "hops",
       .policy = "selective_push",
       .clients = {Ask::stream, Ask::whole},
       .peer = true},
      {.name = "events", .clients = {Ask::stream, Ask::whole}, .events = true},
      {.name = "passing", .clients = {Ask::pass_through, Ask::get}},
      {.name = "tight",
       .policy = "d2lpm",
       .clients = {Ask::stream, Ask::whole, Ask::pass_through},
       .tight = true},
  };
  return all;
}

World::World(const Scene& given) : scene(given) {
  lifecycle.fill(Lifecycle::active);
  for (const Ask ask : scene.clients) {
    TestClientPeer& client = clients.emplace_back();
    client.ask = ask;
    client.request = request_of(ask, clients.size() - 1);
  }
  router_ = std::make_unique<TestRouter>(view(), settings_of(scene), IdentitySettings{}, 1,
                                         InstanceHealth::Settings(), limits_of(scene));
  router_->on_exchange = [this](const std::shared_ptr<net::Exchange>& exchange) {
    exchanges_.push_back(exchange);
  };
  if (scene.events) publish_caches();
  loop_.emplace(router_->threads);
}

World::~World() = default;

// Two ranks each; the second rank of the first instance has what the tokenizers answer.
void World::publish_caches() {
  KvView known;
  known.index = &index_;
  known.caches.push_back({});
  for (std::uint32_t i = 0; i < kInstances * 2; ++i) {
    known.caches.push_back({static_cast<policies::Slot>(i / 2), i % 2, policies::HitSource::exact,
                            kBlock, false, i / 2 + 1});
  }
  known.derive();
  router_->flow.knowledge().set_kinds({{"m", false}});
  router_->flow.knowledge().publish(std::make_shared<const KvView>(known));
  std::vector<policies::TokenId> ids;
  for (policies::TokenId id = 0; id < 64; ++id) ids.push_back(id);
  std::vector<policies::BlockKey> keys;
  policies::token_chain(policies::token_root(kBlock, {}, {}), kBlock, ids, keys);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    index_.add(keys[i], 2, policies::Medium::gpu, static_cast<std::uint16_t>(i));
  }
}

ViewPointer World::view() const {
  std::vector<ViewInstance> instances;
  for (std::size_t i = 0; i < kInstances; ++i) {
    instances.push_back({"e" + std::to_string(i), upstreams[i].address(), {"m"}, lifecycle[i]});
  }
  auto view =
      std::make_shared<policies::FleetView>(*make_view(instances, std::string(scene.policy)));
  view->settings.slo_ttft_s = scene.slo_ttft_s;
  if (scene.peer) {
    view->peers = std::make_shared<const policies::Peers>(
        policies::Peers{{"n2", upstreams[kPeer].address(), {0, 1}}});
  }
  return view;
}

bool World::look() {
  bool news = false;
  for (TestUpstream& upstream : upstreams) news |= upstream.look(last_number_);
  for (TestClientPeer& client : clients) {
    if (!client.socket.is_open() || !client.reads) continue;
    const std::size_t before = client.received.size();
    const bool open = client.socket.receive(client.received);
    news |= !open || client.received.size() > before;
    if (const std::size_t size = complete_message(client.received); size > 0) {
      client.received.erase(0, size);
      client.sent = 0;
      ++client.answers;
    }
    if (open) continue;
    client.socket.close();
    client.received.clear();
    client.sent = 0;
  }
  return news;
}

void World::quiet() {
  constexpr int kTurns = 100'000;
  int turns = 0;
  while (loop_->run_ready() > 0 || look()) {
    DUALMESH_CHECK(++turns < kTurns, "the loop comes to no rest");
  }
}

void World::pass(std::chrono::nanoseconds by) {
  move_clock(by);
  // The earliest of all, so that the loop looks at its timers now.
  bool looked = false;
  const auto first = loop_->thread().after(-std::chrono::hours(24), [&] { looked = true; });
  while (!looked) loop_->run_ready();
  quiet();
}

bool World::is_healthy(policies::Slot slot) const {
  return router_->scheduler.read(
      [&](const policies::Scheduler& scheduler) { return scheduler.queues().at(slot).healthy; });
}

void World::set_healthy(policies::Slot slot, bool healthy) {
  router_->scheduler.enter(
      [&](policies::Scheduler& scheduler, policies::Time now, policies::Effects& effects) {
        scheduler.set_health(slot, healthy, now, effects);
      });
  if (!healthy) router_->flow.instance_unhealthy(slot);
}

void World::set_lifecycle(policies::Slot slot, Lifecycle to) {
  lifecycle[slot] = to;
  router_->scheduler.set_view(view());
}

std::vector<std::pair<std::size_t, TestUpstream::Connection*>> World::due() {
  std::vector<std::pair<std::size_t, TestUpstream::Connection*>> all;
  for (std::size_t i = 0; i < upstreams.size(); ++i) {
    for (TestUpstream::Connection& one : upstreams[i].connections) {
      if (one.is_due()) all.emplace_back(i, &one);
    }
  }
  std::sort(all.begin(), all.end(),
            [](const auto& a, const auto& b) { return a.second->number < b.second->number; });
  return all;
}

bool World::everybody_is_idle() const {
  return std::all_of(clients.begin(), clients.end(),
                     [](const TestClientPeer& client) { return client.is_idle(); });
}

std::string World::held() {
  std::string all;
  const auto add = [&](std::string_view what, std::uint64_t count) {
    if (count != 0) all += fmt::format("{}{} {}", all.empty() ? "" : ", ", count, what);
  };
  const net::ServerStats http = router_->server.stats();
  add("held requests", http.held_requests);
  add("held body bytes", http.held_body_bytes);
  add("half-open connections", http.half_open_connections);
  add("live requests", router_->flow.live_requests());
  for (policies::Slot slot = 0; slot < kInstances; ++slot) {
    add("passed through to " + std::to_string(slot), router_->flow.pass_through_load().at(slot));
  }
  router_->scheduler.read([&](const policies::Scheduler& scheduler) {
    add("requests of the scheduler", scheduler.live_requests());
    for (const policies::QueueSnapshot& queue : scheduler.queues()) {
      policies::Load load = queue.own;
      load.head_wait_ms = 0;
      add("load of instance " + std::to_string(queue.slot), load == policies::Load{} ? 0 : 1);
    }
  });
  add("instances with ranks in use", router_->flow.knowledge().rank_load().size());
  add("requests upstream", due().size());
  add("exchanges",
      static_cast<std::uint64_t>(std::count_if(exchanges_.begin(), exchanges_.end(),
                                               [](const auto& one) { return !one.expired(); })));
  return all;
}

std::string World::held_for_ever() {
  std::string all = held();
  if (const auto open = router_->server.stats().open_connections; open > 0) {
    all += fmt::format(" {} connections of clients", open);
  }
  for (const TestUpstream& upstream : upstreams) {
    if (upstream.connections.empty()) continue;
    all += fmt::format(" {} connections upstream", upstream.connections.size());
  }
  return all;
}

}  // namespace dualmesh::node::testing
