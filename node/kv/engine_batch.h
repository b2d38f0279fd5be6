// EngineBatch: one payload of an engine's KV event stream, decoded; vLLM's and SGLang's alike.
//
// A batch is [time, events, rank] or a map of these. An event is a positional array that begins
// with its tag, or a map with the tag under "type"; which one depends on the engine's version.
// Fields and tags nobody here knows are skipped, fields that are missing have their default.
//
// Invariants: whatever the bytes, the result is bounded by EngineBatchLimits and every range of an
// event lies within its vector. An event that cannot be read is left out and counted when it says
// what is cached; when it says what is no longer cached the whole batch is an error, because what
// is held would be wrong without it. A result that is reused does not allocate in steady state.
// Threads: none. Texts of an event point into the payload.
// Source: the event structures of vLLM (from 0.9 on) and SGLang; hash folding is vLLM's.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "node/kv/kv_types.h"
#include "policies/token_chain.h"

namespace dualmesh::node {

struct EngineBatchLimits {
  std::size_t max_payload_bytes = 16u << 20;
  std::size_t max_events = 65'536;
  std::size_t max_hashes = 1u << 20;
  std::size_t max_tokens = 1u << 22;
  std::uint32_t max_text_bytes = 4096;
};

enum class BatchError : std::uint8_t {
  none,
  too_large,          // beyond one of the limits
  not_msgpack,        // broken off, or bytes behind its end
  not_a_batch,        // another shape
  malformed_removal,  // of a block or of all
};
inline constexpr std::size_t kBatchErrors = 5;
const char* to_string(BatchError error);

// Why an event, or a block of one, is not in the map as the engine said it.
enum class EventIssue : std::uint8_t {
  unknown_tag,         // event skipped
  malformed_store,     // event skipped
  unknown_medium,      // event skipped: a medium or locality not known
  other_group,         // event skipped: not of the attention group that decides on prefixes
  no_tokens,           // block held without a key: a placeholder, of a hash not known
  token_mismatch,      // block skipped: tokens that do not belong to these hashes one by one
  absurd_block_size,   // block skipped: of no token, or of more than anybody caches as one
  partial_block,       // block skipped: shorter than the stream's
  own_parent,          // block skipped: the hash is its own parent's, so it does not name a prefix
  repeated,            // block skipped: twice in one chain, likewise
  contradiction,       // block skipped: the hash is known for another prefix
  unknown_parent,      // block held without a key
  block_size_changed,  // event taken: the new size is the stream's
  depth_saturated,     // block taken as if at the greatest depth
};
inline constexpr std::size_t kEventIssues = 14;
using IssueCounts = std::array<std::uint64_t, kEventIssues>;
const char* to_string(EventIssue issue);

// What tells the two engines apart where their encodings clash; told by their hashes.
enum class EngineKind : std::uint8_t { unsaid, vllm, sglang };
// Only blocks of the main attention decide on a prefix; sliding windows and state spaces do not.
enum class GroupKind : std::uint8_t { unsaid, main, other };

struct EngineEvent {
  enum class Kind : std::uint8_t { stored, removed, cleared };
  Kind kind = Kind::stored;
  policies::Medium medium = policies::Medium::gpu;
  GroupKind group_kind = GroupKind::unsaid;
  bool has_parent = false;
  std::int32_t group = -1;  // -1: not said
  std::uint32_t block_tokens = 0;
  EngineHash parent = 0;
  // Ranges in the batch's vectors. `extras`: as many as hashes, or none.
  std::uint32_t first_hash = 0, hashes = 0;
  std::uint32_t first_token = 0, tokens = 0;
  std::uint32_t first_extra = 0, extras = 0;
  std::string_view lora, salt;
  std::uint64_t lora_id = 0;  // by number where the name is not said; 0: none
};

struct EngineBatch {
  double time_s = 0.0;                     // the engine's clock
  std::int64_t rank = -1;                  // -1: not said
  EngineKind engine = EngineKind::unsaid;  // kept from one batch to the next
  std::vector<EngineEvent> events;
  std::vector<EngineHash> hashes;
  std::vector<policies::TokenId> tokens;
  std::vector<std::uint64_t> extras;  // digest of what else tells a block apart; 0: nothing
  IssueCounts issues{};               // of this batch

  std::span<const EngineHash> hashes_of(const EngineEvent& event) const {
    return std::span(hashes).subspan(event.first_hash, event.hashes);
  }
  std::span<const policies::TokenId> tokens_of(const EngineEvent& event) const {
    return std::span(tokens).subspan(event.first_token, event.tokens);
  }
  std::span<const std::uint64_t> extras_of(const EngineEvent& event) const {
    return std::span(extras).subspan(event.first_extra, event.extras);
  }
};

// Replaces `batch`; on an error it holds no events.
BatchError decode(std::string_view payload, EngineBatch& batch,
                  const EngineBatchLimits& limits = {});

}  // namespace dualmesh::node
