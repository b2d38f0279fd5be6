#include "node/kv/kv_types.h"

#include "crdt/state_digest.h"

namespace dualmesh::node {

std::uint64_t away_hash(crdt::Version away) {
  return away.value == 0 ? 0 : crdt::mixed(~away.value);
}

}  // namespace dualmesh::node
