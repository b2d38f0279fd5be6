// The sockets of streams against real publishers on this host.
#include "node/kv/zmq_subscriptions.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <thread>

#include "tests/node/kv/zmq_stub.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::test;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

policies::Time clock_now() { return std::chrono::steady_clock::now().time_since_epoch(); }

struct Heard final : ZmqSink {
  int ups = 0, downs = 0, overs = 0;
  std::vector<RawBatch> lives, replays;
  std::function<void()> on_connected, on_live;
  void connected() override {
    ++ups;
    if (on_connected) on_connected();
  }
  void disconnected() override { ++downs; }
  void live(RawBatch batch) override {
    lives.push_back(std::move(batch));
    if (on_live) on_live();
  }
  void replayed(RawBatch batch) override { replays.push_back(std::move(batch)); }
  void replay_over() override { ++overs; }
};

// Pumps until it is so; the limit only ends a test that has failed.
bool pump_until(
    ZmqSubscriptions& all, const std::function<bool()>& done,
    const std::function<void()>& meanwhile = [] {}) {
  const auto end = clock_now() + seconds(30);
  while (!done()) {
    if (clock_now() > end) return false;
    all.pump(clock_now(), milliseconds(2));
    meanwhile();
  }
  return true;
}

KvEndpoints endpoints_of(const ZmqStub& stub, const std::string& topic = "") {
  return {stub.events(), stub.replay(), topic, 1};
}

// Connected, and the publisher knows of the subscription.
void join(ZmqSubscriptions& all, ZmqStub& stub, Heard& heard, const std::string& topic = "") {
  REQUIRE(pump_until(
      all, [&] { return !heard.lives.empty(); }, [&] { stub.publish(0, "hello", topic); }));
  REQUIRE(heard.ups == 1);
}

}  // namespace

TEST_CASE("live batches come in order, after the connection, of the topic alone") {
  ZmqStub stub;
  Heard heard;
  ZmqSubscriptions all;
  all.add(1, endpoints_of(stub, "kv@"), 0, heard);
  join(all, stub, heard, "kv@pod@model");
  stub.publish(7, "of others", "other");
  for (std::uint64_t i = 1; i <= 1000; ++i) stub.publish(i, std::to_string(i), "kv@a");
  REQUIRE(pump_until(all, [&] { return heard.lives.back().sequence == 1000; }));
  const std::size_t first = heard.lives.size() - 1000;
  for (std::uint64_t i = 1; i <= 1000; ++i) {
    REQUIRE(heard.lives[first + i - 1] == RawBatch{i, std::to_string(i)});
  }
}

TEST_CASE("frames that no engine sends are told as no sequence") {
  ZmqStub stub;
  Heard heard;
  ZmqSubscriptions all;
  all.add(1, endpoints_of(stub), 0, heard);
  join(all, stub, heard);
  const std::vector<std::vector<std::string>> bad = {{""},
                                                     {"", ZmqStub::eight(1)},
                                                     {"", "1234567", "x"},
                                                     {"", ZmqStub::eight(1), "x", "y"},
                                                     {"", ZmqStub::eight(1), "x", "y", "z", "a"}};
  for (const auto& frames : bad) stub.publish_raw(frames);
  stub.publish(9, "good");
  REQUIRE(pump_until(all, [&] { return heard.lives.back().sequence == 9; }));
  const auto odd = std::count_if(heard.lives.begin(), heard.lives.end(),
                                 [](const RawBatch& b) { return b.sequence == kNoSequence; });
  CHECK(odd == 5);
}

