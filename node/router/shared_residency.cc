#include "node/router/shared_residency.h"

#include <algorithm>

namespace dualmesh::node {

void SharedResidency::longest_prefix(std::span<const policies::BlockKey> blocks,
                                     std::vector<std::uint32_t>& hits) const {
  if (blocks.empty()) return hits.clear();
  const std::lock_guard lock(mutex_);
  index_.longest_prefix(blocks, hits);
}

void SharedResidency::keep_recent(bool wanted) {
  const std::lock_guard lock(mutex_);
  if (keeps_recent_ == wanted) return;
  keeps_recent_ = wanted;
  recent_ = policies::ResidencyIndex({limits_.capacity_blocks, kRecent});
}

void SharedResidency::longest_recent_prefix(std::span<const policies::BlockKey> blocks,
                                            std::vector<std::uint32_t>& hits) const {
  const std::lock_guard lock(mutex_);
  recent_.longest_prefix(blocks, hits);
}

bool SharedResidency::placed_before(policies::Slot slot, policies::BlockKey block,
                                    policies::Time then) const {
  const std::lock_guard lock(mutex_);
  return recent_.touched_before(slot, block, then);
}

void SharedResidency::forget_older(policies::Slot slot, policies::Duration age,
                                   policies::Time now) {
  const std::lock_guard lock(mutex_);
  index_.forget_older(slot, age, now);
  told_.forget(slot);  // others may have found the same
}

SharedResidency::Placed SharedResidency::placed_here(policies::Slot slot,
                                                     std::span<const policies::BlockKey> blocks,
                                                     policies::Time now) {
  if (blocks.empty()) return {};
  const std::lock_guard lock(mutex_);
  const auto age = index_.touch(slot, blocks, now);
  if (keeps_recent_) recent_.touch(slot, blocks, now);
  if (!told_.tell(slot, blocks, now)) return {age, false};
  untold_.push_back({slot, {blocks.begin(), blocks.end()}});
  untold_blocks_ += blocks.size();
  std::size_t dropped = 0;
  while (untold_blocks_ > max_untold_ && dropped + 1 < untold_.size()) {
    told_.forget(untold_[dropped].slot);
    untold_blocks_ -= untold_[dropped++].blocks.size();
  }
  untold_.erase(untold_.begin(), untold_.begin() + static_cast<std::ptrdiff_t>(dropped));
  return {age, true};
}

void SharedResidency::placed_elsewhere(policies::Slot slot,
                                       std::span<const policies::BlockKey> blocks,
                                       policies::Time now) {
  const std::lock_guard lock(mutex_);
  told_.others_told(slot, blocks, now);
  index_.touch(slot, blocks, now);
  if (keeps_recent_) recent_.touch(slot, blocks, now);
}

void SharedResidency::forget(policies::Slot slot) {
  const std::lock_guard lock(mutex_);
  index_.forget(slot);
  recent_.forget(slot);
  told_.forget(slot);
}

void SharedResidency::forget_all() {
  const std::lock_guard lock(mutex_);
  index_ = policies::ResidencyIndex(limits_);
  recent_ = policies::ResidencyIndex({limits_.capacity_blocks, kRecent});
  told_.forget_all();
  untold_.clear();
  untold_blocks_ = 0;
}

void SharedResidency::expire(policies::Time now, std::size_t at_most) {
  const std::lock_guard lock(mutex_);
  index_.expire(now, at_most);
  recent_.expire(now, at_most);
}

void SharedResidency::take_placements(std::vector<LocalPlacement>& out) {
  const std::lock_guard lock(mutex_);
  out.insert(out.end(), std::make_move_iterator(untold_.begin()),
             std::make_move_iterator(untold_.end()));
  untold_.clear();
  untold_blocks_ = 0;
}

std::size_t SharedResidency::size() const {
  const std::lock_guard lock(mutex_);
  return index_.size();
}

std::size_t SharedResidency::size(policies::Slot slot) const {
  const std::lock_guard lock(mutex_);
  return index_.size(slot);
}

}  // namespace dualmesh::node
