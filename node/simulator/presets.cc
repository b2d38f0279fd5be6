#include "node/simulator/presets.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "node/replay/workload.h"

namespace dualmesh::node {
namespace {

constexpr std::array kPresets{
    Preset{"qwen2.5-7b", 8, 160, 25, 300, 8192, 2340,
           "As in the DualMap paper (arXiv 2602.06502). Prefill: measured there on one Ascend "
           "910B4. Cache: 64 GiB of DRAM there, and 57,344 B a token counted from the model (28 "
           "layers x 2 x 4 KV heads x 128 x 2 B). Iteration: estimated, 15.2 GB of weights read at "
           "0.8 TB/s are 19 ms, and overhead. Decode: estimated, 300 us are the KV of 4,000 tokens "
           "at that rate. Budget: vLLM's usual 8,192."},
    Preset{"qwen2.5-14b", 8, 127, 25, 500, 8192, 682,
           "As in the DualMap paper. Prefill: measured there on one Ascend 910B3. Cache: 64 GiB "
           "there, and 196,608 B a token counted from the model (48 layers x 2 x 8 KV heads x 128 "
           "x 2 B). Iteration: estimated, twice the weights at 1.6 TB/s. Decode: estimated, 500 us "
           "are the KV of 4,000 tokens at that rate. Budget: vLLM's usual 8,192."},
    Preset{"llama-3.2-3b-shared", 2, 205, 27, 480, 4096, 64,
           "Two instances on one NVIDIA A10 (24 GB, 125 TFLOPS BF16, 600 GB/s by its data sheet), "
           "each with half of it all the time. Prefill: estimated, 2 x 3.2e9 operations a token at "
           "half of the peak. Iteration: estimated, 6.4 GB of weights at 80 % of the bandwidth. "
           "Decode: estimated, the KV of 1,000 tokens. Cache: 10.8 GB less 6.4 GB of weights and "
           "0.6 GB of activations, 114,688 B a token counted from the model (28 layers x 2 x 8 KV "
           "heads x 128 x 2 B). Budget: chosen for a small GPU."},
    Preset{"llama-3.1-8b-h100", 8, 33, 6.5, 200, 8192, 812,
           "One NVIDIA H100 SXM (80 GB, 989 TFLOPS dense BF16, 3.35 TB/s by its data sheet) an "
           "instance. Prefill: estimated, 2 x 8.0e9 operations a token at half of the peak. "
           "Iteration: estimated, 16.1 GB of weights at 80 % of the bandwidth, and overhead. "
           "Decode: estimated, the KV of 4,000 tokens. Cache: 90 % of 80 GB less 16.1 GB of "
           "weights and 1.4 GB of activations, 131,072 B a token counted from the model (32 layers "
           "x 2 x 8 KV heads x 128 x 2 B). Budget: vLLM's usual 8,192."},
};

policies::Duration duration(double us) { return policies::Duration(std::llround(us * 1e3)); }

}  // namespace

std::span<const Preset> presets() { return kPresets; }

const Preset* find_preset(std::string_view name) {
  const auto found = std::find_if(kPresets.begin(), kPresets.end(),
                                  [name](const Preset& one) { return one.name == name; });
  return found == kPresets.end() ? nullptr : &*found;
}

EngineParameters engine_of(const Preset& preset) {
  EngineParameters engine;
  engine.prefill_per_token = duration(preset.prefill_us_per_token);
  engine.min_iteration = duration(preset.min_iteration_ms * 1e3);
  engine.decode_per_sequence = duration(preset.decode_us_per_sequence);
  engine.token_budget = preset.token_budget;
  engine.block_tokens = kBlockTokens;
  engine.cache_tokens = std::uint64_t{preset.cache_blocks} * kBlockTokens;
  return engine;
}

}  // namespace dualmesh::node
