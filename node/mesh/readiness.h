// Readiness: may this node take clients yet, and if not, why.
//
//  alone by configuration        at once
//  refused by the mesh           never, until some node takes it in
//  nobody ever answered          as the founder of a mesh, join_timeout_ms after the start
//  otherwise                     linked to somebody, and every living node's state has been applied
//  as
//                                far as it was when we met it; a slow one is waited for 2 x
//                                join_timeout_ms
//
// Two founders on both sides of a partition do no harm: all state merges when they meet. A node
// that was ready stays so through partitions; only draining, leaving and a refusal by all end it.
//
// Pure. Threads: none.
#pragma once

#include <string>
#include <vector>

#include "node/mesh/mesh_config.h"
#include "policies/time.h"

namespace dualmesh::node {

struct ReadinessFacts {
  policies::Duration running{0};
  bool draining = false;
  bool was_ready = false;
  bool met_anyone = false;
  bool refused = false;
  std::string refusal;
  std::size_t linked = 0;
  std::vector<std::string> waiting_for;  // names of living nodes not yet synchronised with
};

struct ReadinessVerdict {
  bool ready = false;
  bool founder = false;                 // ready because nobody else was found
  std::vector<std::string> unfinished;  // ready without these
  std::string why_not;
};

ReadinessVerdict judge_readiness(const MeshConfig& config, const ReadinessFacts& facts);

}  // namespace dualmesh::node
