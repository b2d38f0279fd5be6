// The bytes of event batches, and how they travel.
#include <doctest/doctest.h>

#include <set>

#include "node/engine/event_publisher.h"
#include "tests/node/engine_event_reader.h"

namespace dualmesh::node {
namespace {

using nlohmann::json;

constexpr std::uint64_t kLarge = 0xfedcba9876543210;

std::shared_ptr<const KvPrompt> prompt(std::string lora = {}, std::string salt = {}) {
  KvPrompt made{{1, 2, 70'000, 130'000, 5, 6}, lora, lora.empty() ? 0u : 3u, salt};
  return std::make_shared<const KvPrompt>(std::move(made));
}

std::vector<KvEvent> some_events() {
  return {KvStored{{kLarge, 9}, 0, 0, prompt("adapter", "salt")}, KvStored{{10}, 2, 9, prompt()},
          KvRemoved{{kLarge, 10}}, KvCleared{}};
}

json batch_of(KvFormat format, bool bytes = false,
              std::optional<std::uint32_t> rank = std::nullopt) {
  const std::string payload = encode_batch({format, bytes, 2}, 1.1, some_events(), rank);
  // Shortest forms throughout: written again by the other library it is the same.
  const auto in_order = nlohmann::ordered_json::from_msgpack(payload);
  const auto again = nlohmann::ordered_json::to_msgpack(in_order);
  CHECK(std::string(again.begin(), again.end()) == payload);
  return decode_batch(payload);
}

TEST_CASE("vLLM's batches: maps since 0.24, arrays before") {
  const json stored = {{"type", "BlockStored"},
                       {"block_hashes", {kLarge, 9}},
                       {"parent_block_hash", nullptr},
                       {"token_ids", {1, 2, 70'000, 130'000}},
                       {"block_size", 2},
                       {"lora_id", 3},
                       {"medium", "GPU"},
                       {"lora_name", "adapter"},
                       {"extra_keys", {{"adapter", "salt"}, {"adapter"}}},
                       {"group_idx", 0},
                       {"kv_cache_spec_kind", "full_attention"}};
  const json removed = {
      {"type", "BlockRemoved"}, {"block_hashes", {kLarge}}, {"medium", "GPU"}, {"group_idx", 0}};
  const json batch = batch_of(KvFormat::vllm, false, 2);
  CHECK(batch[0] == 1.1);
  CHECK(batch[2] == 2);
  const json& events = batch[1];
  REQUIRE(events.size() == 5);
  CHECK(events[0] == stored);
  CHECK(events[1]["parent_block_hash"] == 9);
  CHECK(events[1]["lora_id"].is_null());
  CHECK(events[1]["lora_name"].is_null());
  CHECK(events[1]["extra_keys"] == json::array({nullptr}));
  CHECK(events[2] == removed);
  CHECK(events[3]["block_hashes"] == json{10});
  CHECK(events[4] == json{{"type", "AllBlocksCleared"}});

  const json arrays = batch_of(KvFormat::vllm_arrays)[1];
  CHECK(arrays[0] == json{"BlockStored",
                          {kLarge, 9},
                          nullptr,
                          {1, 2, 70'000, 130'000},
                          2,
                          3,
                          "GPU",
                          "adapter",
                          {{"adapter", "salt"}, {"adapter"}}});
  CHECK(arrays[2] == json{"BlockRemoved", {kLarge}, "GPU"});
  CHECK(arrays[4] == json::array({"AllBlocksCleared"}));
}

TEST_CASE("SGLang's batches: signed hashes, removals together, the salt in a place of its own") {
  const auto as_signed = static_cast<std::int64_t>(kLarge);
  const json batch = batch_of(KvFormat::sglang);
  CHECK(batch[2].is_null());
  const json& events = batch[1];
  REQUIRE(events.size() == 4);
  CHECK(events[0] == json{{"type", "BlockStored"},
                          {"block_hashes", {as_signed, 9}},
                          {"parent_block_hash", nullptr},
                          {"token_ids", {1, 2, 70'000, 130'000}},
                          {"block_size", 2},
                          {"lora_id", 3},
                          {"medium", "GPU"},
                          {"cache_salt", "salt"},
                          {"lora_name", "adapter"}});
  CHECK_FALSE(events[1].contains("cache_salt"));
  CHECK_FALSE(events[1].contains("lora_name"));
  CHECK(events[2] ==
        json{{"type", "BlockRemoved"}, {"block_hashes", {as_signed, 10}}, {"medium", "GPU"}});
  const json arrays = batch_of(KvFormat::sglang_arrays)[1];
  CHECK(arrays[0].size() == 8);
  CHECK(arrays[0][7] == "salt");
  CHECK(arrays[1].size() == 7);
  CHECK(arrays[2] == json{"BlockRemoved", {as_signed, 10}, "GPU"});
}

TEST_CASE("hashes as bytes end in the integer that they are otherwise") {
  const json stored = batch_of(KvFormat::vllm, true)[1][0];
  std::set<std::vector<std::uint8_t>> all;
  for (const json& hash : stored["block_hashes"]) {
    REQUIRE(hash.is_binary());
    REQUIRE(hash.get_binary().size() == 32);
    all.insert(hash.get_binary());
  }
  const auto& first = stored["block_hashes"][0].get_binary();
  CHECK(std::string(first.end() - 8, first.end()) == eight_bytes(kLarge));
  CHECK(all.size() == 2);
}

struct Published {
  explicit Published(EventStreamSettings settings) : publisher(1) {
    settings.events = settings.replay = "tcp://127.0.0.1:0";
    auto bound = publisher.add(settings);
    REQUIRE(bound.has_value());
    at = *bound;
    publisher.start();
  }
  void publish(int count) {
    for (int i = 0; i < count; ++i) publisher.publish(0, {KvCleared{}}, 100.0 + next++);
  }
  EventPublisher publisher;
  EventEndpoints at;
  int next = 0;
};

TEST_CASE("a subscriber gets topic, sequence and batch of each, in order") {
  Published engine({.topic = "kv@here", .rank = 3});
  EventSocket subscriber(ZMQ_SUB, engine.at.events);
  // Nobody tells when a subscription has arrived, so the first that comes is not the first sent.
  std::uint64_t next = 0;
  for (bool arrived = false; !arrived;) {
    engine.publish(1);
    zmq_pollitem_t item{subscriber.raw(), 0, ZMQ_POLLIN, 0};
    arrived = zmq_poll(&item, 1, 10) > 0;
  }
  engine.publish(20);
  for (int i = 0; i < 20; ++i) {
    const Frames frames = subscriber.receive();
    REQUIRE(frames.size() == 3);
    CHECK(frames[0] == "kv@here");
    const json batch = decode_batch(frames[2]);
    const auto sequence = static_cast<std::uint64_t>(batch[0].get<double>() - 100.0);
    CHECK(frames[1] == eight_bytes(sequence));
    if (i > 0) CHECK(sequence == next);
    next = sequence + 1;
    CHECK(batch[1] == json::array({{{"type", "AllBlocksCleared"}}}));
    CHECK(batch[2] == 3);
  }
}

TEST_CASE("replay sends what is kept from the sequence asked for, then its end") {
  for (const std::uint32_t count : {2u, 3u}) {
    Published engine({.topic = "t", .replay_frames = count, .buffer_steps = 50});
    CHECK(replayed(engine.at.replay, 0).empty());
    engine.publish(120);
    const auto kept = replayed(engine.at.replay, 0);
    REQUIRE(kept.size() == 50);
    std::uint64_t sequence = 70;
    for (const Frames& frames : kept) {
      REQUIRE(frames.size() == count + 1);
      if (count == 3) CHECK(frames[1] == "t");
      CHECK(frames[count - 1] == eight_bytes(sequence));
      CHECK(decode_batch(frames[count])[0] == 100.0 + static_cast<double>(sequence++));
    }
    CHECK(replayed(engine.at.replay, 118).size() == 2);
    CHECK(replayed(engine.at.replay, 120).empty());
    CHECK(replayed(engine.at.replay, UINT64_MAX).empty());
  }
}

TEST_CASE("requests of another shape are not answered, and harm nobody") {
  Published engine({});
  engine.publish(1);
  EventSocket dealer(ZMQ_DEALER, engine.at.replay);
  dealer.send({eight_bytes(0)});
  dealer.send({"x", eight_bytes(0)});
  dealer.send({"", "short"});
  dealer.send({"", eight_bytes(0), ""});
  dealer.send({"", eight_bytes(0)});
  CHECK(dealer.receive()[2] == eight_bytes(0));
  CHECK(dealer.receive()[2] == eight_bytes(UINT64_MAX));
}

TEST_CASE("what is lost live is replayed, what is doubled live is not") {
  Published lossy({.loss = 0.5});
  Published doubling({.duplicate = 0.5});
  Published silent({.loss = 1.0});
  const auto seen = [](Published& engine) {
    EventSocket subscriber(ZMQ_SUB, engine.at.events);
    for (bool arrived = false; !arrived;) {
      engine.publish(1);
      zmq_pollitem_t item{subscriber.raw(), 0, ZMQ_POLLIN, 0};
      arrived = zmq_poll(&item, 1, 10) > 0;
    }
    const auto first = static_cast<std::uint64_t>(engine.next);
    engine.publish(400);
    std::vector<std::uint64_t> sequences;
    while (sequences.size() < 2 || sequences.back() < first + 350) {
      const double stamp = decode_batch(subscriber.receive()[2])[0];
      const auto sequence = static_cast<std::uint64_t>(stamp - 100.0);
      if (sequence >= first) sequences.push_back(sequence);
    }
    CHECK(std::is_sorted(sequences.begin(), sequences.end()));
    CHECK(replayed(engine.at.replay, first).size() == 400);
    return sequences;
  };
  const auto some = seen(lossy);
  CHECK(some.size() > 100);
  CHECK(some.size() < 300);
  const auto more = seen(doubling);
  CHECK(more.size() > 430);
  CHECK(more.size() < 700);
  CHECK(std::set<std::uint64_t>(more.begin(), more.end()).size() >= 350);

  EventSocket subscriber(ZMQ_SUB, silent.at.events);
  silent.publish(50);
  CHECK(replayed(silent.at.replay, 0).size() == 50);
}

TEST_CASE("streams count for themselves; an endpoint that is taken is an error in words") {
  EventPublisher publisher(1);
  EventStreamSettings settings{.events = "tcp://127.0.0.1:0", .replay = "tcp://127.0.0.1:0"};
  const auto first = publisher.add(settings);
  const auto second = publisher.add(settings);
  REQUIRE(first.has_value());
  REQUIRE(second.has_value());
  settings.events = first->events;
  const auto third = publisher.add(settings);
  REQUIRE(third.has_error());
  CHECK(third.error().message.find(first->events) != std::string::npos);
  publisher.publish(1, {KvCleared{}}, 1.0);
  publisher.start();
  publisher.publish(0, {KvCleared{}}, 2.0);
  CHECK(decode_batch(replayed(first->replay, 0).at(0).back())[0] == 2.0);
  const auto of_second = replayed(second->replay, 0);
  REQUIRE(of_second.size() == 1);
  CHECK(of_second[0][2] == eight_bytes(0));
}

}  // namespace
}  // namespace dualmesh::node
