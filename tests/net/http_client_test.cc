// HttpClient against raw servers: framing, pools, timeouts, failures.
#include "net/http_client.h"

#include <sys/resource.h>

#include <vector>

#include "tests/net/raw_peer.h"

using namespace dualmesh::net;
using namespace dualmesh::net::testing;

namespace {

struct Outcome {
  ClientError error = ClientError::none;
  HttpResponse response;
};

struct Client {
  Client() : Client(HttpClient::Limits{}) {}
  explicit Client(HttpClient::Limits limits)
      : threads(1), client(std::make_unique<HttpClient>(threads.at(0), limits)) {}

  using Pending = std::shared_ptr<Eventually<Outcome>>;
  Pending send(const std::string& destination, HttpRequest request, ClientTimeouts timeouts = {}) {
    auto outcome = std::make_shared<Eventually<Outcome>>();
    auto sofar = std::make_shared<Outcome>();
    run([&] {
      ClientHandler handler;
      handler.on_head = [sofar](const HttpResponse& head) { sofar->response = head; };
      handler.on_body = [sofar](std::string_view piece) { sofar->response.body += piece; };
      handler.on_done = [sofar, outcome](ClientError error) {
        sofar->error = error;
        outcome->set(*sofar);
      };
      last = client->send(destination, request, timeouts, std::move(handler));
    });
    return outcome;
  }
  // On the client's thread, waiting for it.
  void run(std::function<void()> work) {
    Eventually<bool> done;
    threads.at(0).post([&] {
      work();
      done.set(true);
    });
    done.get();
  }

  IoThreads threads;
  std::unique_ptr<HttpClient> client;
  std::shared_ptr<ClientCall> last;
};

HttpRequest get(std::string target = "/") {
  HttpRequest request;
  request.method = "GET";
  request.target = std::move(target);
  return request;
}

HttpRequest post(std::string body) {
  HttpRequest request = get("/p");
  request.method = "POST";
  request.body = std::move(body);
  return request;
}

constexpr std::string_view ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

}  // namespace

TEST_CASE("what is sent, to the byte") {
  Client client;
  RawListener server;
  HttpRequest request = post("body");
  request.headers.add("Authorization", "Bearer x");
  request.headers.add("Transfer-Encoding", "chunked");  // framing is ours to write
  request.headers.add("x-bad", "a\r\nInjected: b");
  const auto outcome = client.send(server.destination(), request);
  RawPeer peer = server.accept();
  CHECK(peer.receive_message() == "POST /p HTTP/1.1\r\nHost: " + server.destination() +
                                      "\r\nAuthorization: Bearer x\r\nx-bad: a  Injected: b\r\n"
                                      "Content-Length: 4\r\n\r\nbody");
  peer.send(ok);
  CHECK(outcome->get().error == ClientError::none);
  CHECK(outcome->get().response.body == "ok");
}

TEST_CASE("every framing of an answer") {
  struct Case {
    std::string_view bytes;
    ClientError error;
    std::string_view body;
    bool kept;
  };
  const Case cases[] = {
      {ok, ClientError::none, "ok", true},
      {"HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", ClientError::none, "", true},
      {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
       ClientError::none, "x", true},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
       ClientError::none, "ok", true},
      {"HTTP/1.1 204 No Content\r\n\r\n", ClientError::none, "", true},
      {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", ClientError::none,
       "ok", false},
      {"HTTP/1.1 200 OK\r\n\r\nuntil the end", ClientError::none, "until the end", false},
      {"HTTP/1.0 200 OK\r\n\r\nold", ClientError::none, "old", false},
      {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n", ClientError::none, "x",
       false},
      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", ClientError::truncated, "ok", false},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", ClientError::truncated,
       "ok", false},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokx\r\n", ClientError::malformed,
       "ok", false},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nok",
       ClientError::malformed, "", false},
      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
       ClientError::malformed, "", false},
      {"SSH-2.0-OpenSSH_9.2\r\n", ClientError::malformed, "", false},
      {"HTTP/1.1 200 O", ClientError::send, "", false},
      {"", ClientError::send, "", false},
  };
  for (const Case& c : cases) {
    CAPTURE(c.bytes);
    Client client;
    RawListener server;
    const auto outcome = client.send(server.destination(), get());
    RawPeer peer = server.accept();
    peer.receive_until("\r\n\r\n");
    peer.send(c.bytes);
    if (!c.kept) peer.shutdown_send();
    CHECK(outcome->get().error == c.error);
    CHECK(outcome->get().response.body == c.body);
    CHECK(becomes_true([&] { return client.client->stats().idle == (c.kept ? 1u : 0u); }));
    CHECK(becomes_true([&] { return client.client->stats().open == (c.kept ? 1u : 0u); }));
  }
}

