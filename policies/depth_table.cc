#include "policies/depth_table.h"

#include <xxhash.h>

#include <algorithm>
#include <array>

namespace dualmesh::policies {

namespace {

// Blocks of the chain, the partial last one included: no key is deeper than the whole prompt.
std::uint32_t max_depth(const PromptChain& chain) {
  const bool has_partial = chain.blocks.empty() || chain.whole != chain.blocks.back();
  return static_cast<std::uint32_t>(chain.blocks.size()) + (has_partial ? 1 : 0);
}

std::uint64_t mark_hash(BlockKey key, std::uint32_t deeper) {
  const std::array<std::uint64_t, 2> words{key, deeper};
  return XXH3_64bits(words.data(), sizeof words);
}

}  // namespace

DepthTable::DepthTable(const Settings& settings) : settings_(settings), window_(settings.window) {
  settings_.max_marks = std::max(settings_.max_marks, 1U);
}

std::uint32_t DepthTable::depth_of(const PromptChain& chain, const DepthMarks* shared,
                                   Time now) const {
  const std::uint32_t deepest = max_depth(chain);
  std::uint32_t depth = 1;
  while (depth < deepest) {
    const std::uint32_t next = deeper_than(depth, chain.prefix_key(depth), shared, now);
    if (next <= depth) break;
    depth = std::min(next, deepest);
  }
  return depth;
}

std::uint32_t DepthTable::deeper_than(std::uint32_t depth, BlockKey key, const DepthMarks* shared,
                                      Time now) const {
  std::uint32_t deeper = 0;
  if (depth <= levels_.size()) {
    const Level& level = levels_[depth - 1];
    const auto own = level.by_key.find(key);
    if (own != level.by_key.end()) {
      const Mark& mark = *own->second;
      const bool fresh = now - mark.proposed_at < 2 * settings_.refresh_after;
      if (shared == nullptr || fresh) deeper = mark.deeper;
    }
  }
  if (shared != nullptr) {
    const auto found = shared->deeper.find(key);
    if (found != shared->deeper.end()) deeper = std::max(deeper, found->second);
  }
  return deeper;
}

void DepthTable::observe(const PromptChain& chain, std::uint32_t depth, const DepthMarks* shared,
                         Time now) {
  // The marks that led here stay: whether one of them has gone cold is judged where it leads to.
  std::uint32_t last = 0;
  for (std::uint32_t d = 1; d < depth;) {
    const std::uint32_t next = deeper_than(d, chain.prefix_key(d), shared, now);
    if (next <= d) break;
    if (last != 0) mark(last, chain.prefix_key(last), d, now);
    last = d;
    d = next;
  }

  const BlockKey key = chain.prefix_key(depth);
  const std::uint32_t count = window_.add(key);
  const bool decides = window_.samples() >= settings_.min_samples;
  const bool hot = decides && count >= settings_.hot_share * window_.samples();
  if (hot && depth < max_depth(chain)) mark(depth, key, depth + 1, now);

  if (depth > 1) {
    const BlockKey shallower = chain.prefix_key(depth - 1);
    const std::uint32_t shallower_count = window_.add(shallower);
    const bool still_decides = window_.samples() >= settings_.min_samples;
    if (still_decides && shallower_count < settings_.cold_share * window_.samples()) {
      unmark(depth - 1, shallower);
    } else if (last == depth - 1) {
      mark(last, shallower, depth, now);
    }
  }
}

void DepthTable::mark(std::uint32_t depth, BlockKey key, std::uint32_t deeper, Time now) {
  if (levels_.size() < depth) levels_.resize(depth);
  Level& level = levels_[depth - 1];
  const auto found = level.by_key.find(key);
  if (found != level.by_key.end()) {
    Mark& mark = *found->second;
    level.by_use.splice(level.by_use.begin(), level.by_use, found->second);
    if (mark.deeper != deeper) {
      digest_ += mark_hash(key, deeper) - mark_hash(key, mark.deeper);
      mark.deeper = deeper;
    } else if (now - mark.proposed_at < settings_.refresh_after) {
      return;
    }
    if (propose(key, deeper)) mark.proposed_at = now;
    return;
  }
  if (level.by_key.size() >= settings_.max_marks) unmark(depth, level.by_use.back().key);
  level.by_use.push_front({key, deeper, now});
  level.by_key.emplace(key, level.by_use.begin());
  digest_ += mark_hash(key, deeper);
  if (!propose(key, deeper)) level.by_use.front().proposed_at = now - settings_.refresh_after;
}

void DepthTable::unmark(std::uint32_t depth, BlockKey key) {
  if (depth > levels_.size()) return;
  Level& level = levels_[depth - 1];
  const auto found = level.by_key.find(key);
  if (found == level.by_key.end()) return;
  digest_ -= mark_hash(key, found->second->deeper);
  level.by_use.erase(found->second);
  level.by_key.erase(found);
}

bool DepthTable::propose(BlockKey key, std::uint32_t deeper) {
  if (proposals_.size() >= kMaxProposals) return false;
  proposals_.push_back({key, deeper});
  return true;
}

void DepthTable::take_proposals(std::vector<DepthProposal>& out) {
  out.insert(out.end(), proposals_.begin(), proposals_.end());
  proposals_.clear();
}

std::size_t DepthTable::size() const {
  std::size_t marks = 0;
  for (const Level& level : levels_) marks += level.by_key.size();
  return marks;
}

}  // namespace dualmesh::policies
