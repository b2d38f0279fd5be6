// Exchange::relay between raw clients and raw upstream servers.
#include "net/http_server.h"
#include "net/http_writer.h"
#include "tests/net/raw_peer.h"

using namespace dualmesh::net;
using namespace dualmesh::net::testing;

namespace {

// A proxy to one upstream; tells how each relay ended. With `second`, what did not start goes
// there.
struct Proxy {
  explicit Proxy(std::string first, std::string second_choice = "")
      : threads(1),
        client(std::make_unique<HttpClient>(threads.at(0), HttpClient::Limits{})),
        destination(std::move(first)),
        second(std::move(second_choice)),
        server(threads, {}, [this](std::shared_ptr<Exchange> exchange) {
          relay(std::move(exchange), destination);
        }) {
    port = *server.listen("127.0.0.1", 0);
  }
  ~Proxy() {
    CHECK(becomes_true([&] { return server.stats().held_requests == 0; }));
    CHECK(server.stats().held_body_bytes == 0);
  }

  void relay(std::shared_ptr<Exchange> exchange, const std::string& to) {
    exchange->on_gone([this] { gone_told = true; });
    current = exchange;
    std::string head;
    append_request_head(head, exchange->request(), to, exchange->request().body.size());
    owner = std::make_shared<Owner>(*this, exchange, to);
    exchange->relay(*client, to, std::move(head), {}, owner, sending);
  }

  struct Owner final : RelayOwner {
    Owner(Proxy& of, std::shared_ptr<Exchange> relayed, std::string destination)
        : proxy(of), exchange(std::move(relayed)), to(std::move(destination)) {}
    bool relay_head(HttpResponse& head) override {
      head.headers.set("x-node", "n1");
      return head.status != 503;
    }
    void relay_body(std::string_view piece) override { proxy.body_bytes += piece.size(); }
    void relay_done(const RelayResult& result) override {
      const auto ours = std::move(exchange);
      if (result.end == RelayResult::End::not_started && to != proxy.second &&
          !proxy.second.empty()) {
        return proxy.relay(ours, proxy.second);
      }
      if (result.end == RelayResult::End::not_started) {
        HttpResponse bad_gateway;
        bad_gateway.status = 502;
        ours->respond(std::move(bad_gateway));
      }
      proxy.ended.set(result);
    }

    Proxy& proxy;
    std::shared_ptr<Exchange> exchange;
    std::string to;
  };

  void abort_current() {
    on_current([](Exchange& exchange) { return exchange.abort(), true; });
  }
  bool call_off_current() {
    return on_current([](Exchange& exchange) { return exchange.call_off(); });
  }
  bool on_current(const std::function<bool(Exchange&)>& work) {
    Eventually<bool> done;
    threads.at(0).post([&] {
      const auto exchange = current.lock();
      done.set(exchange && work(*exchange));
    });
    return done.get();
  }

  IoThreads threads;
  std::unique_ptr<HttpClient> client;
  std::string destination, second;
  Sending sending = Sending::may_repeat;
  std::weak_ptr<Exchange> current;
  std::shared_ptr<Owner> owner;
  std::atomic<std::size_t> body_bytes = 0;
  std::atomic<bool> gone_told = false;
  Eventually<RelayResult> ended;
  HttpServer server;
  std::uint16_t port = 0;
};

constexpr std::string_view ask = "POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
constexpr std::string_view stream_head =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
    "Connection: x-private\r\nx-private: 1\r\n\r\n";
constexpr std::string_view first_event = "9\r\ndata: 0\n\n\r\n";
using End = RelayResult::End;

// The stream's head and first event, which reach the client together; the head.
std::string begin_stream(RawPeer& server, RawPeer& client) {
  server.send(std::string(stream_head) + std::string(first_event));
  std::string head = client.receive_until("\r\n\r\n");
  CHECK(client.receive_bytes(first_event.size()) == first_event);
  return head;
}

// A request that has reached the instance and waits for its answer.
struct Asked {
  Asked() {
    client.send(ask);
    server = upstream.accept();
    server.receive_message();
  }
  RawListener upstream;
  Proxy proxy{upstream.destination()};
  RawPeer client = RawPeer::connect(proxy.port);
  RawPeer server;
};

}  // namespace

