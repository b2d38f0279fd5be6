#include "node/mesh/ring_generation.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <array>
#include <charconv>

namespace dualmesh::node {
namespace {

constexpr std::uint64_t kMinBlockBytes = 64;
constexpr std::uint64_t kMaxBlockBytes = 1 << 20;
constexpr std::uint64_t kMaxPoints = 10'000;

// Of a generation and its contents, equal on all nodes; below every clock, so never refused.
crdt::Stamp stamp_of(const policies::RoutingParameters& parameters) {
  const std::string text = to_text(parameters);
  return {parameters.generation, crdt::NodeId{XXH3_64bits(text.data(), text.size())}};
}

bool higher(const policies::RoutingParameters& a, const policies::RoutingParameters& b) {
  return stamp_of(a) > stamp_of(b);
}

std::optional<policies::RoutingParameters> highest_of(const crdt::MultiValue<std::string>* row) {
  std::optional<policies::RoutingParameters> highest;
  if (row == nullptr) return highest;
  for (const auto& sibling : row->siblings()) {
    const auto parameters = read_parameters(sibling.value);
    if (parameters && (!highest || higher(*parameters, *highest))) highest = parameters;
  }
  return highest;
}

}  // namespace

policies::RoutingParameters configured_parameters(const MeshConfig& config) {
  return {config.ring_generation, config.chain, config.ring};
}

std::string to_text(const policies::RoutingParameters& parameters) {
  return fmt::format("{} {} {} {} {} {}", parameters.generation, parameters.chain.block_bytes,
                     parameters.chain.seed, parameters.ring.points_per_weight,
                     parameters.ring.seed_a, parameters.ring.seed_b);
}

std::optional<policies::RoutingParameters> read_parameters(std::string_view text) {
  std::array<std::uint64_t, 6> numbers{};
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (i > 0 && (at == end || *at++ != ' ')) return {};
    const auto parsed = std::from_chars(at, end, numbers[i]);
    if (parsed.ec != std::errc{}) return {};
    at = parsed.ptr;
  }
  const auto [generation, block_bytes, seed, points, seed_a, seed_b] = numbers;
  if (at != end || generation < 1 || generation > kMaxRingGeneration) return {};
  if (block_bytes < kMinBlockBytes || block_bytes > kMaxBlockBytes) return {};
  if (points < 1 || points > kMaxPoints) return {};
  policies::RoutingParameters out;
  out.generation = static_cast<std::uint32_t>(generation);
  out.chain = {static_cast<std::uint32_t>(block_bytes), seed};
  out.ring = {static_cast<std::uint32_t>(points), seed_a, seed_b};
  return out;
}

policies::RoutingParameters parameters_in_use(const net::SettingsTable& settings,
                                              const MeshConfig& config) {
  const policies::RoutingParameters own = configured_parameters(config);
  const auto known = highest_of(settings.find({kRingSetting}));
  return known && higher(*known, own) ? *known : own;
}

std::optional<crdt::MultiValue<std::string>> with_own_parameters(const net::SettingsTable& settings,
                                                                 const MeshConfig& config) {
  const auto* held = settings.find({kRingSetting});
  const policies::RoutingParameters own = configured_parameters(config);
  const auto known = highest_of(held);
  if (known && !higher(own, *known)) return {};
  crdt::MultiValue<std::string> row;
  if (held != nullptr) row = *held;
  const crdt::Stamp stamp = stamp_of(own);
  // Seen and replaced already: by what cannot be read any more, and is no reason to say it again.
  const auto seen = row.seen().find(stamp.writer);
  if (seen != row.seen().end() && seen->second >= stamp.time) return {};
  row.assign(stamp, to_text(own));
  return row;
}

policies::ChainParameters chain_of(const policies::RoutingParameters& parameters) {
  policies::ChainParameters chain = parameters.chain;
  if (parameters.generation > 1) {
    const std::array<std::uint64_t, 2> words{parameters.generation, chain.seed};
    chain.seed = XXH3_64bits(words.data(), sizeof words);
  }
  return chain;
}

}  // namespace dualmesh::node
