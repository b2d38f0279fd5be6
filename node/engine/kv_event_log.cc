#include "node/engine/kv_event_log.h"

namespace dualmesh::node {

using policies::BlockKey;

void KvEventLog::stored(BlockKey hash) {
  const auto [request, at] = model_.storing();
  if (!events_.empty() && at > 0) {
    auto* last = std::get_if<KvStored>(&events_.back());
    if (last && last->prompt == request->prompt && last->hashes.back() == request->blocks[at - 1]) {
      return last->hashes.push_back(hash);
    }
  }
  events_.push_back(KvStored{{hash}, at, at > 0 ? request->blocks[at - 1] : 0, request->prompt});
}

void KvEventLog::evicted(BlockKey hash) {
  if (!events_.empty()) {
    if (auto* last = std::get_if<KvRemoved>(&events_.back())) return last->hashes.push_back(hash);
  }
  events_.push_back(KvRemoved{{hash}});
}

}  // namespace dualmesh::node
