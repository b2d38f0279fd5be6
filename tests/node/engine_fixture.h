// An engine on a port of its own and a blocking client, for tests over real sockets.
#pragma once

#include <doctest/doctest.h>

#include <future>
#include <nlohmann/json.hpp>

#include "net/http_client.h"
#include "node/engine/engine_server.h"

namespace dualmesh::node {

class EngineFixture {
 public:
  explicit EngineFixture(EngineServerOptions options = {}, double speed = 100.0)
      : threads_(1), clock_(speed), server_(threads_, clock_, std::move(options)) {
    auto port = server_.listen("127.0.0.1", 0);
    REQUIRE(port.has_value());
    address_ = "127.0.0.1:" + std::to_string(*port);
    client_ = std::make_unique<net::HttpClient>(threads_.at(0), net::HttpClient::Limits{});
  }
  ~EngineFixture() {
    client_.reset();
    threads_.stop();
  }

  net::HttpResponse send(const std::string& method, const std::string& target,
                         const std::string& body = {}) {
    std::promise<std::pair<net::ClientError, net::HttpResponse>> answer;
    threads_.at(0).post([&] {
      client_->fetch(address_, request(method, target, body), std::chrono::seconds(30), 64 << 20,
                     [&](net::ClientError error, net::HttpResponse response) {
                       answer.set_value({error, std::move(response)});
                     });
    });
    auto [error, response] = answer.get_future().get();
    REQUIRE(error == net::ClientError::none);
    return response;
  }
  nlohmann::json post(const std::string& target, const nlohmann::json& body) {
    const auto response = send("POST", target, body.dump());
    INFO(response.body);
    REQUIRE(response.status == 200);
    return nlohmann::json::parse(response.body);
  }
  static net::HttpRequest request(const std::string& method, const std::string& target,
                                  const std::string& body) {
    net::HttpRequest request{.method = method, .target = target, .body = body};
    request.headers.set("content-type", "application/json");
    return request;
  }

  net::IoThread& thread() { return threads_.at(0); }
  net::IoThreads& threads() { return threads_; }
  net::HttpClient& client() { return *client_; }
  EngineServer& server() { return server_; }
  const std::string& address() const { return address_; }

 private:
  net::IoThreads threads_;
  EngineClock clock_;
  EngineServer server_;
  std::string address_;
  std::unique_ptr<net::HttpClient> client_;
};

}  // namespace dualmesh::node
