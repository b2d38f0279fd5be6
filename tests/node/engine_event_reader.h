// Reads a simulated engine's event sockets for tests, by another MessagePack library than its
// writer.
#pragma once

#include <doctest/doctest.h>
#include <zmq.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace dualmesh::node {

using Frames = std::vector<std::string>;

inline nlohmann::json decode_batch(const std::string& payload) {
  return nlohmann::json::from_msgpack(payload);
}

inline std::string eight_bytes(std::uint64_t value) {
  std::string out;
  for (int shift = 56; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift);
  return out;
}

class EventSocket {
 public:
  EventSocket(int type, const std::string& endpoint)
      : context_(zmq_ctx_new()), socket_(zmq_socket(context_, type)) {
    const int none = 0;
    const int patience_ms = 20'000;
    zmq_setsockopt(socket_, ZMQ_RCVHWM, &none, sizeof none);
    zmq_setsockopt(socket_, ZMQ_LINGER, &none, sizeof none);
    zmq_setsockopt(socket_, ZMQ_RCVTIMEO, &patience_ms, sizeof patience_ms);
    if (type == ZMQ_SUB) zmq_setsockopt(socket_, ZMQ_SUBSCRIBE, "", 0);
    REQUIRE(zmq_connect(socket_, endpoint.c_str()) == 0);
  }
  ~EventSocket() {
    zmq_close(socket_);
    zmq_ctx_term(context_);
  }
  EventSocket(const EventSocket&) = delete;

  void* raw() { return socket_; }
  void send(const Frames& frames) {
    for (std::size_t i = 0; i < frames.size(); ++i) {
      const int more = i + 1 < frames.size() ? ZMQ_SNDMORE : 0;
      REQUIRE(zmq_send(socket_, frames[i].data(), frames[i].size(), more) >= 0);
    }
  }
  Frames receive() {
    Frames frames;
    int more = 1;
    while (more) {
      zmq_msg_t message;
      zmq_msg_init(&message);
      REQUIRE(zmq_msg_recv(&message, socket_, 0) >= 0);
      frames.emplace_back(static_cast<const char*>(zmq_msg_data(&message)), zmq_msg_size(&message));
      more = zmq_msg_more(&message);
      zmq_msg_close(&message);
    }
    return frames;
  }

 private:
  void* context_;
  void* socket_;
};

// Every message of a replay from `from`, without the end.
inline std::vector<Frames> replayed(const std::string& endpoint, std::uint64_t from) {
  EventSocket dealer(ZMQ_DEALER, endpoint);
  dealer.send({"", eight_bytes(from)});
  std::vector<Frames> all;
  for (;;) {
    Frames frames = dealer.receive();
    REQUIRE(frames.size() >= 3);
    REQUIRE(frames.front().empty());
    if (frames[frames.size() - 2] == eight_bytes(UINT64_MAX)) {
      CHECK(frames.back().empty());
      return all;
    }
    all.push_back(std::move(frames));
  }
}

// The events of all batches from `from` on, in order.
inline nlohmann::json replayed_events(const std::string& endpoint, std::uint64_t from = 0) {
  nlohmann::json events = nlohmann::json::array();
  for (const Frames& frames : replayed(endpoint, from)) {
    const nlohmann::json batch = decode_batch(frames.back());
    for (const auto& event : batch[1]) events.push_back(event);
  }
  return events;
}

}  // namespace dualmesh::node
