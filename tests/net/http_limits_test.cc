// What HttpServer does beyond its limits, with clients that leave early, and while it closes.
#include "net/address_counts.h"
#include "tests/net/echo_server.h"

using namespace dualmesh::net;
using namespace dualmesh::net::testing;

TEST_CASE("connections over the limit are told so, and the others go on") {
  ServerLimits limits;
  limits.connections = 1;
  EchoServer echo(limits);
  RawPeer first = RawPeer::connect(echo.port);
  first.send(get_x);
  first.receive_message();
  // More at one time than are kept waiting; some send their request, which is not read.
  std::vector<RawPeer> over;
  for (int i = 0; i < 100; ++i) {
    over.push_back(RawPeer::connect(echo.port));
    if (i % 2 == 0 && i < 20) over.back().send(get_x);
  }
  for (std::size_t i = 0; i < over.size(); ++i) {
    CAPTURE(i);
    const std::string answer = over[i].receive_to_end();
    CHECK(starts_with(answer, "HTTP/1.1 503 "));
    CHECK(answer.find("Retry-After: 1\r\n") != std::string::npos);
    CHECK(answer.find("\"code\":\"overloaded\"") != std::string::npos);
  }
  CHECK(echo.server.stats().refused_connections == 100);
  CHECK(echo.server.stats().open_connections == 1);
  first.send(get_x);
  CHECK(starts_with(first.receive_message(), "HTTP/1.1 200"));
  first.close();
  CHECK(becomes_true([&] { return echo.server.stats().open_connections == 0; }));
  RawPeer next = RawPeer::connect(echo.port);
  next.send(get_x);
  CHECK(starts_with(next.receive_message(), "HTTP/1.1 200"));
}

TEST_CASE("an address has its share of connections, and gets it back") {
  ServerLimits limits;
  limits.connections_per_address = 2;
  EchoServer echo(limits, 2);
  RawPeer first = RawPeer::connect(echo.port);
  {
    RawPeer second = RawPeer::connect(echo.port);
    for (RawPeer* peer : {&first, &second}) {
      peer->send(get_x);
      CHECK(starts_with(peer->receive_message(), "HTTP/1.1 200"));
    }
    const std::string refused = RawPeer::connect(echo.port).receive_to_end();
    CHECK(starts_with(refused, "HTTP/1.1 429 "));
    CHECK(refused.find("Retry-After: 1\r\n") != std::string::npos);
    CHECK(echo.server.stats().refused_addresses == 1);
  }
  CHECK(becomes_true([&] { return echo.server.stats().open_connections == 1; }));
  RawPeer next = RawPeer::connect(echo.port);
  next.send(get_x);
  CHECK(starts_with(next.receive_message(), "HTTP/1.1 200"));
}

TEST_CASE("addresses are counted alike however they are written, IPv6 ones by network") {
  AddressCounts counts;
  const auto at = [](const char* text) { return asio::ip::make_address(text); };
  auto one = counts.enter(at("10.0.0.1"), 1);
  CHECK(one);
  CHECK_FALSE(counts.enter(at("::ffff:10.0.0.1"), 1));
  CHECK(counts.enter(at("10.0.0.2"), 1));
  auto network = counts.enter(at("2001:db8::1"), 1);
  CHECK(network);
  CHECK_FALSE(counts.enter(at("2001:db8::ffff:2"), 1));
  CHECK(counts.enter(at("2001:db8:0:1::1"), 1));
  CHECK(counts.addresses() == 2);
  one.reset();
  CHECK(counts.enter(at("10.0.0.1"), 1));
  network.reset();
  CHECK(counts.addresses() == 0);
  CHECK(unmapped(at("::ffff:10.0.0.1")) == at("10.0.0.1"));
  CHECK(unmapped(at("2001:db8::1")) == at("2001:db8::1"));
}

TEST_CASE("a body that drips ends; one that comes at the rate asked for does not") {
  ServerLimits limits;
  limits.body_timeout = std::chrono::milliseconds(100);
  SUBCASE("a little at a time, for ever") {
    limits.min_body_rate_bytes_per_s = 1'000'000;
    EchoServer echo(limits);
    RawPeer peer = RawPeer::connect(echo.port);
    peer.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    // Each gap is shorter than body_timeout, so that alone would never end it.
    CHECK(becomes_true([&] {
      peer.send("x");
      return echo.server.stats().refused_slow == 1;
    }));
    CHECK(starts_with(peer.receive_to_end(), "HTTP/1.1 408"));
  }
  SUBCASE("without a rate there is only the gap") {
    limits.min_body_rate_bytes_per_s = 0;
    limits.body_timeout = std::chrono::seconds(10);
    EchoServer echo(limits);
    RawPeer peer = RawPeer::connect(echo.port);
    peer.send("POST /y HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n");
    for (int i = 0; i < 100; ++i) peer.send("x");
    CHECK(peer.receive_message().ends_with("POST /y " + std::string(100, 'x')));
  }
}

