// What the tests of KvStream are written with: batches by their sequence, and a machine with all
// that it said. Threads: none.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tests/node/kv/kv_stream_scene.h"

namespace dualmesh::node::test {

inline constexpr double kFirst_s = 1.7e9;
inline constexpr std::uint64_t kFirst_us = 1'700'000'000'000'000;

inline RawBatch batch(std::uint64_t sequence, double life_s = kFirst_s) {
  return {sequence, batch_payload(life_s + 0.5 * static_cast<double>(sequence))};
}

inline StreamPosition position(std::uint64_t epoch, std::uint64_t end, std::uint64_t last_batch) {
  StreamPosition position;
  position.epoch = crdt::Epoch{epoch};
  position.end = crdt::Version{end};
  position.last_batch = last_batch;
  return position;
}

inline std::uint64_t digest(const RawBatch& batch) {
  return batch_digest(batch.sequence, batch.payload);
}

// A machine, what it asked for last, and all it delivered.
struct Played {
  explicit Played(bool has_replay, StreamSettings settings = {})
      : machine((settings.has_replay = has_replay, settings)) {}
  KvStream machine;
  Time now = seconds(100);
  std::vector<StreamWants::Deliver> delivered;
  std::vector<std::uint64_t> begun;  // empty lives
  std::optional<std::uint64_t> asked;
  bool reconnect = false;

  void take(StreamWants& wants) {
    for (auto& one : wants.deliver) delivered.push_back(std::move(one));
    if (wants.begun) begun.push_back(wants.begun->value);
    asked = wants.replay_from;
    reconnect = wants.reconnect;
  }
  void connected() {
    StreamWants wants;
    machine.connected(now, wants);
    take(wants);
  }
  void told(const StreamPosition& mesh) {
    StreamWants wants;
    machine.mesh_known(mesh, wants);
    take(wants);
  }
  void live(RawBatch batch) {
    StreamWants wants;
    machine.live(std::move(batch), now, wants);
    take(wants);
  }
  void replayed(RawBatch batch) {
    StreamWants wants;
    machine.replayed(std::move(batch), now, wants);
    take(wants);
  }
  void over() {
    StreamWants wants;
    machine.replay_over(now, wants);
    take(wants);
  }
  void pass(Duration time) {
    now += time;
    StreamWants wants;
    machine.tick(now, wants);
    take(wants);
  }
  std::vector<std::uint64_t> sequences() const {
    std::vector<std::uint64_t> all;
    for (const auto& one : delivered) all.push_back(one.batch.sequence);
    return all;
  }
  std::uint64_t epoch() const { return delivered.empty() ? 0 : delivered.back().epoch.value; }
};

using Sequences = std::vector<std::uint64_t>;

// Up to and with batch 2, of a stream nobody knew.
inline Played begun(StreamSettings settings = {}) {
  Played played(true, settings);
  played.connected();
  for (int i = 0; i < 3; ++i) played.replayed(batch(i));
  played.over();
  return played;
}

}  // namespace dualmesh::node::test
