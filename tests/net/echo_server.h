// A server for tests of the wire, which says what it was asked.
//
// Threads: of the test; what is answered later is answered on_thread.
#pragma once

#include "net/http_server.h"
#include "tests/net/raw_peer.h"

namespace dualmesh::net::testing {

inline HttpResponse text(int status, std::string body) {
  HttpResponse response;
  response.status = status;
  response.headers.add("Content-Type", "text/plain");
  response.body = std::move(body);
  return response;
}

// Answers with method, target and body; /held waits in `held` for the test.
struct EchoServer {
  explicit EchoServer(ServerLimits limits = {}, std::size_t thread_count = 1)
      : threads(thread_count), server(threads, limits, [this](std::shared_ptr<Exchange> exchange) {
          if (exchange->request().path() == "/held") return held.set(std::move(exchange));
          const auto& request = exchange->request();
          exchange->respond(
              text(200, request.method + " " + request.target + " " + std::string(request.body)));
        }) {
    const auto bound = server.listen("127.0.0.1", 0);
    REQUIRE(bound.has_value());
    port = *bound;
  }
  ~EchoServer() {
    held.set(nullptr);
    CHECK(becomes_true([&] { return server.stats().held_requests == 0; }));
    CHECK(server.stats().held_body_bytes == 0);
  }
  // Runs on the exchange's thread and waits for it.
  void on_thread(const std::shared_ptr<Exchange>& exchange, std::function<void()> work) {
    auto done = std::make_shared<Eventually<bool>>();
    exchange->thread().post([work = std::move(work), done] {
      work();
      done->set(true);
    });
    done->get();
  }

  IoThreads threads;
  Eventually<std::shared_ptr<Exchange>> held;
  HttpServer server;
  std::uint16_t port = 0;
};

inline constexpr std::string_view get_x = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

inline bool starts_with(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

}  // namespace dualmesh::net::testing