TEST_CASE("a connection is used again, and HEAD has no body") {
  Client client;
  RawListener server;
  auto outcome = client.send(server.destination(), get("/1"));
  RawPeer peer = server.accept();
  peer.receive_until("\r\n\r\n");
  peer.send(ok);
  outcome->get();
  HttpRequest head = get("/2");
  head.method = "HEAD";
  outcome = client.send(server.destination(), head);
  peer.receive_until("\r\n\r\n");
  peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
  CHECK(outcome->get().error == ClientError::none);
  CHECK(outcome->get().response.headers.find("content-length") == "1000");
  outcome = client.send(server.destination(), get("/3"));
  CHECK(peer.receive_until("\r\n\r\n").starts_with("GET /3 "));
  peer.send(ok);
  CHECK(outcome->get().response.body == "ok");
  CHECK(client.client->stats().connects == 1);
  CHECK(client.client->stats().reuses == 2);
  client.run([&] { client.client->close_idle(server.destination()); });
  CHECK(peer.is_closed_by_peer());
}

TEST_CASE("a pooled connection that was closed meanwhile is replaced once, unseen by the caller") {
  Client client;
  RawListener server;
  auto outcome = client.send(server.destination(), get());
  RawPeer first = server.accept();
  first.receive_until("\r\n\r\n");
  first.send(ok);
  outcome->get();
  SUBCASE("closed when the request arrives") {
    outcome = client.send(server.destination(), post("again"));
    first.receive_message();
    first.close();
  }
  SUBCASE("reset when the request arrives") {
    outcome = client.send(server.destination(), post("again"));
    first.receive_message();
    first.reset();
  }
  RawPeer second = server.accept();
  CHECK(second.receive_message().ends_with("again"));
  second.close();  // the replacement is not replaced again
  CHECK(outcome->get().error == ClientError::send);
}

TEST_CASE("part of an answer on a pooled connection: no second try") {
  Client client;
  RawListener server;
  auto outcome = client.send(server.destination(), get());
  RawPeer peer = server.accept();
  peer.receive_until("\r\n\r\n");
  peer.send(ok);
  outcome->get();
  outcome = client.send(server.destination(), get());
  peer.receive_until("\r\n\r\n");
  peer.send("H");
  peer.close();
  CHECK(outcome->get().error == ClientError::send);
  CHECK(client.client->stats().connects == 1);
}

TEST_CASE("an idle connection closed by the server leaves the pool") {
  Client client;
  RawListener server;
  const auto outcome = client.send(server.destination(), get());
  RawPeer peer = server.accept();
  peer.receive_until("\r\n\r\n");
  peer.send(ok);
  outcome->get();
  SUBCASE("closed") { peer.close(); }
  SUBCASE("talking out of turn") { peer.send("HTTP/1.1 408 Request Timeout\r\n\r\n"); }
  CHECK(becomes_true([&] { return client.client->stats().open == 0; }));
  CHECK(client.client->stats().idle == 0);
}

TEST_CASE("an early answer while the request is still being sent") {
  Client client;
  RawListener server;
  const auto outcome = client.send(server.destination(), post(std::string(32 * 1024 * 1024, 'x')));
  RawPeer peer = server.accept();
  peer.receive_until("\r\n\r\n");
  peer.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n");
  CHECK(outcome->get().response.status == 413);
  CHECK(client.client->stats().idle == 0);  // mid-request: not for reuse
}

TEST_CASE("nobody there, no such name, no sense in the name") {
  Client client;
  std::string closed;
  {
    RawListener listener;
    closed = listener.destination();
  }
  CHECK(client.send(closed, get())->get().error == ClientError::connect);
  CHECK(client.send("name.invalid:80", get())->get().error == ClientError::resolve);
  for (const char* destination : {"", "host", "host:", "host:0", "host:99999", ":80", "::1:80"}) {
    CAPTURE(destination);
    CHECK(client.send(destination, get())->get().error == ClientError::resolve);
  }
}

TEST_CASE("timeouts: no head, no further body") {
  Client client;
  RawListener server;
  ClientTimeouts timeouts;
  timeouts.first_byte = timeouts.idle = std::chrono::milliseconds(50);
  const auto silent = client.send(server.destination(), get(), timeouts);
  RawPeer first = server.accept();
  CHECK(silent->get().error == ClientError::timeout);
  CHECK(first.receive_until("\r\n\r\n").starts_with("GET / "));
  CHECK(first.is_closed_by_peer());
  const auto halting = client.send(server.destination(), get(), timeouts);
  RawPeer second = server.accept();
  second.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab");
  CHECK(halting->get().error == ClientError::timeout);
  CHECK(halting->get().response.body == "ab");
}

