// Generators: workloads made from a few numbers, by name: `zipf:prefixes=200,shift_s=60`.
//
//   multi-turn  conversations: shared system prompts, think time, a context that grows
//   agents      the same with tools in between: more and faster turns, longer prompts
//   rag         a shared instruction, popular documents, a question of its own; a document behind
//               another one is another prefix
//   zipf        prefixes of Zipf popularity whose ranks move on now and then
//   uniform     prompts that share nothing
//
// Each lists its knobs with range and meaning; the grammar is that of policies (policy_spec.h).
// Arrivals are Poisson (of sessions, for the first two).
//
// Invariant: a workload is a pure function of spec, size, rate and seed.
// Threads: pure functions.
// Source: the shapes are those in which the papers on prefix-aware routing describe their traffic.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "node/replay/workload.h"
#include "policies/policy_spec.h"

namespace dualmesh::node {

struct GeneratedSize {
  std::size_t requests = 2000;
  double qps = 6.0;
  std::uint64_t seed = 1;
};

std::vector<std::string> generator_names();
// By name without knobs; empty when there is none of that name.
std::span<const policies::Parameter> generator_parameters(std::string_view name);
// Empty when good; else what is wrong and what is allowed.
std::string check_generator(std::string_view spec);
Workload generate(std::string_view spec, const GeneratedSize& size);  // of a good spec

}  // namespace dualmesh::node
