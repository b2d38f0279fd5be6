// Changes from an engine's events: against a model that remembers every prompt whole, and by cases.
#include "node/kv/kv_translator.h"

#include <doctest/doctest.h>

#include <map>
#include <random>

#include "tests/node/kv/engine_messages.h"

namespace dualmesh::node {
namespace {

using policies::Medium;
using policies::TokenId;
using EventKind = EngineEvent::Kind;
using Tokens = std::vector<TokenId>;

std::uint64_t issues(const KvTranslator& translator, EventIssue issue) {
  return translator.counters().of(issue);
}

// One stream on its way into a map.
struct Chain {
  KvTranslator translator;
  BlockMap map;
  EngineBatch batch;
  std::vector<BlockChange> changes;

  explicit Chain(crdt::Version base = {}) : map(BlockMap::after(base)) {}
  void take(const std::vector<Said>& said, const Wire& wire = {}) {
    const std::string bytes = encoded(said, wire);
    REQUIRE(decode(bytes, batch) == BatchError::none);
    changes.clear();
    translator.translate(batch, &map, changes);
    REQUIRE(map.apply(map.end(), map.end().next(), changes) == crdt::Applied::changed);
  }
  Block held(EngineHash hash, Medium medium = Medium::gpu) const {
    const BlockMap::Entry* const entry = map.find(in_medium(hash, medium));
    return entry != nullptr && entry->present() ? entry->value : Block{.depth = 999};
  }
  bool holds(EngineHash hash, Medium medium = Medium::gpu) const {
    return held(hash, medium).depth != 999;
  }
};

policies::BlockKey key_of(const Tokens& prompt, std::uint32_t block_tokens, std::string lora = {},
                          std::string salt = {}) {
  std::vector<policies::BlockKey> keys;
  policies::token_chain(policies::token_root(block_tokens, lora, salt), block_tokens, prompt, keys);
  return keys.back();
}

Said stored(std::vector<EngineHash> hashes, std::optional<EngineHash> parent, Tokens tokens,
            std::uint32_t block_tokens = 2) {
  return {.hashes = std::move(hashes),
          .parent = parent,
          .tokens = std::move(tokens),
          .block_tokens = block_tokens};
}
Said removed(std::vector<EngineHash> hashes) {
  return {.kind = EventKind::removed, .hashes = std::move(hashes)};
}

TEST_CASE("a chain has the keys and depths of its prompt, over batches and within one") {
  Chain chain;
  chain.take({stored({11, 12}, {}, {1, 2, 3, 4}), stored({13}, 12, {5, 6})});
  chain.take({stored({14}, 13, {7, 8})});
  CHECK(chain.held(11).key == key_of({1, 2}, 2));
  CHECK(chain.held(13).key == key_of({1, 2, 3, 4, 5, 6}, 2));
  CHECK(chain.held(14).key == key_of({1, 2, 3, 4, 5, 6, 7, 8}, 2));
  CHECK(chain.held(14).depth == 3);
  CHECK(chain.translator.facts().block_tokens == 2);
}

TEST_CASE("adapter and salt are the root's; a picture never matches text") {
  Chain chain;
  Said tenant = stored({11}, {}, {1, 2});
  tenant.lora = "sql", tenant.salt = "tenant";
  Said numbered = stored({21}, {}, {1, 2});
  numbered.lora_id = 7;
  Said picture = stored({31, 32}, {}, {1, 2, 3, 4});
  picture.pictures = {Json(), Json::array({"cat", 0})};
  chain.take({tenant, numbered, picture});
  CHECK(chain.held(11).key == key_of({1, 2}, 2, "sql", "tenant"));
  CHECK(chain.held(21).known());
  CHECK(chain.held(21).key != key_of({1, 2}, 2));
  CHECK(chain.held(21).key != key_of({1, 2}, 2, "7"));
  CHECK(chain.held(31).key == key_of({1, 2}, 2));
  CHECK(chain.held(32).known());
  CHECK(chain.held(32).key != key_of({1, 2, 3, 4}, 2));
}

TEST_CASE("without its parent a block is held and never claimed") {
  Chain chain;
  chain.take({stored({12, 13}, 11, {3, 4, 5, 6})});
  CHECK(chain.holds(12));
  CHECK_FALSE(chain.held(13).known());
  CHECK(chain.map.unknown() == 2);
  CHECK(issues(chain.translator, EventIssue::unknown_parent) == 2);
  // The whole chain again, from its root: both copies are known then.
  chain.take({stored({11, 12, 13}, {}, {1, 2, 3, 4, 5, 6})});
  CHECK(chain.map.unknown() == 0);
  chain.take({removed({13})});
  CHECK(chain.holds(13));
  chain.take({removed({13})});
  CHECK_FALSE(chain.holds(13));
}

TEST_CASE("another medium has the key of the same hash, and a placeholder of an unknown one none") {
  Chain chain;
  Said offloaded = stored({11, 99}, {}, {}, 0);
  offloaded.medium = "CPU";
  chain.take({stored({11}, {}, {1, 2}), offloaded});
  CHECK(chain.held(11, Medium::cpu).key == key_of({1, 2}, 2));
  CHECK(chain.held(11, Medium::cpu).medium == Medium::cpu);
  CHECK(chain.held(99, Medium::cpu).key == 0);  // it counts, and is claimed of nobody
  CHECK(issues(chain.translator, EventIssue::no_tokens) == 1);
  chain.take({removed({11})});
  CHECK_FALSE(chain.holds(11));
  CHECK(chain.holds(11, Medium::cpu));
  // A parent that is left in another medium alone is one all the same.
  chain.take({stored({12}, 11, {3, 4})});
  CHECK(chain.held(12).key == key_of({1, 2, 3, 4}, 2));
}

TEST_CASE("hashes that do not name one prefix are left out") {
  Chain chain;
  chain.take({stored({11}, {}, {1, 2}), stored({11, 12}, 11, {1, 2, 3, 4})});
  CHECK(issues(chain.translator, EventIssue::own_parent) == 1);
  CHECK(chain.held(12).key == key_of({1, 2, 1, 2, 3, 4}, 2));
  chain.take({stored({21, 21}, {}, {5, 6, 5, 6})});
  CHECK(issues(chain.translator, EventIssue::repeated) == 1);
  chain.take({stored({11}, {}, {7, 8})});
  CHECK(issues(chain.translator, EventIssue::contradiction) == 1);
  CHECK(chain.held(11).key == key_of({1, 2}, 2));
}

TEST_CASE("block sizes: absurd, partial, mismatched and changed") {
  Chain chain;
  chain.take({stored({11}, {}, {1, 2}, 0), stored({11}, {}, {1, 2}, 70'000)});
  CHECK(issues(chain.translator, EventIssue::absurd_block_size) == 2);
  chain.take({stored({11, 12}, {}, {1, 2, 3}, 2)});
  CHECK(issues(chain.translator, EventIssue::token_mismatch) == 2);
  CHECK(chain.map.size() == 0);
  chain.take({stored({11, 12}, {}, {1, 2, 3, 4}), stored({13}, 12, {5}, 1)});
  CHECK(issues(chain.translator, EventIssue::partial_block) == 1);
  CHECK(chain.translator.facts().block_tokens == 2);
  chain.take({stored({21}, {}, {1, 2, 3, 4}, 4)});
  CHECK(issues(chain.translator, EventIssue::block_size_changed) == 1);
  CHECK(chain.translator.facts().block_tokens == 4);
  CHECK(chain.held(21).key == key_of({1, 2, 3, 4}, 4));
}

TEST_CASE("beyond the greatest depth blocks are held at it") {
  Chain chain;
  std::vector<EngineHash> hashes(70'000);
  for (std::size_t i = 0; i < hashes.size(); ++i) hashes[i] = 1'000 + i;
  chain.take({stored(hashes, {}, Tokens(hashes.size(), 5), 1)});
  CHECK(chain.held(hashes[65'534]).depth == 65'534);
  CHECK(chain.held(hashes.back()).depth == 65'535);
  CHECK(chain.held(hashes.back()).key == key_of(Tokens(hashes.size(), 5), 1));
  CHECK(issues(chain.translator, EventIssue::depth_saturated) == 70'000 - 65'536);
}

TEST_CASE("one group of main attention counts, by stores or by what others know") {
  const auto in_group = [](Said said, int group, std::string kind) {
    said.group = group;
    said.group_kind = std::move(kind);
    return said;
  };
  Chain chain;
  chain.take({in_group(stored({11}, {}, {1, 2}), 0, "sliding_window"),
              in_group(stored({11}, {}, {1, 2}), 1, "full_attention"),
              in_group(stored({11}, {}, {1, 2}), 2, "full_attention")});
  CHECK(chain.translator.facts().main_group == 1);
  CHECK(chain.translator.counters().stored == 1);
  chain.take({in_group(removed({11}), 0, ""), in_group(removed({11}), 2, "")});
  CHECK(chain.holds(11));
  KvTranslator later;
  later.learn(chain.translator.facts());
  later.translate(chain.batch, &chain.map, chain.changes);
  CHECK(later.counters().removed == 0);
  chain.take({in_group(removed({11}), 1, "")});
  CHECK_FALSE(chain.holds(11));
}

// An engine that remembers its prompts whole.
struct Model {
  struct Held {
    Tokens prompt;
    std::string lora, salt;
    int copies = 0;
  };
  std::uint32_t block_tokens = 1;
  std::map<std::pair<EngineHash, Medium>, Held> held;

  static constexpr EngineHash kNotHeld = 1ULL << 63;  // a bit that a block's name leaves out
  EngineHash hash(const Tokens& prompt, const std::string& lora, const std::string& salt) const {
    return key_of(prompt, block_tokens, lora, salt + "engine") | kNotHeld;
  }
  static const char* name(Medium medium) { return medium == Medium::gpu ? "GPU" : "CPU"; }

  Said store(std::mt19937_64& random) {
    Tokens prompt;
    Said said{.block_tokens = block_tokens};
    Medium medium = random() % 4 == 0 ? Medium::cpu : Medium::gpu;
    if (!held.empty() && random() % 3 != 0) {
      const auto parent = std::next(held.begin(), static_cast<long>(random() % held.size()));
      prompt = parent->second.prompt;
      said.parent = parent->first.first;
      said.lora = parent->second.lora;
      said.salt = parent->second.salt;
    } else {
      if (random() % 3 == 0) said.lora = "adapter";
      if (random() % 3 == 0) said.salt = "tenant";
    }
    said.medium = name(medium);
    for (std::size_t blocks = 1 + random() % 4; blocks > 0; --blocks) {
      for (std::uint32_t i = 0; i < block_tokens; ++i) {
        prompt.push_back(static_cast<TokenId>(random() % 3));
        said.tokens.push_back(prompt.back());
      }
      said.hashes.push_back(hash(prompt, said.lora, said.salt));
      Held& block = held[{said.hashes.back(), medium}];
      block = {prompt, said.lora, said.salt, block.copies + 1};
    }
    return said;
  }
  Said remove(std::mt19937_64& random) {
    Said said{.kind = EventKind::removed};
    if (held.empty()) return said;
    const Medium medium =
        std::next(held.begin(), static_cast<long>(random() % held.size()))->first.second;
    said.medium = name(medium);
    for (auto at = held.begin(); at != held.end();) {
      const bool goes = at->first.second == medium && random() % 4 == 0;
      if (goes) said.hashes.push_back(at->first.first);
      at = goes && --at->second.copies == 0 ? held.erase(at) : std::next(at);
    }
    return said;
  }
  Said clear() {
    held.clear();
    return {.kind = EventKind::cleared};
  }
};

TEST_CASE(
    "agrees with a model that remembers prompts whole; a late listener claims nothing false") {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    Model model{.block_tokens = static_cast<std::uint32_t>(1 + random() % 4)};
    Chain whole, late(crdt::Version{7});
    for (int step = 0; step < 40; ++step) {
      std::vector<Said> said;
      for (std::size_t i = random() % 4; i > 0; --i) {
        said.push_back(random() % 60 == 0  ? model.clear()
                       : random() % 3 == 0 ? model.remove(random)
                                           : model.store(random));
      }
      const Wire wire{.maps = random() % 2 == 0,
                      .type_first = random() % 2 == 0,
                      .digests = random() % 2 == 0,
                      .pairs = random() % 2 == 0};
      whole.take(said, wire);
      if (step >= 10) late.take(said, wire);
      REQUIRE(whole.map.present() == model.held.size());
      for (const auto& [place, block] : model.held) {
        const BlockMap::Entry* const entry = whole.map.find(in_medium(place.first, place.second));
        REQUIRE(entry != nullptr);
        REQUIRE(entry->added == block.copies);
        REQUIRE(entry->value.medium == place.second);
        REQUIRE(entry->value.depth + 1 == block.prompt.size() / model.block_tokens);
        REQUIRE(entry->value.key ==
                key_of(block.prompt, model.block_tokens, block.lora, block.salt));
      }
      late.map.for_each([&](EngineHash key, const BlockMap::Entry& entry) {
        if (!entry.visible()) return;
        // Its own inverse, but for what it leaves out.
        const EngineHash hash = in_medium(key, entry.value.medium) | Model::kNotHeld;
        const auto truth = model.held.find({hash, entry.value.medium});
        REQUIRE(truth != model.held.end());
        REQUIRE(entry.added <= truth->second.copies);
        REQUIRE(entry.value.key == key_of(truth->second.prompt, model.block_tokens,
                                          truth->second.lora, truth->second.salt));
      });
    }
  }
}

}  // namespace
}  // namespace dualmesh::node
