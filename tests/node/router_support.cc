#include "tests/node/router_support.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <thread>

#include "net/error.h"

namespace dualmesh::node::testing {

bool eventually(const std::function<bool()>& holds) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

FakeInstance::FakeInstance(Script script) {
  server_ = std::make_unique<net::HttpServer>(
      threads_, net::ServerLimits{}, [this, script](std::shared_ptr<net::Exchange> exchange) {
        {
          const std::lock_guard lock(mutex_);
          last_ = exchange->request();
        }
        ++requests_;
        script(std::move(exchange));
      });
  const auto port = server_->listen("127.0.0.1", 0);
  DUALMESH_CHECK(port.has_value(), "listen");
  port_ = *port;
}

FakeInstance::~FakeInstance() { server_.reset(); }

std::string FakeInstance::address() const { return "127.0.0.1:" + std::to_string(port_); }

net::HttpRequest FakeInstance::last_request() const {
  const std::lock_guard lock(mutex_);
  return last_;
}

void FakeInstance::run(std::function<void()> work) {
  std::promise<void> done;
  threads_.at(0).post([&] {
    work();
    done.set_value();
  });
  done.get_future().wait();
}

void answer_json(net::Exchange& exchange, int status, std::string body) {
  net::HttpResponse response;
  response.status = status;
  response.headers.add("Content-Type", "application/json");
  response.body = std::move(body);
  exchange.respond(std::move(response));
}

net::Headers event_stream() {
  net::Headers headers;
  headers.add("Content-Type", "text/event-stream");
  return headers;
}

std::string event(const std::string& token) {
  return R"(data: {"choices":[{"index":0,"delta":{"content":")" + token + "\"}}]}\n\n";
}

std::string unused_address() {
  const int bound = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  DUALMESH_CHECK(::bind(bound, reinterpret_cast<const sockaddr*>(&address), size) == 0 &&
                     ::getsockname(bound, reinterpret_cast<sockaddr*>(&address), &size) == 0,
                 "errno={}", errno);
  return "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
}

FakeInstance::Script completing(std::string text) {
  return [text = std::move(text)](std::shared_ptr<net::Exchange> exchange) {
    if (std::string_view(exchange->request().body).find(R"("stream":true)") == std::string::npos) {
      return answer_json(*exchange, 200,
                         R"({"choices":[{"message":{"content":")" + text +
                             R"("}}],"usage":{"prompt_tokens":9,"completion_tokens":1,)" +
                             R"("prompt_tokens_details":{"cached_tokens":4}}})");
    }
    exchange->begin(200, event_stream());
    for (const char c : text) exchange->write(event(std::string(1, c)));
    exchange->write("data: [DONE]\n\n");
    exchange->end();
  };
}

net::HttpRequest post_request(const std::string& target, std::string body) {
  net::HttpRequest request;
  request.method = "POST";
  request.target = target;
  request.headers.add("Content-Type", "application/json");
  request.body = std::move(body);
  return request;
}

std::string chat_body(const std::string& model, const std::string& text, bool stream) {
  return R"({"model":")" + model + R"(","stream":)" + (stream ? "true" : "false") +
         R"(,"messages":[{"role":"user","content":")" + text + R"("}]})";
}

std::shared_ptr<TestClient::Open> TestClient::open(std::uint16_t port, net::HttpRequest request) {
  auto open = std::make_shared<Open>();
  net::ClientHandler handler;
  handler.on_head = [open](const net::HttpResponse& head) { open->answer.response = head; };
  handler.on_body = [open](std::string_view piece) {
    open->answer.response.body += piece;
    if (!open->piece_seen) open->first_piece.set_value();
    open->piece_seen = true;
  };
  handler.on_done = [open](net::ClientError error) {
    open->answer.error = error;
    open->done.set_value(open->answer);
  };
  threads_.at(0).post([this, open, port, request, handler] {
    open->call = client_.send("127.0.0.1:" + std::to_string(port), request, {}, handler);
  });
  return open;
}

void TestClient::abandon(const std::shared_ptr<Open>& open) {
  std::promise<void> done;
  threads_.at(0).post([&] {
    open->call->cancel();
    done.set_value();
  });
  done.get_future().wait();
}

