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
  const auto post = [client](std::string_view target, const std::string& fields) {
    const std::string body = fmt::format(R"({{"user":"{}",{})", client, fields.substr(1));
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
  settings.admission.max_waiting = scene.line;
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

InstanceHealth::Settings health_of(const Scene& scene) {
  InstanceHealth::Settings health;
  if (scene.trials) {
    health.outliers.failures_in_a_row = 1;
    health.trial_requests = 1;
  }
  return health;
}

// Each world has an address. On one for all, finding a free port among those of the connections
// that have just been closed takes most of the time.
std::string next_host() {
  constexpr std::uint32_t kOthers = 1 << 16;  // 127.0.x.y
  static std::uint32_t count = static_cast<std::uint32_t>(::getpid()) * 40'503U;
  const std::uint32_t low = kOthers + count++ % ((1U << 24) - 2 * kOthers);
  return fmt::format("127.{}.{}.{}", low >> 16, low >> 8 & 255, low & 255);
}

std::string joined(const std::string& all, const std::string& more) {
  return all.empty() || more.empty() ? all + more : all + ", " + more;
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
      {.name = "line",
       .policy = "dualmap@dlpm",
       .clients = {Ask::stream, Ask::whole, Ask::stream, Ask::stream},
       .line = 1},
      {.name = "trials",
       .clients = {Ask::stream, Ask::whole, Ask::stream, Ask::stream, Ask::get},
       .trials = true},
      {.name = "room",  // for four of them
       .policy = "selective_push",
       .clients = {Ask::stream, Ask::stream, Ask::whole, Ask::stream, Ask::stream}},
  };
  return all;
}

World::World(const Scene& given) : scene(given), host(next_host()) {
  lifecycle.fill(Lifecycle::active);
  for (const Ask ask : scene.clients) {
    TestClientPeer& client = clients.emplace_back();
    client.ask = ask;
    client.request = request_of(ask, clients.size() - 1);
  }
  router_ = std::make_unique<TestRouter>(view(), settings_of(scene), IdentitySettings{}, 1,
                                         health_of(scene), limits_of(scene), std::string(),
                                         AccessKeeping(), host);
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
  if (loop_->has_ended()) return;
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
  if (healthy) router_->health.renewed(slot);
  router_->health.probed(slot, healthy);
  if (!healthy) router_->flow.instance_unhealthy(slot);
}

void World::set_lifecycle(policies::Slot slot, Lifecycle to) {
  const bool is_new = lifecycle[slot] == Lifecycle::removed;
  lifecycle[slot] = to;
  const ViewPointer now = view();
  router_->scheduler.set_view(now);
  router_->health.set_view(*now);
  if (is_new) router_->health.probed(slot, true);  // as who watches it does at first sight
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

bool World::is_trial_under_way() const {
  return router_->scheduler.read([](const policies::Scheduler& scheduler) {
    const auto queues = scheduler.queues();
    return std::any_of(queues.begin(), queues.end(), [](const policies::QueueSnapshot& queue) {
      return queue.trial > 0 && queue.own.prefilling_requests > 0;
    });
  });
}

void World::add_of_scheduler(const Add& add) const {
  router_->scheduler.read([&](const policies::Scheduler& scheduler) {
    add("requests of the scheduler", scheduler.live_requests());
    const policies::SchedulerBooks books = scheduler.books();
    add("in the waiting room", books.in_waiting_room);
    add("in queues", books.in_queues);
    add("in clients' accounts as waiting", books.in_accounts);
    add("handed to another node", books.handed);
    add("uncached tokens that are decoded", books.decoding_uncached_tokens);
    for (const policies::QueueSnapshot& queue : scheduler.queues()) {
      const std::string slot = std::to_string(queue.slot);
      policies::Load load = queue.own;
      load.head_wait_ms = 0;
      add("load of instance " + slot, load == policies::Load{} ? 0 : 1);
      if (lifecycle[queue.slot] == Lifecycle::removed) continue;
      const InstanceHealth::Verdict verdict = router_->health.verdict(queue.slot);
      const bool told = queue.healthy == verdict.usable() && queue.trial == verdict.trial;
      add("untold verdicts on instance " + slot, told ? 0 : 1);
    }
  });
}

void World::add_of_flow(const Add& add) {
  const FlowStats& stats = router_->flow.stats();
  const FlowHoldings flow = router_->flow.holdings(loop_->thread());
  add("live requests", stats.live);
  add("requests in line", flow.in_line);
  add("clients in line", flow.clients_in_line);
  add("questions without an answer", flow.questions);
  add("retries granted and not made",
      flow.retries_granted + stats.retries_unbudgeted - stats.retries);
  add("pooled connections in use", flow.upstream.open - flow.upstream.idle);
  for (policies::Slot slot = 0; slot < kInstances; ++slot) {
    add("passed through to " + std::to_string(slot), router_->flow.pass_through_load().at(slot));
  }
}

std::string World::held() {
  std::string all;
  const Add add = [&](const std::string& what, std::uint64_t count) {
    if (count != 0) all = joined(all, std::to_string(count) + " " + what);
  };
  const net::ServerStats http = router_->server.stats();
  add("held requests", http.held_requests);
  add("held body bytes", http.held_body_bytes);
  add("half-open connections", http.half_open_connections);
  add_of_flow(add);
  add_of_scheduler(add);
  add("instances with ranks in use", router_->flow.knowledge().rank_load().size());
  add("requests upstream", due().size());
  add("exchanges",
      static_cast<std::uint64_t>(std::count_if(exchanges_.begin(), exchanges_.end(),
                                               [](const auto& one) { return !one.expired(); })));
  add("jobs for the end of a turn", loop_->turn_end_jobs());
  return all;
}

std::string World::held_for_ever() {
  router_->server.close_listener();
  loop_->let_end();
  quiet();
  std::string all = held();
  const auto add = [&](const std::string& what, std::uint64_t count) {
    if (count != 0) all = joined(all, std::to_string(count) + " " + what);
  };
  add("connections of clients", router_->server.stats().open_connections);
  for (const TestUpstream& upstream : upstreams) {
    add("connections upstream", upstream.connections.size());
  }
  const FlowHoldings flow = router_->flow.holdings(loop_->thread());
  add("pooled connections", flow.upstream.open);
  add("presumed prefills", flow.presumed_prefills);
  for (policies::Slot slot = 0; slot < kInstances; ++slot) {
    using State = InstanceHealth::Verdict::State;
    const bool out = router_->health.verdict(slot).state == State::ejected;
    add("rest without an end, of instance " + std::to_string(slot), out ? 1 : 0);
  }
  add("loop that waits for a timer or a socket", loop_->has_ended() ? 0 : 1);
  return all;
}

}  // namespace dualmesh::node::testing
