// An engine's two sockets, PUB and ROUTER, on ports the system picks.
#pragma once

#include <doctest/doctest.h>
#include <zmq.h>

#include <cstdint>
#include <string>
#include <vector>

namespace dualmesh::node::test {

class ZmqStub {
 public:
  enum class Framing : std::uint8_t { two, three };  // frames after the empty one

  explicit ZmqStub(std::string events = "tcp://127.0.0.1:*",
                   std::string replay = "tcp://127.0.0.1:*")
      : context_(zmq_ctx_new()), pub_(bound(ZMQ_PUB, events)), router_(bound(ZMQ_ROUTER, replay)) {
    events_ = name(pub_);
    replay_ = name(router_);
  }
  ~ZmqStub() {
    zmq_close(pub_);
    zmq_close(router_);
    zmq_ctx_term(context_);
  }
  ZmqStub(const ZmqStub&) = delete;
  ZmqStub& operator=(const ZmqStub&) = delete;

  const std::string& events() const { return events_; }
  const std::string& replay() const { return replay_; }
  Framing framing = Framing::three;

  void send(void* socket, const std::vector<std::string>& frames) {
    for (std::size_t i = 0; i < frames.size(); ++i) {
      const int more = i + 1 < frames.size() ? ZMQ_SNDMORE : 0;
      REQUIRE(zmq_send(socket, frames[i].data(), frames[i].size(), more) >= 0);
    }
  }
  static std::string eight(std::uint64_t value) {
    std::string bytes;
    for (int shift = 56; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
    return bytes;
  }
  void publish(std::uint64_t sequence, const std::string& payload, const std::string& topic = "") {
    send(pub_, {topic, eight(sequence), payload});
  }
  void publish_raw(const std::vector<std::string>& frames) { send(pub_, frames); }

  // Answers a request, if there is one, with batches up to `end`, from whose payload is their
  // number.
  bool serve_replay(std::uint64_t end) {
    std::vector<std::string> request;
    char bytes[256];
    int more = 1;
    while (more != 0) {
      const int size = zmq_recv(router_, bytes, sizeof bytes, ZMQ_DONTWAIT);
      if (size < 0) return false;
      request.emplace_back(bytes, static_cast<std::size_t>(size));
      std::size_t length = sizeof more;
      zmq_getsockopt(router_, ZMQ_RCVMORE, &more, &length);
    }
    REQUIRE(request.size() == 3);
    REQUIRE(request[1].empty());
    REQUIRE(request[2].size() == 8);
    std::uint64_t from = 0;
    for (const char c : request[2]) from = from << 8 | static_cast<unsigned char>(c);
    for (; from < end; ++from) reply(request[0], eight(from), std::to_string(from));
    reply(request[0], eight(UINT64_MAX), "");
    return true;
  }

 private:
  void reply(const std::string& to, const std::string& sequence, const std::string& payload) {
    if (framing == Framing::two) return send(router_, {to, "", sequence, payload});
    send(router_, {to, "", "kv", sequence, payload});
  }
  void* bound(int type, const std::string& address) {
    void* socket = zmq_socket(context_, type);
    const int none = 0;
    zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none);
    zmq_setsockopt(socket, ZMQ_SNDHWM, &none, sizeof none);
    REQUIRE_MESSAGE(zmq_bind(socket, address.c_str()) == 0, zmq_strerror(zmq_errno()));
    return socket;
  }
  static std::string name(void* socket) {
    char text[256];
    std::size_t size = sizeof text;
    zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, text, &size);
    return text;
  }

  void* context_;
  void* pub_;
  void* router_;
  std::string events_, replay_;
};

}  // namespace dualmesh::node::test
