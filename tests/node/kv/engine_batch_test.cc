// Batches of both engines, from bytes written by hand and in every encoding engines have used.
#include "node/kv/engine_batch.h"

#include <doctest/doctest.h>

#include <random>
#include <set>

#include "tests/node/kv/engine_messages.h"
#include "tests/node/kv/guarded_bytes.h"

namespace dualmesh::node {
namespace {

using policies::Medium;
using EventKind = EngineEvent::Kind;

std::string from_hex(std::string_view hex) {
  std::string bytes, digits;
  for (const char c : hex) {
    if (c != ' ') digits += c;
  }
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

std::uint64_t issues(const EngineBatch& batch, EventIssue issue) {
  return batch.issues[static_cast<std::size_t>(issue)];
}

// The one event of a batch of [1.5, [event], nil].
EngineBatch decoded(const Json& event, BatchError expected = BatchError::none) {
  EngineBatch batch;
  const std::string bytes = bytes_of(Json::array({1.5, Json::array({event}), Json()}));
  CHECK(decode(bytes, batch) == expected);
  for (EngineEvent& read : batch.events) read.lora = read.salt = {};  // they pointed into `bytes`
  return batch;
}

TEST_CASE("a stored block as vLLM says it, byte by byte, as map and as array") {
  const char* const examples[] = {
      "93 cb3ff8000000000000 91 8b a474797065 ab426c6f636b53746f726564 ac626c6f636b5f686173686573"
      "91 cf84b146b151d55111 b1706172656e745f626c6f636b5f68617368 c0 a9746f6b656e5f696473"
      "9401020304 aa626c6f636b5f73697a65 04 a76c6f72615f6964 c0 a66d656469756d a3475055"
      "a96c6f72615f6e616d65 c0 aa65787472615f6b657973 91c0 a967726f75705f696478 00"
      "b26b765f63616368655f737065635f6b696e64 ae66756c6c5f617474656e74696f6e 00",
      "93 cb3ff8000000000000 91 98 ab426c6f636b53746f726564 91 cf84b146b151d55111 c0 9401020304"
      "04 c0 a3475055 c0 00"};
  for (const char* const hex : examples) {
    CAPTURE(hex);
    EngineBatch batch;
    REQUIRE(decode(from_hex(hex), batch) == BatchError::none);
    CHECK(batch.time_s == 1.5);
    CHECK(batch.rank == 0);
    REQUIRE(batch.events.size() == 1);
    const EngineEvent& event = batch.events[0];
    CHECK(event.kind == EventKind::stored);
    CHECK(event.medium == Medium::gpu);
    CHECK_FALSE(event.has_parent);
    CHECK(event.block_tokens == 4);
    CHECK(batch.hashes == std::vector<EngineHash>{9561501211280363793ULL});
    CHECK(batch.tokens == std::vector<policies::TokenId>{1, 2, 3, 4});
    CHECK(event.extras == 0);
  }
}

TEST_CASE("a clearing, byte by byte") {
  for (const char* const hex :
       {"93 cb3ff8000000000000 91 81 a474797065"
        "b0416c6c426c6f636b73436c6561726564 00",
        "93 cb3ff8000000000000 91 91 b0416c6c426c6f636b73436c6561726564 00"}) {
    EngineBatch batch;
    REQUIRE(decode(from_hex(hex), batch) == BatchError::none);
    REQUIRE(batch.events.size() == 1);
    CHECK(batch.events[0].kind == EventKind::cleared);
  }
}

TEST_CASE("media by every name, in any case") {
  const std::pair<const char*, Medium> names[] = {
      {"GPU", Medium::gpu},        {"gpu", Medium::gpu},         {"CPU", Medium::cpu},
      {"cpu_pinned", Medium::cpu}, {"DISK", Medium::disk},       {"Shared_Storage", Medium::shared},
      {"STORAGE", Medium::shared}, {"EXTERNAL", Medium::shared}, {"REMOTE", Medium::shared}};
  for (const auto& [name, medium] : names) {
    const EngineBatch batch = decoded(Json::array({"BlockRemoved", Json::array({1}), name}));
    REQUIRE(batch.events.size() == 1);
    CHECK(batch.events[0].medium == medium);
  }
  const EngineBatch tape = decoded(Json::array({"BlockRemoved", Json::array({1}), "TAPE"}));
  CHECK(tape.events.empty());
  CHECK(issues(tape, EventIssue::unknown_medium) == 1);
  const EngineBatch remote = decoded(
      {{"type", "BlockRemoved"}, {"block_hashes", Json::array({1})}, {"locality", "REMOTE"}});
  CHECK(remote.events.empty());
}

TEST_CASE("position 7 is an adapter's name to vLLM; a salt or a map to SGLang") {
  EngineBatch batch;
  const auto at_7 = [&](const Json& hash, const Json& value) {
    static std::string bytes;  // the event's texts point into it
    bytes = bytes_of(Json::array(
        {1.5, Json::array({Json::array({"BlockStored", Json::array({hash}), Json(),
                                        Json::array({1}), 1, Json(), "GPU", value})})}));
    REQUIRE(decode(bytes, batch) == BatchError::none);
    REQUIRE(batch.events.size() == 1);
    return batch.events[0];
  };
  const EngineEvent unsaid = at_7(5, "sql");
  CHECK(unsaid.lora == "sql");
  const EngineEvent sglang = at_7(-5, "tenant");
  CHECK(sglang.salt == "tenant");
  CHECK(sglang.lora.empty());
  const EngineEvent remembered = at_7(5, "tenant");
  CHECK(remembered.salt == "tenant");
  const EngineEvent map = at_7(5, Json{{"cache_salt", "s"}, {"priority", 3}});
  CHECK(map.salt == "s");
  CHECK(map.lora.empty());
  const EngineEvent vllm = at_7(0x8000000000000000ULL, "sql");
  CHECK(vllm.lora == "sql");
}

TEST_CASE("extra keys: the adapter and the salt have names, the rest is a digest per block") {
  const auto with = [](const Json& extra_keys) {
    return Json{{"type", "BlockStored"},
                {"extra_keys", extra_keys},
                {"block_hashes", Json::array({1, 2})},
                {"parent_block_hash", Json()},
                {"token_ids", Json::array({1, 2})},
                {"block_size", 1},
                {"lora_name", "sql"}};
  };
  const auto read = [&](const Json& event, EngineBatch& batch) {
    static std::string bytes;
    bytes = bytes_of(Json::array({1.5, Json::array({event})}));
    REQUIRE(decode(bytes, batch) == BatchError::none);
  };
  EngineBatch batch;
  read(with(Json::array({Json::array({"sql", "tenant"}), Json::array({"sql"})})), batch);
  REQUIRE(batch.events.size() == 1);
  CHECK(batch.events[0].salt == "tenant");
  CHECK(batch.events[0].lora == "sql");
  CHECK(batch.extras.empty());

  const auto picture = [](const char* name, int offset) { return Json::array({name, offset}); };
  read(with(Json::array({Json::array({"sql", picture("cat", 3), "tenant"}),
                         Json::array({"sql", picture("cat", -13)})})),
       batch);
  REQUIRE(batch.extras.size() == 2);
  CHECK(batch.events[0].salt == "tenant");
  const std::uint64_t first = batch.extras[0];
  CHECK(first != 0);
  CHECK(batch.extras[1] != 0);
  CHECK(batch.extras[1] != first);

  // Older engines name a picture by a text alone.
  read(with(Json::array({Json::array({"cat", "tenant"}), Json::array({"cat"})})), batch);
  CHECK(batch.events[0].salt == "tenant");
  REQUIRE(batch.extras.size() == 2);
  CHECK(batch.extras[0] != 0);
  CHECK(batch.extras[1] == batch.extras[0]);

  const Json embedding = Json::binary(std::vector<std::uint8_t>(32, 9));
  read(with(Json::array({Json(), Json::array({embedding})})), batch);
  CHECK(batch.extras[0] == 0);
  CHECK(batch.extras[1] != 0);

  // Which block is meant must be said.
  EngineBatch refused;
  read(with(Json::array({Json::array({embedding})})), refused);
  CHECK(refused.events.empty());
  CHECK(issues(refused, EventIssue::malformed_store) == 1);
}

TEST_CASE("a store that cannot be read is left out, a removal ends the batch") {
  const EngineBatch store = decoded(Json::array({"BlockStored", "no list", Json()}));
  CHECK(store.events.empty());
  CHECK(issues(store, EventIssue::malformed_store) == 1);
  decoded(Json::array({"BlockRemoved", "no list"}), BatchError::malformed_removal);
  decoded(Json::array({"BlockRemoved"}), BatchError::malformed_removal);
  decoded(Json{{"type", "BlockRemoved"}, {"medium", "GPU"}}, BatchError::malformed_removal);
  decoded(Json::array({"BlockRemoved", Json::array({1.5})}), BatchError::malformed_removal);
  for (const Json& unknown : {Json::array({"BlockPolished", 7}), Json(7), Json::array(),
                              Json::object(), Json{{"kind", "BlockStored"}}, Json("BlockStored")}) {
    const EngineBatch skipped = decoded(unknown);
    CHECK(skipped.events.empty());
    CHECK(issues(skipped, EventIssue::unknown_tag) == 1);
  }
}

TEST_CASE("what is no batch is an error by its reason") {
  EngineBatch batch;
  CHECK(decode("", batch) == BatchError::not_msgpack);
  CHECK(decode("\xc1", batch) == BatchError::not_msgpack);
  CHECK(decode("\x01", batch) == BatchError::not_a_batch);
  CHECK(decode("\x92\x01\x02", batch) == BatchError::not_a_batch);
  CHECK(decode("\x91\x01", batch) == BatchError::not_a_batch);
  CHECK(decode("\x80", batch) == BatchError::not_a_batch);
  CHECK(decode("\x92\x01\x90", batch) == BatchError::none);
  CHECK(decode("\x92\x01\x90\x01", batch) == BatchError::not_msgpack);
  EngineBatchLimits limits;
  limits.max_hashes = limits.max_tokens = limits.max_events = 3;
  const auto bounded = [&](const Said& said, std::size_t times) {
    return decode(encoded(std::vector<Said>(times, said), {}), batch, limits);
  };
  const Said removal{.kind = EventKind::removed, .hashes = {1, 2}};
  CHECK(bounded(removal, 1) == BatchError::none);
  CHECK(bounded(removal, 2) == BatchError::too_large);
  CHECK(batch.events.empty());
  CHECK(bounded({.hashes = {1}, .tokens = {1, 2, 3, 4}, .block_tokens = 4}, 1) ==
        BatchError::too_large);
  CHECK(bounded({.kind = EventKind::cleared}, 4) == BatchError::too_large);
  limits.max_payload_bytes = 2;
  CHECK(decode("\x92\x01\x90", batch, limits) == BatchError::too_large);
}

Wire random_wire(std::mt19937_64& random) {
  const auto toss = [&] { return random() % 2 == 0; };
  Wire wire{.maps = toss(),
            .type_first = toss(),
            .map_envelope = toss(),
            .has_rank = toss(),
            .digests = toss(),
            .is_signed = false,
            .pairs = toss(),
            .unknown = toss(),
            .sglang = toss()};
  if (wire.sglang) wire.digests = false, wire.is_signed = true;
  return wire;
}

Said random_said(std::mt19937_64& random, const Wire& wire) {
  Said said{.kind = static_cast<EventKind>(random() % 20 == 0 ? 2 : random() % 2)};
  said.hashes.resize(random() % 9);
  for (auto& hash : said.hashes) hash = random() >> (random() % 8 == 0 ? random() % 64 : 0);
  if (wire.sglang) said.hashes.push_back(random() | 1ULL << 63);  // tells the engine apart
  if (random() % 2 == 0) said.parent = random();
  said.tokens.resize(random() % 60);
  for (auto& token : said.tokens) token = static_cast<std::uint32_t>(random() % 152'064);
  said.block_tokens = static_cast<std::uint32_t>(random() % 300);
  if (random() % 2 == 0) said.medium = std::array{"GPU", "cpu", "DISK", "EXTERNAL"}[random() % 4];
  if (random() % 3 == 0) said.salt = "tenant-" + std::to_string(random() % 9);
  if (wire.sglang) return said;
  if (random() % 3 == 0) said.lora = "adapter-" + std::to_string(random() % 9);
  if (random() % 3 == 0) said.lora_id = random() % 9;
  if (random() % 2 == 0) said.group = static_cast<int>(random() % 4);
  if (random() % 3 == 0) said.group_kind = random() % 2 == 0 ? "mla_attention" : "sliding_window";
  said.pictures.resize(said.hashes.size());
  for (auto& picture : said.pictures) {
    if (random() % 6 == 0) picture = Json::array({"cat", random() % 99});
  }
  return said;
}

void require_same(const EngineBatch& batch, const EngineEvent& event, const Said& said,
                  const Wire& wire) {
  REQUIRE(event.kind == said.kind);
  if (said.kind == EventKind::cleared) return;
  const auto hashes = batch.hashes_of(event);
  REQUIRE(std::vector(hashes.begin(), hashes.end()) == said.hashes);
  const auto medium = std::pair{said.medium.value_or("GPU"), event.medium};
  REQUIRE(medium.second == (medium.first == "GPU"    ? Medium::gpu
                            : medium.first == "cpu"  ? Medium::cpu
                            : medium.first == "DISK" ? Medium::disk
                                                     : Medium::shared));
  REQUIRE(event.group == (wire.sglang ? -1 : said.group.value_or(-1)));
  if (said.kind == EventKind::removed) return;
  const auto tokens = batch.tokens_of(event);
  REQUIRE(std::vector(tokens.begin(), tokens.end()) == said.tokens);
  REQUIRE(event.block_tokens == said.block_tokens);
  REQUIRE(event.has_parent == said.parent.has_value());
  if (said.parent) REQUIRE(event.parent == *said.parent);
  REQUIRE(event.lora == said.lora);
  REQUIRE(event.lora_id == said.lora_id.value_or(0));
  const bool salt_is_told = wire.sglang || (!said.parent && !said.hashes.empty());
  REQUIRE(event.salt == (salt_is_told ? said.salt : ""));
  const auto extras = batch.extras_of(event);
  for (std::size_t i = 0; i < said.hashes.size(); ++i) {
    const bool told = i < said.pictures.size() && !said.pictures[i].is_null();
    REQUIRE((!extras.empty() && extras[i] != 0) == told);
  }
  REQUIRE(event.group_kind == (said.group_kind.empty()              ? GroupKind::unsaid
                               : said.group_kind == "mla_attention" ? GroupKind::main
                                                                    : GroupKind::other));
}

TEST_CASE("what another encoder said is what is read, in every encoding") {
  EngineBatch batch;  // reused, as a stream does
  for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const Wire wire = random_wire(random);
    std::vector<Said> said(random() % 6);
    for (Said& event : said) event = random_said(random, wire);
    const std::string bytes = encoded(said, wire, 0.25 * static_cast<double>(seed));
    REQUIRE(decode(bytes, batch) == BatchError::none);
    REQUIRE(batch.time_s == 0.25 * static_cast<double>(seed));
    REQUIRE(batch.rank == (wire.has_rank ? 3 : -1));
    REQUIRE(batch.events.size() == said.size());
    for (std::size_t i = 0; i < said.size(); ++i) {
      require_same(batch, batch.events[i], said[i], wire);
    }
    REQUIRE(issues(batch, EventIssue::unknown_tag) == (wire.unknown ? said.size() : 0));
    REQUIRE(issues(batch, EventIssue::malformed_store) == 0);
  }
}

void require_bounded(const EngineBatch& batch, std::string_view payload) {
  for (const EngineEvent& event : batch.events) {
    REQUIRE(batch.hashes_of(event).size() == event.hashes);
    REQUIRE(event.first_hash + event.hashes <= batch.hashes.size());
    REQUIRE(event.first_token + event.tokens <= batch.tokens.size());
    REQUIRE(event.first_extra + event.extras <= batch.extras.size());
    REQUIRE((event.extras == 0 || event.extras == event.hashes));
    for (const std::string_view text : {event.lora, event.salt}) {
      if (text.empty()) continue;
      REQUIRE(text.data() >= payload.data());
      REQUIRE(text.data() + text.size() <= payload.data() + payload.size());
    }
  }
}

TEST_CASE("a batch that breaks off is an error; one with a wrong byte ends in bounds") {
  EngineBatch batch;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const Wire wire = random_wire(random);
    std::vector<Said> said(1 + random() % 3);
    for (Said& event : said) event = random_said(random, wire);
    const std::string bytes = encoded(said, wire);
    GuardedBytes guarded(bytes.size());
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      REQUIRE(decode(guarded.hold(std::string_view(bytes).substr(0, size)), batch) !=
              BatchError::none);
      REQUIRE(batch.events.empty());
    }
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      for (const unsigned char wrong :
           {0x00, 0x80, 0x9f, 0xc0, 0xc1, 0xcf, 0xdd, 0xff, static_cast<int>(random() & 0xff)}) {
        std::string corrupt = bytes;
        corrupt[i] = static_cast<char>(wrong);
        const std::string_view held = guarded.hold(corrupt);
        if (decode(held, batch) == BatchError::none) require_bounded(batch, held);
      }
    }
  }
}

TEST_CASE("every error and every issue has a text of its own") {
  std::set<std::string> texts;
  for (std::size_t i = 0; i < kEventIssues; ++i) {
    CHECK(texts.insert(to_string(static_cast<EventIssue>(i))).second);
  }
  for (std::size_t i = 0; i < kBatchErrors; ++i) {
    CHECK(texts.insert(to_string(static_cast<BatchError>(i))).second);
  }
}

}  // namespace
}  // namespace dualmesh::node
