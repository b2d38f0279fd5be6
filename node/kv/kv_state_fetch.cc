#include "node/kv/kv_state_fetch.h"

#include <algorithm>
#include <iterator>

namespace dualmesh::node {

auto KvStateFetch::take(KvPiece&& piece, std::size_t max_total, policies::Time now) -> Took {
  if (piece.stream != stream_) return Took::useless;
  if (piece.cut == 0) return Took::failed;
  if (piece.offset != entries_.size() || (cut_ != 0 && piece.cut != cut_)) return Took::useless;
  if (cut_ == 0) {
    cut_ = piece.cut;
    total_ = piece.total;
    position_ = piece.position;
    facts_ = {piece.block_tokens, piece.main_group};
  }
  const bool same = piece.total == total_ && piece.position == position_;
  const bool stuck = piece.entries.empty() && entries_.size() < total_;
  if (!same || stuck || total_ > max_total || position_.epoch < epoch_) return Took::failed;
  entries_.insert(entries_.end(), piece.entries.begin(), piece.entries.end());
  progress_at_ = now;
  ask_due = entries_.size() < total_;
  return ask_due ? Took::more : Took::whole;
}

bool KvCuts::has_room(std::size_t blocks) const {
  for (const auto& [id, held] : cuts_) blocks += held.second.cut->entries.size();
  return cuts_.empty() || (cuts_.size() < kMost && blocks <= state_.limits().max_blocks / 4);
}

const KvCuts::Cut* KvCuts::find(const StreamKey& stream, const KvFetch& asked, policies::Time now) {
  if (asked.cut != 0) {
    const auto held = cuts_.find(asked.cut);
    if (held == cuts_.end() || held->second.first != stream) return nullptr;
    held->second.second.used_at = now;
    return &held->second.second;
  }
  const bool is_first = std::none_of(cuts_.begin(), cuts_.end(),
                                     [&](const auto& held) { return held.second.first == stream; });
  const BlockMap* const map = state_.map(stream);
  if (map == nullptr || (is_first && !make_room(map->size()))) return nullptr;
  auto cut = state_.cut(stream, asked.least);
  if (cut == nullptr) return nullptr;
  const auto shared = std::find_if(cuts_.begin(), cuts_.end(),
                                   [&](const auto& held) { return held.second.second.cut == cut; });
  if (shared != cuts_.end()) {
    shared->second.second.used_at = now;
    return &shared->second.second;
  }
  if (!make_room(cut->entries.size())) return nullptr;
  const std::uint64_t id = ++last_id_;
  return &cuts_.emplace(id, std::pair(stream, Cut{id, std::move(cut), now})).first->second.second;
}

// One that has been told whole may be kept for nobody, and a stream that is asked for again and
// again must not keep the others waiting.
bool KvCuts::make_room(std::size_t blocks) {
  while (!has_room(blocks)) {
    const auto told = std::find_if(cuts_.begin(), cuts_.end(),
                                   [](const auto& held) { return held.second.second.is_told; });
    if (told == cuts_.end()) return false;
    cuts_.erase(told);
  }
  return true;
}

void KvCuts::drop_unused(policies::Time before) {
  for (auto held = cuts_.begin(); held != cuts_.end();) {
    held = held->second.second.used_at < before ? cuts_.erase(held) : std::next(held);
  }
}

}  // namespace dualmesh::node
