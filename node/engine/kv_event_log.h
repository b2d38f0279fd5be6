// What a simulated instance reports of its prefix cache: blocks stored, removed, all cleared.
//
// Blocks of one request that are stored one after the other are one event; so are blocks evicted
// one after the other. An event of stored blocks points into the request's prompt, so that
// recording copies no tokens.
//
// Invariant: applying the events in order to an empty set gives the blocks that the cache holds.
// Threads: none.
// Source: the KV events of vLLM and SGLang.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "node/engine/engine_model.h"
#include "policies/token_chain.h"

namespace dualmesh::node {

// What an event tells of a prompt beyond its blocks' keys; the same for all blocks of a request.
struct KvPrompt {
  std::vector<policies::TokenId> tokens;
  std::string lora;               // adapter, empty: the base model
  std::uint32_t lora_number = 0;  // from 1; 0: the base model
  std::string salt;
};

struct KvStored {
  std::vector<policies::BlockKey> hashes;  // consecutive blocks
  std::size_t first_block = 0;             // of them, in the prompt
  policies::BlockKey parent = 0;           // the block before; only where first_block > 0
  std::shared_ptr<const KvPrompt> prompt;
};
struct KvRemoved {
  std::vector<policies::BlockKey> hashes;
};
struct KvCleared {};
using KvEvent = std::variant<KvStored, KvRemoved, KvCleared>;

class KvEventLog final : public CacheObserver {
 public:
  // Of the model's cache, which it is to observe. The model outlives it and is not moved.
  explicit KvEventLog(const EngineModel& model) : model_(model) {}

  void stored(policies::BlockKey hash) override;
  void evicted(policies::BlockKey hash) override;
  void cleared() override { events_.push_back(KvCleared{}); }

  // What changed since they were taken last, in order.
  std::vector<KvEvent> take() { return std::exchange(events_, {}); }

 private:
  const EngineModel& model_;
  std::vector<KvEvent> events_;
};

}  // namespace dualmesh::node
