// What the router's tests share: scripted instances, a blocking client, a fleet view by hand, and
// the request path of a node without a mesh.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "net/http_client.h"
#include "net/http_server.h"
#include "net/io_threads.h"
#include "node/router/front_door.h"
#include "node/router/request_flow.h"

namespace dualmesh::node::testing {

inline constexpr std::chrono::seconds kPatience{20};  // for what must happen; never waited out

// Waits until `holds`, looking often; false when patience ends.
bool eventually(const std::function<bool()>& holds);

// An instance that answers as its script says, on a thread of its own.
class FakeInstance {
 public:
  using Script = std::function<void(std::shared_ptr<net::Exchange>)>;
  explicit FakeInstance(Script script);
  ~FakeInstance();

  std::string address() const;
  int requests() const { return requests_.load(); }
  net::HttpRequest last_request() const;
  // Runs on the instance's thread, where its exchanges live.
  void run(std::function<void()> work);

 private:
  net::IoThreads threads_{1};
  std::atomic<int> requests_{0};
  mutable std::mutex mutex_;
  net::HttpRequest last_;
  std::uint16_t port_ = 0;
  std::unique_ptr<net::HttpServer> server_;
};

// Scripts.
void answer_json(net::Exchange& exchange, int status, std::string body);
// Where connections are refused. The port stays taken until the test ends, lest somebody listen
// there.
std::string unused_address();

FakeInstance::Script completing(std::string text);  // streamed or whole, as asked
std::string event(const std::string& token);        // one SSE chunk of a chat completion
net::Headers event_stream();

struct Answer {
  net::ClientError error = net::ClientError::none;
  net::HttpResponse response;
};
inline bool has(const Answer& answer, std::string_view text) {
  return answer.response.body.find(text) != std::string::npos;
}
inline std::string header(const Answer& answer, std::string_view name) {
  return std::string(answer.response.headers.find(name));
}

// A client whose calls block the test.
class TestClient {
 public:
  TestClient() = default;
  Answer call(std::uint16_t port, net::HttpRequest request);
  Answer get(std::uint16_t port, const std::string& target);
  Answer post(std::uint16_t port, const std::string& target, std::string body);

  // A call that can be abandoned.
  struct Open {
    std::shared_ptr<net::ClientCall> call;
    std::promise<void> first_piece;
    std::promise<Answer> done;
    Answer answer;
    bool piece_seen = false;
  };
  std::shared_ptr<Open> open(std::uint16_t port, net::HttpRequest request);
  void abandon(const std::shared_ptr<Open>& open);

 private:
  net::IoThreads threads_{1};
  net::HttpClient client_{threads_.at(0), {}};
};

net::HttpRequest post_request(const std::string& target, std::string body);
std::string chat_body(const std::string& model, const std::string& text, bool stream);

struct ViewInstance {
  std::string name;
  std::string address;
  std::vector<std::string> models;
  policies::Lifecycle lifecycle = policies::Lifecycle::active;
};
// As a mesh would build it: slots in the order given.
ViewPointer make_view(const std::vector<ViewInstance>& instances,
                      const std::string& policy = "dualmap");

// FrontDoor, RequestFlow, SharedScheduler and SharedResidency behind a listener.
class TestRouter {
 public:
  explicit TestRouter(ViewPointer view, FlowSettings settings = default_settings(),
                      IdentitySettings identity = {}, std::size_t threads = 2,
                      InstanceHealth::Settings health = {}, net::ServerLimits limits = {},
                      const std::string& metrics_token = {}, const AccessKeeping& access = {},
                      const std::string& host = "127.0.0.1");
  ~TestRouter();
  static FlowSettings default_settings();

  std::uint16_t port() const { return port_; }
  // Everything given back: no live request, no load, nothing held.
  bool is_empty() const;
  void stop();

  net::IoThreads threads;
  SharedScheduler scheduler;
  InstanceHealth health;
  SharedResidency residency;
  std::atomic<int> failures{0};         // reported through instance_failed
  std::atomic<bool> mask_failed{true};  // as InstanceMonitor does on a failed connection
  std::function<void(const std::shared_ptr<net::Exchange>&)> on_exchange;  // before traffic
  AnswerCounts answers_of_nobody;  // outlives every request
  RequestFlow flow;
  Tenants tenants;
  FrontDoor door;
  net::HttpServer server;

 private:
  std::uint16_t port_ = 0;
};

}  // namespace dualmesh::node::testing
