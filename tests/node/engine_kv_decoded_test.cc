// What nodes make of an engine's batches, in every encoding: the blocks that its cache holds, under
// the keys that requests have.
#include <doctest/doctest.h>

#include <map>
#include <random>

#include "node/engine/engine_request.h"
#include "node/engine/event_encoder.h"
#include "node/kv/kv_translator.h"

namespace dualmesh::node {
namespace {

using policies::BlockKey;

constexpr std::uint32_t kBlock = 4;

// A node's reader of one stream.
struct Reader {
  KvEncoding encoding;
  EngineBatch batch;
  KvTranslator translator;
  BlockMap map;

  void read(const std::vector<KvEvent>& events) {
    const std::string payload = encode_batch(encoding, 1.0, events, 0);
    REQUIRE(decode(payload, batch) == BatchError::none);
    std::vector<BlockChange> changes;
    translator.translate(batch, &map, changes);
    const crdt::Version from = map.end();
    REQUIRE(map.apply(from, crdt::Version{from.value + 1}, changes) == crdt::Applied::changed);
  }
};

TEST_CASE("nodes read out of every encoding which blocks an engine holds, by tokens and space") {
  std::uint64_t evictions = 0;
  for (unsigned seed = 0; seed < 20; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    const auto pick = [&](std::uint32_t below) {
      return static_cast<std::uint32_t>(random() % below);
    };
    std::vector<Reader> readers;
    for (const KvFormat format : {KvFormat::vllm, KvFormat::vllm_arrays, KvFormat::sglang,
                                  KvFormat::sglang_arrays, KvFormat::vllm}) {
      readers.push_back({.encoding = {format, readers.size() == 4, kBlock}});
    }
    EngineModel model(
        {.token_budget = 200, .block_tokens = kBlock, .cache_tokens = kBlock * (20 + pick(20))});
    KvEventLog log(model);
    model.observe_cache(&log);
    std::map<BlockKey, BlockKey> key_of;  // of the engine's hashes
    std::map<BlockKey, bool> is_adapted;
    for (RequestId id = 1; id < 200; ++id) {
      net::PromptFields fields;
      fields.canonical = "how most of them begin, word by word";
      for (std::uint32_t i = pick(8); i > 0; --i)
        fields.canonical += std::string(8, "abc"[pick(3)]);
      CacheSpace space;
      if (pick(4) == 0) space.lora = "adapter", space.lora_number = 1;
      if (pick(4) == 0) space.salt = "salt";
      SimulatedPrompt prompt = tokenize_prompt(fields, space, kBlock);
      std::vector<BlockKey> keys;
      policies::token_chain(policies::token_root(kBlock, space.lora, space.salt), kBlock,
                            prompt.text->tokens, keys);
      REQUIRE(keys.size() == prompt.blocks.size());
      for (std::size_t i = 0; i < keys.size(); ++i) {
        key_of[prompt.blocks[i]] = keys[i];
        is_adapted[prompt.blocks[i]] = !space.lora.empty();
      }
      model.enqueue({id, prompt.tokens, 1, std::move(prompt.blocks), prompt.text});
      if (pick(25) == 0) model.clear_cache();
      std::vector<Emission> out;
      if (model.start_iteration({})) model.finish_iteration(out);
      const auto events = log.take();
      if (events.empty()) continue;
      for (Reader& reader : readers) {
        CAPTURE(static_cast<int>(reader.encoding.format));
        reader.read(events);
        // The adapter's name is not in SGLang's arrays.
        const bool nameless = reader.encoding.format == KvFormat::sglang_arrays;
        const auto held = model.cache().shared_keys();
        REQUIRE(reader.map.present() == held.size());
        for (const BlockKey hash : held) {
          const auto* entry = reader.map.find(in_medium(hash, policies::Medium::gpu));
          REQUIRE(entry != nullptr);
          REQUIRE(entry->present());
          const bool same = entry->value.key == key_of[hash];
          REQUIRE(same == !(nameless && is_adapted[hash]));
        }
      }
    }
    evictions += model.cache().evictions();
    for (const Reader& reader : readers) CHECK(reader.translator.counters().skipped_blocks() == 0);
  }
  CHECK(evictions > 1000);
}

}  // namespace
}  // namespace dualmesh::node