TEST_CASE("an event stream passes on event by event") {
  RawListener upstream;
  Proxy proxy(upstream.destination());
  RawPeer client = RawPeer::connect(proxy.port);
  client.send(ask);
  RawPeer server = upstream.accept();
  CHECK(server.receive_message().ends_with("\r\n\r\nhi"));
  const std::string head = begin_stream(server, client);
  CHECK(head.find("x-node: n1\r\n") != std::string::npos);
  CHECK(head.find("x-private") == std::string::npos);
  for (int i = 1; i < 5; ++i) {
    server.send("9\r\ndata: " + std::to_string(i) + "\n\n\r\n");
    CHECK(client.receive_bytes(14) == "9\r\ndata: " + std::to_string(i) + "\n\n\r\n");
  }
  server.send("0\r\n\r\n");
  CHECK(client.receive_bytes(5) == "0\r\n\r\n");
  const RelayResult result = proxy.ended.get();
  CHECK(result.end == End::complete);
  CHECK(result.status == 200);
  CHECK(result.body_bytes == 45);
  CHECK(proxy.body_bytes == 45);
  // Both connections go on.
  client.send(ask);
  server.receive_message();
  server.send("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone");
  CHECK(client.receive_message().ends_with("none"));
  CHECK(proxy.client->stats().connects == 1);
}

TEST_CASE("a client that leaves cancels upstream at once") {
  Asked asked;
  Proxy& proxy = asked.proxy;
  RawPeer& client = asked.client;
  RawPeer& server = asked.server;
  SUBCASE("before the head") { client.close(); }
  SUBCASE("in the middle of the body") {
    begin_stream(server, client);
    client.close();
  }
  CHECK(server.is_closed_by_peer());
  CHECK(proxy.ended.get().end == End::client_gone);
  CHECK_FALSE(proxy.gone_told);  // told once, through the relay
}

TEST_CASE("aborting a relayed answer cancels upstream and closes the client's connection") {
  Asked asked;
  Proxy& proxy = asked.proxy;
  RawPeer& client = asked.client;
  RawPeer& server = asked.server;
  begin_stream(server, client);
  proxy.abort_current();
  CHECK(server.is_closed_by_peer());
  CHECK(client.receive_to_end() == "");
  CHECK(proxy.ended.get().end == End::client_gone);
}

TEST_CASE("a relay that is called off before the client has seen anything goes elsewhere") {
  RawListener first, second;
  Proxy proxy(first.destination(), second.destination());
  RawPeer client = RawPeer::connect(proxy.port);
  client.send(ask);
  RawPeer hung = first.accept();
  hung.receive_message();
  CHECK(proxy.call_off_current());
  CHECK(hung.is_closed_by_peer());
  RawPeer server = second.accept();
  CHECK(server.receive_message().ends_with("hi"));
  begin_stream(server, client);
  CHECK_FALSE(proxy.call_off_current());  // the client has seen something
  server.send("0\r\n\r\n");
  CHECK(client.receive_bytes(5) == "0\r\n\r\n");
  CHECK(proxy.ended.get().end == End::complete);
}