TEST_CASE("a head alone does not lengthen the time for the first byte of the body") {
  Client client;
  RawListener server;
  ClientTimeouts timeouts;
  timeouts.first_byte = std::chrono::milliseconds(50);
  timeouts.idle = std::chrono::hours(1);
  const auto outcome = client.send(server.destination(), get(), timeouts);
  RawPeer peer = server.accept();
  peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
  CHECK(outcome->get().error == ClientError::timeout);
}

TEST_CASE("out of descriptors is told as this host's trouble") {
  Client client;
  RawListener server;
  const auto warm = client.send("127.0.0.1:1", get());  // the loop needs descriptors of its own
  warm->get();
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  rlimit none = before;
  none.rlim_cur = 3;
  setrlimit(RLIMIT_NOFILE, &none);
  const auto outcome = client.send(server.destination(), get());
  const ClientError error = outcome->get().error;
  setrlimit(RLIMIT_NOFILE, &before);
  CHECK(error == ClientError::local);
}

TEST_CASE("cancelling closes at once and nothing is told") {
  Client client;
  RawListener server;
  const auto outcome = client.send(server.destination(), get());
  RawPeer peer = server.accept();
  peer.receive_until("\r\n\r\n");
  client.run([&] { client.last->cancel(); });
  CHECK(peer.is_closed_by_peer());
  CHECK(client.client->stats().open == 0);
}

TEST_CASE("destroying the client closes its connections, also those in use") {
  Client client;
  RawListener server;
  const auto outcome = client.send(server.destination(), get());
  RawPeer peer = server.accept();
  peer.receive_until("\r\n\r\n");
  client.client.reset();
  CHECK(peer.is_closed_by_peer());
}

TEST_CASE("a paused call stops reading; resumed it gets every byte") {
  Client client;
  RawListener server;
  Eventually<bool> done;
  std::size_t received = 0;
  std::shared_ptr<ClientCall> call;
  client.run([&] {
    ClientHandler handler;
    handler.on_body = [&](std::string_view piece) {
      received += piece.size();
      call->pause();
    };
    handler.on_done = [&](ClientError error) { done.set(error == ClientError::none); };
    call = client.client->send(server.destination(), get(), {}, std::move(handler));
  });
  RawPeer peer = server.accept();
  peer.receive_until("\r\n\r\n");
  const std::size_t total = 64 * 1024 * 1024;
  peer.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(total) + "\r\n\r\n");
  const std::string block(1024 * 1024, 'x');
  // Only the kernel's buffers fill: far less than the whole.
  std::size_t sent = 0;
  CHECK(becomes_true([&] {
    const std::size_t more = peer.send_some(block);
    sent += more;
    return more == 0;
  }));
  CHECK(sent < total / 2);
  std::atomic<bool> stop = false;
  std::thread resumer([&] {
    while (!stop) client.run([&] { call->resume(); });
  });
  while (sent < total) {
    const std::size_t size = std::min(block.size(), total - sent);
    peer.send(std::string_view(block).substr(0, size));
    sent += size;
  }
  CHECK(done.get());
  stop = true;
  resumer.join();
  CHECK(received == total);
}

TEST_CASE("fetch collects, up to its limit and within its time") {
  Client client;
  RawListener server;
  const auto fetch = [&](std::chrono::milliseconds timeout) {
    auto outcome = std::make_shared<Eventually<Outcome>>();
    client.run([&] {
      client.client->fetch(server.destination(), get(), timeout, 10,
                           [outcome](ClientError error, HttpResponse response) {
                             outcome->set({error, std::move(response)});
                           });
    });
    return outcome;
  };
  auto outcome = fetch(std::chrono::seconds(10));
  RawPeer peer = server.accept();
  peer.receive_until("\r\n\r\n");
  peer.send(ok);
  CHECK(outcome->get().response.body == "ok");
  outcome = fetch(std::chrono::seconds(10));
  peer.receive_until("\r\n\r\n");
  peer.send("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n12345678901");
  CHECK(outcome->get().error == ClientError::too_large);
  CHECK(peer.is_closed_by_peer());
  outcome = fetch(std::chrono::milliseconds(60));
  RawPeer drip = server.accept();
  drip.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
  drip.send("1");  // each piece in time, the whole is not
  CHECK(outcome->get().error == ClientError::timeout);
}

TEST_CASE("resolve gives each address once, with the port") {
  IoThreads threads(1);
  Eventually<std::vector<std::string>> found;
  resolve(threads.at(0), "localhost", 80, [&](std::vector<std::string> addresses, std::string why) {
    CHECK(why == "");
    found.set(std::move(addresses));
  });
  const auto addresses = found.get();
  CHECK(std::count(addresses.begin(), addresses.end(), "127.0.0.1:80") == 1);
  Eventually<std::string> failed;
  resolve(threads.at(0), "name.invalid", 80, [&](std::vector<std::string> none, std::string why) {
    CHECK(none.empty());
    failed.set(std::move(why));
  });
  CHECK(failed.get().find("name.invalid") != std::string::npos);
}
