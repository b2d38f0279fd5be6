// Readiness: may this node take clients yet, and if not, why.
//
//  alone by configuration        at once
//  another node has its name     no, even if it was ready before
//  was ready                     stays so through partitions and refusals; draining ends it
//  refused, and linked to none   not yet: until some node takes it in, or nobody refuses any more
//  no other alive or refusing    as the founder of a mesh, join_timeout_ms after the start
//  otherwise                     linked to somebody, and every living node's state has been applied
//                                as far as it was when we met it; a slow one is waited for 2 x
//                                join_timeout_ms
//
// Two founders on both sides of a partition do no harm: all state merges when they meet. A node
// that met others which then died founds as well: waiting for the dead would be for ever.
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
  bool any_other = false;  // another node lives as far as we know, or refuses us
  bool refused = false;
  bool name_in_use = false;
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
