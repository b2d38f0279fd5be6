// EventPublisher: puts the KV events of every instance and rank of this process on ZeroMQ sockets,
// as vLLM and SGLang do: live ones published, recent ones replayed on request.
//
// Live: [topic, sequence, batch]; the sequence is 8 bytes big-endian and counts from 0 per stream.
// Replay: a request [empty, sequence] gets every batch still kept from there on, oldest first, as
// [empty, sequence, batch] or [empty, topic, sequence, batch], then the end: sequence of all ones,
// empty batch. Other requests get no answer. Loss and duplicates strike live messages alone.
//
// Invariant: per stream, sequences are consecutive in the order of publish().
// Threads: publish() from any thread and at once; one thread of its own encodes, sends and replays.
// Source: the ZeroMQ event publishers of vLLM and SGLang; libzmq.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "net/error.h"
#include "node/engine/event_encoder.h"

namespace dualmesh::node {

struct EventStreamSettings {
  std::string events;  // endpoint bound; port 0 picks one
  std::string replay;  // the same; empty: no replay
  std::string topic;
  KvEncoding encoding;
  std::uint32_t replay_frames = 3;  // 2: without the topic
  std::uint32_t buffer_steps = 10'000;
  std::uint32_t rank = 0;
  bool says_rank = true;
  double loss = 0.0;       // probability that a live message is not sent
  double duplicate = 0.0;  // that it is sent twice
};

struct EventEndpoints {
  std::string events, replay;  // as bound
};

class EventPublisher {
 public:
  explicit EventPublisher(std::uint64_t seed);  // of loss and duplicates
  ~EventPublisher();

  // Binds at once. Streams count from 0 and are all added before start().
  net::Result<EventEndpoints> add(const EventStreamSettings& settings);
  void start();
  // A batch of `stream`, also before start(); `unix_s` is its time stamp.
  void publish(std::size_t stream, std::vector<KvEvent> events, double unix_s);
  void stop();  // what has been published so far is sent; nothing is after that

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dualmesh::node
