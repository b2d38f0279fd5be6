// Ring generations: how the parameters that decide where a request goes change without an outage.
//
// Block size, seeds and ring points carry a generation. Nodes with different generations mesh
// together: each writes its own into the settings, unless a higher one is known, and all route by
// the highest. Of two contents for one generation (refused by the handshake, but two halves of a
// mesh may each have met one) the greater hash wins everywhere, so rings stay a pure function of
// replicated state.
//
// Generations above 1 are mixed into the prompt seed: block keys of two generations never meet, so
// that placements and depth marks of an old one match nothing and expire.
//
// Invariant: parameters_in_use never goes back. Threads: none; pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "net/mesh_rows.h"
#include "node/mesh/mesh_config.h"

namespace dualmesh::node {

inline constexpr const char* kRingSetting = "ring";

// As the configuration says it; the chain's seed is not mixed with the generation yet.
policies::RoutingParameters configured_parameters(const MeshConfig& config);

std::string to_text(const policies::RoutingParameters& parameters);
// Nothing when it is not the text of parameters a node may run with.
std::optional<policies::RoutingParameters> read_parameters(std::string_view text);

// The highest known: of the settings and our own configuration.
policies::RoutingParameters parameters_in_use(const net::SettingsTable& settings,
                                              const MeshConfig& config);
// The row with our own parameters in it; nothing when as high a generation is in it already.
std::optional<crdt::MultiValue<std::string>> with_own_parameters(const net::SettingsTable& settings,
                                                                 const MeshConfig& config);

// What prompts are cut and hashed with.
policies::ChainParameters chain_of(const policies::RoutingParameters& parameters);

}  // namespace dualmesh::node
