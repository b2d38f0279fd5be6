// Two nodes that talk about caches, without a mesh between.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "node/kv/kv_codec.h"
#include "node/kv/kv_exchange.h"

namespace dualmesh::node::test {

using namespace std::chrono_literals;

struct Pair {
  explicit Pair(std::uint32_t observers = 1, std::size_t max_message_bytes = 1 << 20)
      : settings{.observers = observers, .max_message_bytes = max_message_bytes} {
    for (std::uint32_t rank = 0; rank < 32; ++rank) keys.push_back({"engine", rank});
    for (KvState* state : {&state_a, &state_b}) state->set_streams(keys);
    a.set_peers(std::vector{KvPeer{kB, {1}}}, now);
    b.set_peers(std::vector{KvPeer{kA, {1}}}, now);
  }
  void tick(policies::Duration later) {
    now += later;
    a.tick(now);
    b.tick(now);
  }
  void talk() {
    for (int i = 0; i < 4; ++i) {
      a.received(kB, b.take(kA, now), now);
      std::string said = a.take(kB, now);
      if (spoil) said = spoilt(said);
      b.received(kA, said, now);
    }
  }
  // In turns of 20 ms.
  void pass(policies::Duration time) {
    for (; time > 0ms; time -= 20ms) {
      tick(20ms);
      talk();
    }
  }
  // Blocks are lost from pieces.
  static std::string spoilt(const std::string& message) {
    std::string other;
    if (message.empty()) return other;
    auto sections = read_message(message);
    for (KvSection& section : *sections) {
      if (auto* piece = std::get_if<KvPiece>(&section); piece && !piece->entries.empty()) {
        piece->entries.pop_back();
        --piece->total;
      }
      write_section(section, other);
    }
    return other;
  }
  std::size_t observed_by_a() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(keys, [&](const StreamKey& key) { return a.observes(key); }));
  }
  // So it pushes it to B.
  const StreamKey& first_observed_by_a() const {
    const auto found =
        std::ranges::find_if(keys, [&](const StreamKey& key) { return a.observes(key); });
    REQUIRE(found != keys.end());
    return *found;
  }

  static constexpr crdt::NodeId kA{1}, kB{2};
  const KvExchangeSettings settings;
  policies::Time now{1000s};
  bool spoil = false;
  std::vector<StreamKey> keys;
  KvState state_a{{}}, state_b{{}};
  KvExchange a{state_a, kA, settings}, b{state_b, kB, settings};
};

}  // namespace dualmesh::node::test