TEST_CASE("an instance that dies in the middle of a stream") {
  Asked asked;
  Proxy& proxy = asked.proxy;
  RawPeer& client = asked.client;
  RawPeer& server = asked.server;
  begin_stream(server, client);
  SUBCASE("between events: an error event, and no proper end") {
    server.reset();
    const std::string rest = client.receive_to_end();
    CHECK(rest.find("data: {\"error\":{\"message\":") != std::string::npos);
    CHECK(rest.ends_with("}}\n\n\r\n"));
  }
  SUBCASE("within an event: without what was not finished") {
    server.send("b\r\ndata: 0\n\nda\r\n5\r\nta: 1\r\n");
    CHECK(client.receive_bytes(14) == "9\r\ndata: 0\n\n\r\n");
    server.close();
    const std::string rest = client.receive_to_end();
    CHECK(rest.find("\r\ndata: {\"error\":{\"message\":") != std::string::npos);
    CHECK(rest.find("ta: 1") == std::string::npos);
    CHECK(rest.ends_with("}}\n\n\r\n"));
  }
  CHECK(proxy.ended.get().end == End::broken);
  CHECK(proxy.ended.get().error == ClientError::truncated);
}

TEST_CASE("a stream of a promised length that is cut short gets no word of ours") {
  Asked asked;
  Proxy& proxy = asked.proxy;
  RawPeer& client = asked.client;
  RawPeer& server = asked.server;
  server.send(
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 60\r\n\r\n"
      "data: 0\n\n");
  server.close();
  CHECK(client.receive_to_end().ends_with("\r\n\r\ndata: 0\n\n"));
  CHECK(proxy.ended.get().end == End::broken);
}

TEST_CASE("a stream that ends without a blank line passes on whole") {
  Asked asked;
  Proxy& proxy = asked.proxy;
  RawPeer& client = asked.client;
  RawPeer& server = asked.server;
  begin_stream(server, client);
  server.send("6\r\ndata: \r\n1\r\n1\r\n0\r\n\r\n");
  CHECK(client.receive_bytes(17) == "7\r\ndata: 1\r\n0\r\n\r\n");
  CHECK(proxy.ended.get().end == End::complete);
}

TEST_CASE("the body of a request is let go with the first byte of its answer") {
  Asked asked;
  Proxy& proxy = asked.proxy;
  RawPeer& client = asked.client;
  RawPeer& server = asked.server;
  CHECK(proxy.server.stats().held_body_bytes == 2);
  begin_stream(server, client);
  CHECK(becomes_true([&] { return proxy.server.stats().held_body_bytes == 0; }));
  CHECK(proxy.server.stats().held_requests == 1);
  server.send("0\r\n\r\n");
  CHECK(client.receive_bytes(5) == "0\r\n\r\n");
}

TEST_CASE("a whole answer cut short is cut short for the client too") {
  Asked asked;
  Proxy& proxy = asked.proxy;
  RawPeer& client = asked.client;
  RawPeer& server = asked.server;
  server.send(
      "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"a\"");
  server.close();
  CHECK(client.receive_to_end().ends_with("\r\n\r\n{\"a\""));
  CHECK(proxy.ended.get().end == End::broken);
}

TEST_CASE("a cut answer does not look whole to a client that knows its end by the connection's") {
  RawListener upstream;
  Proxy proxy(upstream.destination());
  RawPeer client = RawPeer::connect(proxy.port);
  client.send("GET /v1/x HTTP/1.0\r\n\r\n");
  RawPeer server = upstream.accept();
  server.receive_message();
  server.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  CHECK(client.receive_until("abc").ends_with("\r\n\r\nabc"));
  server.close();
  client.receive_to_end();
  CHECK(client.was_reset());
}

TEST_CASE("what may be sent once goes over a fresh connection, and not again") {
  Asked asked;
  asked.server.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  asked.client.receive_message();
  asked.proxy.sending = Sending::once;
  asked.client.send(ask);
  RawPeer fresh = asked.upstream.accept();
  CHECK(fresh.receive_message().ends_with("hi"));
  fresh.close();
  CHECK(asked.client.receive_message().starts_with("HTTP/1.1 502"));
  CHECK(asked.proxy.client->stats().connects == 2);
}

