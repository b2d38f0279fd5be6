// Presets: a model on its hardware as constants of the engine model, each saying where it is from.
//
// A constant is `measured` by somebody, `counted` from the model's published shape, or `estimated`
// from data sheets; the last say so and are for exploring, not for promises.
//
// Threads: constants.
#pragma once

#include <span>
#include <string_view>

#include "node/engine/engine_model.h"

namespace dualmesh::node {

struct Preset {
  std::string_view name;
  std::size_t instances;
  double prefill_us_per_token;
  double min_iteration_ms;
  double decode_us_per_sequence;
  std::uint32_t token_budget;
  std::uint32_t cache_blocks;  // of 512 tokens
  std::string_view sources;
};

// The first is the default.
std::span<const Preset> presets();
const Preset* find_preset(std::string_view name);  // null when there is none

EngineParameters engine_of(const Preset& preset);

}  // namespace dualmesh::node
