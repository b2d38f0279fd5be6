// An engine that publishes, loses, replays and restarts, and the subscription to it, in virtual
// time: what the tests of KvStream are played on.
#pragma once

#include <bit>
#include <cstdint>
#include <deque>
#include <map>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "node/kv/kv_stream.h"

namespace dualmesh::node::test {

using policies::Duration;
using policies::Time;
using std::chrono::milliseconds;
using std::chrono::seconds;

// [stamp, [], nil], as engines begin their batches.
inline std::string batch_payload(double stamp_s) {
  std::string payload = "\x93\xcb";
  const auto bits = std::bit_cast<std::uint64_t>(stamp_s);
  for (int shift = 56; shift >= 0; shift -= 8) payload += static_cast<char>(bits >> shift);
  return payload + "\x90\xc0";
}

struct BatchId {
  std::size_t life = 0;
  std::uint64_t sequence = 0;
  auto operator<=>(const BatchId&) const = default;
};

// One process after the other at one address.
struct ModelEngine {
  std::size_t buffer_batches = 0;
  double clock_s = 1.7e9;
  bool clock_steps_back = false;
  std::vector<std::vector<std::string>> lives{{}};
  std::unordered_map<std::string, BatchId> ids;

  std::vector<std::string>& now_living() { return lives.back(); }
  std::uint64_t oldest() {
    const std::size_t said = now_living().size();
    return said > buffer_batches ? said - buffer_batches : 0;
  }
  const std::string& publish() {
    clock_s += 0.001;
    std::string payload = batch_payload(clock_s);
    ids[payload] = {lives.size() - 1, now_living().size()};
    return now_living().emplace_back(std::move(payload));
  }
  void restart() {
    lives.emplace_back();
    clock_s += clock_steps_back ? -500.0017 : 1.0;
  }
};

struct Faults {
  double pub_loss = 0.0, replay_loss = 0.0, dead_replay = 0.0, duplicate = 0.0;
};

// One node's subscription, with the wires between.
class Subscriber {
 public:
  struct Delivered {
    StreamWants::Deliver what;
    BatchId id;
    std::uint64_t first_served = 0;  // by the replay before
  };

  Subscriber(StreamSettings settings, ModelEngine& engine, std::mt19937_64& random)
      : machine(settings), settings_(settings), engine_(engine), random_(random) {}

  KvStream machine;
  Faults faults;
  std::vector<Delivered> delivered;
  StreamPosition position;  // what its node has made of it
  Time now{0};

  bool chance(double p) { return std::uniform_real_distribution<>(0, 1)(random_) < p; }

  void hear(std::uint64_t sequence, const std::string& payload) {  // the engine published
    if (!connected_ || chance(faults.pub_loss)) return;
    live_.push_back({sequence, payload});
    if (chance(faults.duplicate)) live_.push_back({sequence, payload});
  }
  void connect() {
    connected_ = true;
    with([&](StreamWants& wants) { machine.connected(now, wants); });
  }
  void disconnect() {
    if (connected_) machine.disconnected(now);
    connected_ = false;
    live_.clear();
    replies_.clear();
    asked_ = false;
  }
  bool is_connected() const { return connected_; }
  void told(const StreamPosition& mesh) {
    with([&](StreamWants& wants) { machine.mesh_known(mesh, wants); });
  }
  // Up to so many messages of each socket, in any mixture.
  void read(std::size_t at_most) {
    for (std::size_t i = 0; i < at_most && (!live_.empty() || !replies_.empty()); ++i) {
      const bool from_live = replies_.empty() || (!live_.empty() && chance(0.5));
      auto& queue = from_live ? live_ : replies_;
      RawBatch batch = std::move(queue.front());
      queue.pop_front();
      with([&](StreamWants& wants) {
        if (from_live) return machine.live(std::move(batch), now, wants);
        if (batch.sequence == kNoSequence) return machine.replay_over(now, wants);
        machine.replayed(std::move(batch), now, wants);
      });
    }
  }
  void tick() {
    with([&](StreamWants& wants) { machine.tick(now, wants); });
  }
  void serve_replay() {  // the engine comes round to answer
    if (!asked_ || !connected_) return;
    asked_ = false;
    if (chance(faults.dead_replay)) return;
    const auto& life = engine_.now_living();
    first_served_ = std::max(asked_from_, engine_.oldest());
    for (std::uint64_t i = first_served_; i < life.size(); ++i) {
      if (!chance(faults.replay_loss)) replies_.push_back({i, life[i]});
    }
    if (!chance(faults.replay_loss)) replies_.push_back({kNoSequence, ""});
  }

 private:
  template <class Action>
  void with(Action action) {
    StreamWants wants;
    action(wants);
    if (wants.begun) {
      const bool is_new = delivered.empty() || delivered.back().id.life + 1 < engine_.lives.size();
      if (!is_new) ++false_beginnings;
      if (*wants.begun > position.epoch) position = {.epoch = *wants.begun};
    }
    for (auto& deliver : wants.deliver) {
      const BatchId id = engine_.ids.at(deliver.batch.payload);
      if (deliver.epoch >= position.epoch) {
        position.epoch = deliver.epoch;
        position.end = crdt::Version{deliver.batch.sequence + 1};
        position.last_batch = deliver.digest;
      }
      delivered.push_back({std::move(deliver), id, first_served_});
    }
    if (wants.replay_from) {
      asked_ = true;
      asked_from_ = *wants.replay_from;
      replies_.clear();
    }
    if (wants.reconnect) {
      disconnect();
      wanted_reconnect = true;
    }
  }

 public:
  bool wanted_reconnect = false;
  std::size_t false_beginnings = 0;  // of empty lives, by an engine in the life we hear

 private:
  StreamSettings settings_;
  ModelEngine& engine_;
  std::mt19937_64& random_;
  bool connected_ = false;
  bool asked_ = false;
  std::uint64_t asked_from_ = 0;
  std::uint64_t first_served_ = 0;
  std::deque<RawBatch> live_, replies_;
};

}  // namespace dualmesh::node::test