TEST_CASE("what did not start goes elsewhere, unseen by the client") {
  RawListener first, second;
  SUBCASE("nobody listens") { first.close(); }
  SUBCASE("refused by on_head") {}
  Proxy proxy(first.destination(), second.destination());
  RawPeer client = RawPeer::connect(proxy.port);
  client.send(ask);
  RawPeer busy;
  if (first.is_open()) {
    busy = first.accept();
    busy.receive_message();
    busy.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy");
  }
  RawPeer server = second.accept();
  CHECK(server.receive_message().ends_with("hi"));
  server.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine");
  CHECK(client.receive_message().ends_with("fine"));
  CHECK(proxy.ended.get().end == End::complete);
}

TEST_CASE("an instance that dies after its head and before the first byte is replaced, unseen") {
  RawListener first, second;
  Proxy proxy(first.destination(), second.destination());
  RawPeer client = RawPeer::connect(proxy.port);
  client.send(ask);
  RawPeer dying = first.accept();
  dying.receive_message();
  dying.send(stream_head);
  dying.reset();
  RawPeer server = second.accept();
  CHECK(server.receive_message().ends_with("hi"));
  server.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine");
  const std::string answer = client.receive_message();
  CHECK(answer.ends_with("fine"));
  CHECK(answer.find("text/event-stream") == std::string::npos);
  CHECK(proxy.ended.get().end == End::complete);
}

TEST_CASE("nothing starts anywhere: the caller answers") {
  RawListener first;
  first.close();
  Proxy proxy(first.destination());
  RawPeer client = RawPeer::connect(proxy.port);
  client.send(ask);
  CHECK(client.receive_message().starts_with("HTTP/1.1 502 "));
  CHECK(proxy.ended.get().error == ClientError::connect);
}

TEST_CASE("a slow client slows its instance down; memory stays bounded and no byte is lost") {
  RawListener upstream;
  Proxy proxy(upstream.destination());
  RawPeer client = RawPeer::connect(proxy.port, 16 * 1024);
  client.send(ask);
  RawPeer server = upstream.accept();
  server.receive_message();
  const std::size_t total = 64 * 1024 * 1024;
  server.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(total) + "\r\n\r\n");
  std::string block(1024 * 1024, 'x');
  std::size_t sent = 0;
  CHECK(becomes_true([&] {
    const std::size_t more = server.send_some(block);
    sent += more;
    return more == 0;
  }));
  CHECK(sent < total / 2);                    // kernel buffers and ours are full
  CHECK(proxy.body_bytes < 8 * 1024 * 1024);  // passed on: kernel's send buffer and our quarter MiB
  std::thread sender([&] {
    while (sent < total) {
      const std::size_t size = std::min(block.size(), total - sent);
      server.send(std::string_view(block).substr(0, size));
      sent += size;
    }
  });
  client.receive_until("\r\n\r\n");
  CHECK(client.receive_bytes(total).size() == total);
  sender.join();
  CHECK(proxy.ended.get().end == End::complete);
}

TEST_CASE("HEAD and bodiless answers pass through") {
  RawListener upstream;
  Proxy proxy(upstream.destination());
  RawPeer client = RawPeer::connect(proxy.port);
  client.send("HEAD /v1/x HTTP/1.1\r\nHost: a\r\n\r\n");
  RawPeer server = upstream.accept();
  server.receive_until("\r\n\r\n");
  server.send("HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n");
  CHECK(client.receive_until("\r\n\r\n").find("Content-Length: 77\r\n") != std::string::npos);
  client.send(ask);
  server.receive_message();
  server.send("HTTP/1.1 204 No Content\r\n\r\n");
  CHECK(client.receive_until("\r\n\r\n").find("Transfer-Encoding") == std::string::npos);
  client.send(ask);
  server.receive_message();
  server.send(std::string("HTTP/1.1 200 OK\r\n\r\nto the end"));
  server.close();
  client.receive_until("\r\n\r\n");
  CHECK(client.receive_until("0\r\n\r\n") == "a\r\nto the end\r\n0\r\n\r\n");
}
