// Names and positions of what engines say in a KV event.
//
// Threads: pure functions. Source: declaration order in vLLM's event structures, kept by SGLang.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "policies/block_index.h"

namespace dualmesh::node {

enum class EngineField : std::uint8_t {
  other,
  block_hashes,
  parent,
  token_ids,
  block_size,
  lora_id,
  medium,
  lora_name,
  cache_salt,
  extra_keys,
  group,
  group_kind,
  locality,
};

EngineField field_named(std::string_view name);
// Of a positional event, the tag being position 0.
EngineField field_at(std::uint32_t position, bool stored);
// Empty: the GPU's memory. Nothing: a medium not known.
std::optional<policies::Medium> medium_named(std::string_view name);
bool equal_ignoring_case(std::string_view text, std::string_view upper);

}  // namespace dualmesh::node