Answer TestClient::call(std::uint16_t port, net::HttpRequest request) {
  auto answer = open(port, std::move(request))->done.get_future();
  DUALMESH_CHECK(answer.wait_for(kPatience) == std::future_status::ready, "no answer");
  return answer.get();
}

Answer TestClient::get(std::uint16_t port, const std::string& target) {
  net::HttpRequest request;
  request.method = "GET";
  request.target = target;
  return call(port, std::move(request));
}

Answer TestClient::post(std::uint16_t port, const std::string& target, std::string body) {
  return call(port, post_request(target, std::move(body)));
}

ViewPointer make_view(const std::vector<ViewInstance>& instances, const std::string& policy) {
  auto view = std::make_shared<policies::FleetView>();
  view->generation = 1;
  view->settings.policy = policy;
  const policies::RingParameters parameters;
  for (const ViewInstance& given : instances) {
    policies::InstanceView instance;
    instance.id = policies::instance_id_of(given.name);
    instance.slot = static_cast<policies::Slot>(view->instances.size());
    instance.name = given.name;
    instance.address = given.address;
    instance.lifecycle = given.lifecycle;
    instance.models = given.models;
    for (const std::string& name : given.models) {
      policies::ModelView& model = view->models[name];
      model.name = name;
      if (given.lifecycle == policies::Lifecycle::active) model.active.push_back(instance.slot);
      if (given.lifecycle != policies::Lifecycle::removed) model.serving.push_back(instance.slot);
    }
    view->instances.push_back(std::move(instance));
  }
  for (auto& [name, model] : view->models) {
    std::vector<policies::RingMember> members;
    for (const policies::Slot slot : model.active) {
      members.push_back({view->instances[slot].id, slot, 1.0});
    }
    model.ring_a = policies::Ring(members, parameters.seed_a, parameters.points_per_weight);
    model.ring_b = policies::Ring(members, parameters.seed_b, parameters.points_per_weight);
  }
  return view;
}

FlowSettings TestRouter::default_settings() {
  FlowSettings settings;
  settings.node_name = "n1";
  settings.upstream_timeouts.connect = std::chrono::milliseconds(2'000);
  return settings;
}

TestRouter::TestRouter(ViewPointer view, FlowSettings settings, IdentitySettings identity,
                       std::size_t thread_count, InstanceHealth::Settings health_settings,
                       net::ServerLimits limits, const std::string& metrics_token,
                       const AccessKeeping& access, const std::string& host)
    : threads(thread_count),
      scheduler({}, threads, monotonic_now),
      health(threads.at(0), health_settings, monotonic_now,
             [this](policies::Slot slot) { tell_scheduler(scheduler, health, slot); }),
      residency({}),
      flow(
          threads, scheduler, health, residency, std::move(settings),
          [this](policies::Slot slot, net::ClientError error) {
            ++failures;
            if (!mask_failed || error != net::ClientError::connect) return;
            health.probed(slot, false);
          },
          [] {}),
      tenants(std::move(identity)),
      door(flow, tenants,
           {metrics_token, thread_count, [] { return 1u; }, access, answers_of_nobody},
           {[] { return Readiness{}; }, [] { return std::string("metric 1\n"); },
            [this] { return merge_models(*scheduler.view(), {}); }}),
      server(
          threads, limits,
          [this](std::shared_ptr<net::Exchange> exchange) {
            if (on_exchange) on_exchange(exchange);
            door.handle(std::move(exchange));
          },
          [this](const net::HttpRequest& head, net::IoThread& thread) {
            return door.head(head, thread);
          }) {
  health.set_view(*view);
  scheduler.set_view(std::move(view));
  const auto port = server.listen(host, 0);
  DUALMESH_CHECK(port.has_value(), "listen");
  port_ = *port;
}

TestRouter::~TestRouter() { threads.stop(); }

bool TestRouter::is_empty() const {
  const bool no_load = scheduler.read([](const policies::Scheduler& inner) {
    for (const policies::QueueSnapshot& queue : inner.queues()) {
      policies::Load load = queue.own;
      load.head_wait_ms = 0;
      if (load != policies::Load{}) return false;
    }
    return inner.live_requests() == 0;
  });
  const net::ServerStats http = server.stats();
  return no_load && flow.live_requests() == 0 && http.held_requests == 0 &&
         http.held_body_bytes == 0;
}

}  // namespace dualmesh::node::testing