TEST_CASE("heads that have begun and not ended are counted") {
  EchoServer echo;
  const auto half_open = [&] { return echo.server.stats().half_open_connections; };
  RawPeer idle = RawPeer::connect(echo.port);
  std::vector<RawPeer> peers;
  for (int i = 0; i < 3; ++i) {
    peers.push_back(RawPeer::connect(echo.port));
    peers.back().send("GET /x HTTP/1.1\r\n");
  }
  CHECK(becomes_true([&] { return half_open() == 3; }));
  peers[0].send("Host: a\r\n\r\n");
  CHECK(starts_with(peers[0].receive_message(), "HTTP/1.1 200"));
  peers[1].send("wrong\r\n\r\n");
  CHECK(starts_with(peers[1].receive_to_end(), "HTTP/1.1 400"));
  CHECK(half_open() == 1);
  peers[2].close();
  CHECK(becomes_true([&] { return half_open() == 0; }));
}

TEST_CASE("a client that has sent too much ahead and leaves is noticed while its answer is made") {
  EchoServer echo;
  Eventually<bool> gone;
  RawPeer peer = RawPeer::connect(echo.port);
  peer.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
  const auto exchange = echo.held.get();
  echo.on_thread(exchange, [&] { exchange->on_gone([&] { gone.set(true); }); });
  const std::string body(100'000, 'x');  // beyond what is read ahead
  peer.send("POST /next HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + body);
  SUBCASE("closes") { peer.close(); }
  SUBCASE("half-closes") { peer.shutdown_send(); }
  SUBCASE("resets") { peer.reset(); }
  CHECK(gone.get());
}

TEST_CASE("one that has sent too much ahead and stays is served in order") {
  EchoServer echo;
  RawPeer peer = RawPeer::connect(echo.port);
  peer.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
  const auto exchange = echo.held.get();
  const std::string body(100'000, 'x');
  const std::string next =
      "POST /next HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + body;
  std::thread sender([&] { peer.send(next + next + next); });
  std::this_thread::sleep_for(std::chrono::milliseconds(120));  // the kernel is asked twice
  echo.on_thread(exchange, [&] { exchange->respond(text(200, "late")); });
  sender.join();
  CHECK(peer.receive_message().ends_with("late"));
  for (int i = 0; i < 3; ++i) CHECK(peer.receive_message().ends_with("POST /next " + body));
}

TEST_CASE("while the server closes, what has begun is served and the idle are let go") {
  EchoServer echo({}, 2);
  RawPeer begun = RawPeer::connect(echo.port);
  begun.send(get_x);
  CHECK(begun.receive_message().find("Connection:") == std::string::npos);
  RawPeer idle = RawPeer::connect(echo.port);
  idle.send(get_x);
  idle.receive_message();
  begun.send("GET /x HTTP/1.1\r\n");
  CHECK(becomes_true([&] { return echo.server.stats().half_open_connections == 1; }));
  RawPeer waiting =
      RawPeer::connect(echo.port);  // completed by the kernel, perhaps not accepted yet
  waiting.send(get_x);
  echo.server.close_listener();
  CHECK(starts_with(waiting.receive_message(), "HTTP/1.1 200"));
  CHECK(idle.is_closed_by_peer());  // long before its idle_timeout
  begun.send("Host: a\r\n\r\n");
  CHECK(begun.receive_to_end().find("Connection: close\r\n") != std::string::npos);
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  const sockaddr_in to = RawPeer::loopback(echo.port);
  CHECK(::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0);
  ::close(fd);
}

TEST_CASE("a listener on [::] takes IPv4 as well, and knows such a client by its IPv4 address") {
  IoThreads threads(1);
  Eventually<std::string> peer_address;
  HttpServer server(threads, {}, [&](std::shared_ptr<Exchange> exchange) {
    peer_address.set(exchange->request().peer);
    exchange->respond(text(200, ""));
  });
  const auto port = server.listen("[::]", 0);
  if (port.has_error()) {
    MESSAGE("no IPv6 here: " << port.error().message);
    return;
  }
  RawPeer peer = RawPeer::connect(*port);
  peer.send(get_x);
  CHECK(starts_with(peer.receive_message(), "HTTP/1.1 200"));
  CHECK(peer_address.get() == "127.0.0.1");
}
