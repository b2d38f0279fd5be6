// Batches of KV events as engines put them on the wire: msgpack, in the forms of several versions.
//
// A batch is the array [time stamp, events, rank]. Its events are maps with a "type", where absent
// means nothing, or arrays that begin with the tag. vLLM's hashes are unsigned or the whole digest,
// which ends in the same 64 bits; SGLang's are signed. vLLM removes one block per event, SGLang all
// at once; only vLLM has extra keys (adapter, and the salt with a prompt's first block), SGLang
// says the salt in a field of its own.
//
// Threads: pure functions.
// Source: event streams of vLLM (arrays up to 0.23, maps since) and SGLang (maps since late 2026);
// the msgpack specification.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "node/engine/kv_event_log.h"

namespace dualmesh::node {

enum class KvFormat : std::uint8_t { vllm, vllm_arrays, sglang, sglang_arrays };
constexpr bool is_sglang(KvFormat format) { return format >= KvFormat::sglang; }
constexpr bool has_maps(KvFormat format) {
  return format == KvFormat::vllm || format == KvFormat::sglang;
}

struct KvEncoding {
  KvFormat format = KvFormat::vllm;
  bool hashes_as_bytes = false;  // vLLM's 32 bytes
  std::uint32_t block_tokens = 16;
};

std::string encode_batch(const KvEncoding& encoding, double unix_s, std::span<const KvEvent> events,
                         std::optional<std::uint32_t> rank);

}  // namespace dualmesh::node