TEST_CASE("replay in both framings, and the newest request alone is answered") {
  for (const auto framing : {ZmqStub::Framing::two, ZmqStub::Framing::three}) {
    ZmqStub stub;
    stub.framing = framing;
    Heard heard;
    ZmqSubscriptions all;
    heard.on_connected = [&] {
      all.ask_replay(1, 0);
      all.ask_replay(1, 5000);
    };
    all.add(1, endpoints_of(stub), 0, heard);
    REQUIRE(pump_until(
        all, [&] { return heard.overs > 0; }, [&] { stub.serve_replay(10'000); }));
    REQUIRE(heard.replays.size() == 5000);
    for (std::uint64_t i = 0; i < 5000; ++i) {
      REQUIRE(heard.replays[i] == RawBatch{5000 + i, std::to_string(5000 + i)});
    }
    CHECK(heard.overs == 1);
  }
}

TEST_CASE("a sink may ask for a replay while it is told of the connection") {
  ZmqStub stub;
  Heard heard;
  ZmqSubscriptions all;
  heard.on_connected = [&] { all.ask_replay(4, 2); };
  all.add(4, endpoints_of(stub), 0, heard);
  REQUIRE(pump_until(
      all, [&] { return heard.overs > 0; }, [&] { stub.serve_replay(3); }));
  CHECK(heard.replays == std::vector<RawBatch>{{2, "2"}});
}

TEST_CASE("a publisher that goes and comes back is connected to again") {
  auto stub = std::make_unique<ZmqStub>();
  const KvEndpoints endpoints = endpoints_of(*stub);
  Heard heard;
  ZmqSubscriptions all;
  all.add(1, endpoints, 0, heard);
  join(all, *stub, heard);
  for (int life = 1; life <= 3; ++life) {
    stub->publish(77, "last words");
    stub.reset();
    REQUIRE(pump_until(all, [&] { return heard.downs == life; }));
    CHECK(heard.ups == life);
    stub = std::make_unique<ZmqStub>(endpoints.events, endpoints.replay);
    REQUIRE(pump_until(all, [&] { return heard.ups == life + 1; }));
    heard.lives.clear();
    REQUIRE(pump_until(
        all, [&] { return !heard.lives.empty(); }, [&] { stub->publish(0, "new"); }));
    CHECK(heard.lives[0] == RawBatch{0, "new"});
  }
}

TEST_CASE("what answers and is no publisher is told from what does not answer") {
  ZmqStub stub;
  Heard swapped, good, nobody;
  ZmqSubscriptions all;
  all.add(1, {stub.replay(), stub.events(), "", 1}, 0, swapped);
  all.add(2, endpoints_of(stub), 0, good);
  all.add(3, {"tcp://127.0.0.1:1", "", "", 1}, 0, nobody);
  const auto said = [&] { return !all.last_error(1).empty() && good.ups > 0; };
  REQUIRE(pump_until(all, said));
  CHECK(all.last_error(1) == "what answers there is no publisher of events");
  CHECK(swapped.ups == 0);
  CHECK(all.last_error(2) == "");
  CHECK(all.last_error(3) == "");
}

TEST_CASE("an HTTP server is no publisher") {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  REQUIRE(bind(listener, reinterpret_cast<sockaddr*>(&at), size) == 0);
  REQUIRE(listen(listener, 8) == 0);
  REQUIRE(getsockname(listener, reinterpret_cast<sockaddr*>(&at), &size) == 0);
  Heard heard;
  ZmqSubscriptions all;
  all.add(1, {"tcp://127.0.0.1:" + std::to_string(ntohs(at.sin_port)), "", "", 1}, 0, heard);
  const auto answer = [&] {
    const int client = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
    if (client < 0) return;
    const std::string text = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    CHECK(send(client, text.data(), text.size(), MSG_NOSIGNAL) > 0);
    close(client);
  };
  REQUIRE(fcntl(listener, F_SETFL, O_NONBLOCK) == 0);
  CHECK(pump_until(
      all, [&] { return !all.last_error(1).empty(); }, answer));
  CHECK(heard.ups == 0);
  close(listener);
}

TEST_CASE("what came before the end of a connection is told before it") {
  auto stub = std::make_unique<ZmqStub>();
  Heard heard;
  ZmqSettings settings;
  settings.turn_messages = 10;
  ZmqSubscriptions all(settings);
  all.add(1, endpoints_of(*stub), 0, heard);
  join(all, *stub, heard);
  for (std::uint64_t i = 1; i <= 300; ++i) stub->publish(i, "x");
  std::this_thread::sleep_for(milliseconds(300));  // they arrive, unread
  stub.reset();
  std::this_thread::sleep_for(milliseconds(100));
  REQUIRE(pump_until(all, [&] { return heard.downs == 1; }));
  CHECK(heard.lives.back().sequence == 300);
}

TEST_CASE("a new subscription on demand, and one that is removed is silent") {
  ZmqStub stub;
  Heard heard;
  ZmqSubscriptions all;
  all.add(1, endpoints_of(stub), 0, heard);
  join(all, stub, heard);
  all.reconnect(1);
  REQUIRE(pump_until(all, [&] { return heard.ups == 2; }));
  CHECK(heard.downs == 0);
  heard.on_live = [&] { all.remove(1); };
  heard.lives.clear();
  REQUIRE(pump_until(
      all, [&] { return !heard.lives.empty(); },
      [&] {
        for (std::uint64_t i = 0; i < 20; ++i) stub.publish(i, "x");
      }));
  CHECK(heard.lives.size() == 1);
  CHECK(all.size() == 0);
  for (int i = 0; i < 50; ++i) all.pump(clock_now(), milliseconds(1));
  CHECK(heard.lives.size() == 1);
  CHECK(heard.downs == 0);
}

TEST_CASE("closing while connecting does not hang") {
  // Accepted by the system and never answered, refused, and nowhere.
  const int silent = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  REQUIRE(::bind(silent, reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(::listen(silent, 5) == 0);
  REQUIRE(::getsockname(silent, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  const std::string mute = "tcp://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  Heard heard;
  for (int round = 0; round < 20; ++round) {
    ZmqSubscriptions all;
    std::uint64_t id = 0;
    for (const std::string& events :
         {mute, std::string("tcp://127.0.0.1:1"), std::string("tcp://192.0.2.1:5557"),
          std::string("tcp://no-such-host.invalid:5557")}) {
      all.add(++id, {events, events, "", 1}, 0, heard);
      all.ask_replay(id, 0);
    }
    for (int i = 0; i < round; ++i) all.pump(clock_now(), milliseconds(1));
    if (round % 2 == 0) all.remove(1);
    for (std::uint64_t again = 2; again <= id; ++again) all.reconnect(again);
    all.pump(clock_now(), milliseconds(0));
  }
  ::close(silent);
  CHECK(heard.ups == 0);
}

TEST_CASE("a flood of one stream lets the others be served") {
  ZmqStub loud, low;
  Heard of_loud, of_low;
  ZmqSettings settings;
  settings.turn_messages = 50;
  ZmqSubscriptions all(settings);
  all.add(1, endpoints_of(loud), 0, of_loud);
  all.add(2, endpoints_of(low), 0, of_low);
  join(all, loud, of_loud);
  join(all, low, of_low);
  REQUIRE(pump_until(all, [&] { return all.pump(clock_now(), milliseconds(20)) == false; }));
  for (std::uint64_t i = 1; i <= 20'000; ++i) loud.publish(i, "x");
  low.publish(1, "y");
  REQUIRE(pump_until(all, [&] { return of_low.lives.back().sequence == 1; }));
  REQUIRE(pump_until(all, [&] { return of_loud.lives.back().sequence == 20'000; }));
  // Few are held here, and none is lost: the publisher waits for us.
  CHECK(std::ranges::count_if(of_loud.lives,
                              [](const RawBatch& batch) { return batch.sequence > 0; }) == 20'000);
  const std::size_t before = of_loud.lives.size();
  for (std::uint64_t i = 1; i <= 500; ++i) loud.publish(i, "x");
  std::this_thread::sleep_for(milliseconds(100));
  all.pump(clock_now(), milliseconds(100));
  CHECK(of_loud.lives.size() <= before + 50);
}

TEST_CASE("waking ends a wait, also before it begins") {
  ZmqSubscriptions all;
  all.wake();
  all.pump(clock_now(), seconds(30));
  std::thread other([&] {
    std::this_thread::sleep_for(milliseconds(20));
    all.wake();
  });
  const auto begin = clock_now();
  all.pump(clock_now(), seconds(30));
  other.join();
  CHECK(clock_now() - begin < seconds(25));
}

TEST_CASE("a hundred streams, each with its own") {
  constexpr std::size_t kStreams = 100;
  ZmqSubscriptions all;
  std::vector<std::unique_ptr<ZmqStub>> stubs;
  std::vector<std::unique_ptr<Heard>> heard;
  for (std::size_t i = 0; i < kStreams; ++i) {
    stubs.push_back(std::make_unique<ZmqStub>());
    heard.push_back(std::make_unique<Heard>());
    all.add(i, endpoints_of(*stubs[i]), 0, *heard[i]);
  }
  for (std::size_t i = 0; i < kStreams; ++i) join(all, *stubs[i], *heard[i]);
  for (std::uint64_t n = 1; n <= 50; ++n) {
    for (std::size_t i = 0; i < kStreams; ++i) stubs[i]->publish(n, std::to_string(i));
  }
  for (std::size_t i = 0; i < kStreams; ++i) {
    REQUIRE(pump_until(all, [&] { return heard[i]->lives.back().sequence == 50; }));
    CHECK(heard[i]->lives.back().payload == std::to_string(i));
    CHECK(heard[i]->downs == 0);
  }
}
