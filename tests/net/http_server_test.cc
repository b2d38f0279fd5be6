// HttpServer against raw sockets: each case says what goes over the wire and what must come back.
#include "net/http_server.h"

#include "tests/net/echo_server.h"

using namespace dualmesh::net;
using namespace dualmesh::net::testing;

TEST_CASE("one request, one answer, and the connection stays") {
  EchoServer echo;
  RawPeer peer = RawPeer::connect(echo.port);
  for (int round = 0; round < 3; ++round) {
    peer.send("POST /y?z=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    const std::string answer = peer.receive_message();
    CHECK(starts_with(answer, "HTTP/1.1 200 OK\r\n"));
    CHECK(answer.ends_with("POST /y?z=1 abc"));
    CHECK(answer.find("Connection:") == std::string::npos);
  }
  CHECK(echo.server.stats().accepted == 1);
  CHECK(echo.server.stats().requests == 3);
}

TEST_CASE("pipelined requests are answered in order") {
  EchoServer echo;
  RawPeer peer = RawPeer::connect(echo.port);
  std::string all;
  for (int i = 0; i < 50; ++i) {
    all +=
        "POST /" + std::to_string(i) + " HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    all += "2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n";
  }
  peer.send(all);
  for (int i = 0; i < 50; ++i) {
    CHECK(peer.receive_message().ends_with("POST /" + std::to_string(i) + " abc"));
  }
}

TEST_CASE("a pipelined request waits for the answer before it, and is not lost") {
  EchoServer echo;
  RawPeer peer = RawPeer::connect(echo.port);
  peer.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
  const auto exchange = echo.held.get();
  peer.send(get_x);
  CHECK(echo.server.stats().held_requests == 1);
  echo.on_thread(exchange, [&] { exchange->respond(text(200, "late")); });
  CHECK(peer.receive_message().ends_with("late"));
  CHECK(peer.receive_message().ends_with("GET /x "));
}

TEST_CASE("bytes one at a time make the same request") {
  EchoServer echo;
  RawPeer peer = RawPeer::connect(echo.port);
  for (char c : std::string("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nwxyz")) {
    peer.send(std::string_view(&c, 1));
  }
  CHECK(peer.receive_message().ends_with("POST /slow wxyz"));
}

TEST_CASE("HEAD has the length and no body") {
  EchoServer echo;
  RawPeer peer = RawPeer::connect(echo.port);
  peer.send("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n");
  const std::string head = peer.receive_until("\r\n\r\n");
  CHECK(head.find("Content-Length: 8\r\n") != std::string::npos);  // "HEAD /x "
  peer.send(get_x);
  CHECK(starts_with(peer.receive_message(), "HTTP/1.1 200"));
}

TEST_CASE("Expect: 100-continue is answered before the body comes") {
  EchoServer echo;
  RawPeer peer = RawPeer::connect(echo.port);
  peer.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
  CHECK(peer.receive_until("\r\n\r\n") == "HTTP/1.1 100 Continue\r\n\r\n");
  peer.send("ok");
  CHECK(peer.receive_message().ends_with("POST /x ok"));
}

TEST_CASE("HTTP/1.0 closes unless it asks to stay") {
  EchoServer echo;
  RawPeer peer = RawPeer::connect(echo.port);
  peer.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  CHECK(peer.receive_message().find("Connection: keep-alive\r\n") != std::string::npos);
  peer.send("GET /b HTTP/1.0\r\n\r\n");
  const std::string last = peer.receive_to_end();
  CHECK(last.find("Connection: close\r\n") != std::string::npos);
  CHECK(last.ends_with("GET /b "));
}

TEST_CASE("what is refused is told in OpenAI's shape, and the connection closes") {
  ServerLimits limits;
  limits.head_bytes = 1024;
  limits.header_fields = 10;
  limits.body_bytes = 100;
  EchoServer echo(limits);
  const std::string many(600, 'a');
  std::string fields;
  for (int i = 0; i < 12; ++i) fields += "f: v\r\n";
  const std::pair<std::string, std::string> cases[] = {
      {"GET / HTTP/1.1\nHost: a\n\n", "400"},
      {"GET / HTTP/1.1\r\n\r\n", "400"},
      {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505"},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n", "413"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n" + many, "413"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", "501"},
      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "400"},
      {"GET /" + many + many + " HTTP/1.1\r\n", "414"},
      {"GET / HTTP/1.1\r\nHost: a\r\nx: " + many + "\r\ny: " + many + "\r\n", "431"},
      {"GET / HTTP/1.1\r\nHost: a\r\n" + fields, "431"},
  };
  for (const auto& [sent, status] : cases) {
    const std::string& bytes = sent;  // as a structured binding is not captured
    CAPTURE(bytes);
    RawPeer peer = RawPeer::connect(echo.port);
    peer.send(bytes);
    peer.send(std::string(50'000, 'b'));  // still sending: the answer must arrive all the same
    peer.shutdown_send();
    const std::string answer = peer.receive_to_end();
    CHECK(starts_with(answer, "HTTP/1.1 " + status));
    CHECK(answer.find("Connection: close\r\n") != std::string::npos);
    CHECK(answer.find("{\"error\":{\"message\":\"") != std::string::npos);
  }
  const ServerStats stats = echo.server.stats();
  CHECK(stats.refused_too_large == 2);
  CHECK(stats.refused_malformed == 8);
}

TEST_CASE("more requests or bytes than may be held: 503 with Retry-After") {
  ServerLimits limits;
  limits.held_requests = 1;
  limits.held_body_bytes = 10;
  EchoServer echo(limits);
  {
    RawPeer first = RawPeer::connect(echo.port);
    first.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n12345678901");
    CHECK(starts_with(first.receive_to_end(), "HTTP/1.1 503"));
  }
  RawPeer holder = RawPeer::connect(echo.port);
  holder.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
  auto exchange = echo.held.get();
  RawPeer second = RawPeer::connect(echo.port);
  second.send(get_x);
  const std::string refused = second.receive_to_end();
  CHECK(starts_with(refused, "HTTP/1.1 503"));
  CHECK(refused.find("Retry-After: 1\r\n") != std::string::npos);
  CHECK(echo.server.stats().refused_overload == 2);
  echo.on_thread(exchange, [&] { exchange->respond(text(200, "")); });
  holder.receive_message();
  exchange.reset();
  echo.held.set(nullptr);
  CHECK(becomes_true([&] { return echo.server.stats().held_requests == 0; }));
  RawPeer third = RawPeer::connect(echo.port);
  third.send(get_x);
  CHECK(starts_with(third.receive_message(), "HTTP/1.1 200"));
}

TEST_CASE("a client that leaves is noticed while its answer is made") {
  EchoServer echo;
  Eventually<bool> gone;
  RawPeer peer = RawPeer::connect(echo.port);
  peer.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
  const auto exchange = echo.held.get();
  SUBCASE("told when it happens") {
    echo.on_thread(exchange, [&] { exchange->on_gone([&] { gone.set(true); }); });
    peer.close();
  }
  SUBCASE("told though asked for afterwards") {
    peer.reset();
    CHECK(becomes_true([&] { return echo.server.stats().open_connections <= 1; }));
    echo.on_thread(exchange, [&] { exchange->on_gone([&] { gone.set(true); }); });
  }
  CHECK(gone.get());
  echo.on_thread(exchange, [&] { exchange->respond(text(200, "into the void")); });
}

TEST_CASE("an exchange dropped without an answer closes its connection") {
  EchoServer echo;
  RawPeer peer = RawPeer::connect(echo.port);
  peer.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
  echo.held.get();
  echo.held.set(nullptr);  // the last reference, dropped on another thread
  CHECK(peer.is_closed_by_peer());
}

TEST_CASE("a streamed answer is chunked; aborted it has no end") {
  EchoServer echo;
  RawPeer peer = RawPeer::connect(echo.port);
  peer.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
  const auto exchange = echo.held.get();
  echo.on_thread(exchange, [&] {
    exchange->begin(200, {});
    exchange->write("hello");
    exchange->write(std::string(20, 'x'));
  });
  const std::string head = peer.receive_until("\r\n\r\n");
  CHECK(head.find("Transfer-Encoding: chunked\r\n") != std::string::npos);
  const std::string chunks = "5\r\nhello\r\n14\r\n" + std::string(20, 'x') + "\r\n";
  CHECK(peer.receive_bytes(chunks.size()) == chunks);
  SUBCASE("ended") {
    echo.on_thread(exchange, [&] { exchange->end(); });
    CHECK(peer.receive_bytes(5) == "0\r\n\r\n");
    peer.send(get_x);
    CHECK(starts_with(peer.receive_message(), "HTTP/1.1 200"));
  }
  SUBCASE("aborted") {
    echo.on_thread(exchange, [&] { exchange->abort(); });
    CHECK(peer.receive_to_end() == "");
  }
}

TEST_CASE("a streamed answer to HTTP/1.0 ends with the connection") {
  EchoServer echo;
  RawPeer peer = RawPeer::connect(echo.port);
  peer.send("GET /held HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  const auto exchange = echo.held.get();
  echo.on_thread(exchange, [&] {
    exchange->begin(200, {});
    exchange->write("hello");
    exchange->end();
  });
  const std::string all = peer.receive_to_end();
  CHECK(all.find("chunked") == std::string::npos);
  CHECK(all.ends_with("\r\n\r\nhello"));
}

TEST_CASE(
    "timeouts: idle closes silently, a slow head or body gets 408, a deaf reader is dropped") {
  ServerLimits limits;
  limits.idle_timeout = limits.head_timeout = limits.body_timeout = std::chrono::milliseconds(40);
  limits.write_timeout = std::chrono::milliseconds(100);
  EchoServer echo(limits);
  RawPeer idle = RawPeer::connect(echo.port);
  CHECK(idle.receive_to_end() == "");
  RawPeer head = RawPeer::connect(echo.port);
  head.send("GET / HTTP/1.1\r\n");
  CHECK(starts_with(head.receive_to_end(), "HTTP/1.1 408"));
  RawPeer body = RawPeer::connect(echo.port);
  body.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
  CHECK(starts_with(body.receive_to_end(), "HTTP/1.1 408"));

  RawPeer deaf = RawPeer::connect(echo.port, 4096);
  deaf.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
  const auto exchange = echo.held.get();
  Eventually<bool> gone;
  echo.on_thread(exchange, [&] {
    exchange->on_gone([&] { gone.set(true); });
    exchange->begin(200, {});
    exchange->write(std::string(32 * 1024 * 1024, 'z'));
    CHECK(exchange->buffered_bytes() > 0);
  });
  CHECK(gone.get());
}

TEST_CASE("a connection older than max_connection_age is asked to leave") {
  ServerLimits limits;
  limits.max_connection_age = std::chrono::seconds(1);
  EchoServer echo(limits);
  RawPeer peer = RawPeer::connect(echo.port);
  peer.send(get_x);
  CHECK(peer.receive_message().find("Connection:") == std::string::npos);
  std::this_thread::sleep_for(std::chrono::milliseconds(1050));
  peer.send(get_x);
  CHECK(peer.receive_to_end().find("Connection: close\r\n") != std::string::npos);
}

TEST_CASE("listening: IPv6, a taken port, a bad address") {
  EchoServer echo;
  const auto taken = echo.server.listen("127.0.0.1", echo.port);
  REQUIRE(taken.has_error());
  CHECK(taken.error().message.find("in use") != std::string::npos);
  CHECK(echo.server.listen("nowhere", 80).has_error());
  const auto v6 = echo.server.listen("[::1]", 0);
  if (v6.has_error()) {
    MESSAGE("no IPv6 here: " << v6.error().message);
    return;
  }
  const int fd = ::socket(AF_INET6, SOCK_STREAM, 0);
  sockaddr_in6 to{};
  to.sin6_family = AF_INET6;
  to.sin6_port = htons(*v6);
  to.sin6_addr = in6addr_loopback;
  REQUIRE(::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
  RawPeer peer(fd);
  peer.send(get_x);
  CHECK(starts_with(peer.receive_message(), "HTTP/1.1 200"));
}

TEST_CASE("a request counts as held until its answer has been sent") {
  EchoServer echo;
  RawPeer peer = RawPeer::connect(echo.port, 4 * 1024);
  peer.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
  const auto exchange = echo.held.get();
  const std::string body(32 * 1024 * 1024, 'x');  // more than the kernel takes
  echo.on_thread(exchange, [&] { exchange->respond(text(200, body)); });
  echo.on_thread(exchange, [] {});  // the write has been tried
  CHECK(echo.server.stats().held_requests == 1);
  CHECK(peer.receive_message().size() > body.size());
  CHECK(becomes_true([&] { return echo.server.stats().held_requests == 0; }));
}

TEST_CASE("a request can be refused at its head, and another's body is heard as it comes") {
  struct Listener final : BodyListener {
    explicit Listener(std::string& into) : heard(into) {}
    void grown(std::string_view body) override {
      heard.append(body.substr(size)).append("|");
      size = body.size();
    }
    std::string& heard;
    std::size_t size = 0;
  };
  std::string heard;
  IoThreads threads(1);
  Eventually<std::string> told;
  HttpServer server(
      threads, {},
      [&](std::shared_ptr<Exchange> exchange) {
        CHECK(exchange->take_listener() != nullptr);
        CHECK(exchange->take_listener() == nullptr);
        told.set(heard);
        exchange->respond(text(200, std::string(exchange->request().body)));
      },
      [&](const HttpRequest& head, IoThread& thread) {
        CHECK(thread.is_current());
        CHECK(head.peer == "127.0.0.1");
        HeadVerdict verdict;
        if (head.path() == "/no") {
          verdict.refusal = text(401, "who are you");
        } else {
          verdict.listener = std::make_unique<Listener>(heard);
        }
        return verdict;
      });
  const auto port = server.listen("127.0.0.1", 0);
  REQUIRE(port.has_value());

  RawPeer waits = RawPeer::connect(*port);
  waits.send("POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
  const std::string refused = waits.receive_message();
  CHECK(starts_with(refused, "HTTP/1.1 401 "));
  CHECK(refused.find("Connection: close") != std::string::npos);

  RawPeer stays = RawPeer::connect(*port);
  stays.send("GET /no HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(stays.receive_message().find("Connection: close") == std::string::npos);
  stays.send("POST /yes HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  stays.send("2\r\nde\r\n0\r\n\r\n");
  CHECK(stays.receive_message().ends_with("abcde"));
  CHECK(told.get() == "abc|de|");
}

TEST_CASE("a long body arrives whole, however it is cut, and one refused half-way is read on") {
  ServerLimits limits;
  limits.body_timeout = std::chrono::milliseconds(50);
  EchoServer echo(limits);
  std::string body;
  for (int i = 0; body.size() < 300'000; ++i) body += std::to_string(i);
  const std::string head =
      "POST /long HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) +
      "\r\n\r\n";
  RawPeer peer = RawPeer::connect(echo.port);
  for (const std::size_t cut : {std::size_t{1}, std::size_t{5'000}, std::size_t{70'000}}) {
    peer.send(head + body.substr(0, cut));
    peer.send(body.substr(cut));
    CHECK(peer.receive_message().ends_with("POST /long " + body));
  }
  peer.send(head + body.substr(0, 100'000));
  CHECK(starts_with(peer.receive_message(), "HTTP/1.1 408 "));
  peer.send(body.substr(100'000, 100'000));  // goes nowhere, and harms nobody
  peer.close();
  CHECK(becomes_true([&] { return echo.server.stats().open_connections == 0; }));
}
