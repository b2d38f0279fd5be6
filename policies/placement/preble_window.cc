#include "policies/placement/preble_window.h"

#include <algorithm>
#include <boost/assert.hpp>

namespace dualmesh::policies {

bool PrebleWindow::Prefix::is_at(Slot slot) const {
  return std::find(assigned.begin(), assigned.end(), slot) != assigned.end();
}

const PrebleWindow::Prefix* PrebleWindow::deepest(const PromptChain& chain, BlockKey& key) const {
  for (auto block = chain.blocks.rbegin(); block != chain.blocks.rend(); ++block) {
    const auto found = prefixes_.find(*block);
    if (found == prefixes_.end()) continue;
    key = *block;
    return &found->second;
  }
  return nullptr;
}

void PrebleWindow::sent(const Sent& request, Time now) {
  ended(request.id);
  while (!entries_.empty() && entries_.front().at + length_ <= now) drop_oldest();
  if (entries_.size() == kMaxRequests) {
    ++forgotten_;
    drop_oldest();
  }
  Prefix& prefix = prefixes_[request.prefix];
  discount(prefix);
  prefix.model = request.model;
  ++prefix.requests;
  prefix.uncached += request.uncached;
  if (!prefix.is_at(request.slot)) prefix.assigned.push_back(request.slot);
  count(prefix);
  prefix.running.push_back(request.slot);
  under_way_[request.id] = {request.prefix, request.slot, requests_seen()};
  entries_.push_back({now, request.id, request.prefix, request.slot, request.uncached});
}

void PrebleWindow::first_token(RequestId id, Duration since_submit) {
  const auto found = under_way_.find(id);
  if (found == under_way_.end()) return;
  entries_[found->second.number - first_].ttft_s = to_seconds(since_submit);
}

void PrebleWindow::ended(RequestId id) {
  const auto found = under_way_.find(id);
  if (found == under_way_.end()) return;
  const auto prefix = prefixes_.find(found->second.prefix);
  BOOST_ASSERT(prefix != prefixes_.end());
  Slots& running = prefix->second.running;
  running.erase(std::find(running.begin(), running.end(), found->second.slot));
  under_way_.erase(found);
}

void PrebleWindow::move(BlockKey key, const Slots& slots) {
  Prefix& prefix = prefixes_.find(key)->second;
  discount(prefix);
  prefix.assigned = slots;
  prefix.moved = true;
  count(prefix);
}

std::uint64_t PrebleWindow::tokens(Slot slot, Time now) const {
  if (slot >= sums_.size()) return 0;
  std::uint64_t sum = sums_[slot];
  // What has left the window since it was last tidied.
  for (const Entry& old : entries_) {
    if (old.at + length_ > now) break;
    const Prefix& prefix = prefixes_.find(old.prefix)->second;
    if (prefix.is_at(slot)) sum -= std::min(sum, old.uncached / prefix.assigned.size());
  }
  return sum;
}

double PrebleWindow::slowdown(BlockKey prefix, Slot slot, Time now) const {
  double sums[2] = {0, 0};
  double samples[2] = {0, 0};
  for (const Entry& entry : entries_) {
    if (entry.prefix != prefix || entry.slot != slot || entry.ttft_s == 0) continue;
    if (entry.at + length_ <= now) continue;
    const std::size_t half = entry.at + length_ / 2 <= now ? 0 : 1;
    sums[half] += entry.ttft_s;
    samples[half] += 1;
  }
  if (samples[0] == 0 || samples[1] == 0) return 0;
  return sums[1] / samples[1] / (sums[0] / samples[0]);
}

void PrebleWindow::drop_oldest() {
  const Entry& oldest = entries_.front();
  const auto under_way = under_way_.find(oldest.id);
  if (under_way != under_way_.end() && under_way->second.number == first_) ended(oldest.id);
  const auto found = prefixes_.find(oldest.prefix);
  Prefix& prefix = found->second;
  discount(prefix);
  --prefix.requests;
  prefix.uncached -= oldest.uncached;
  count(prefix);
  entries_.pop_front();
  ++first_;
  if (prefix.requests == 0) prefixes_.erase(found);
}

void PrebleWindow::count(const Prefix& prefix) {
  for (const Slot slot : prefix.assigned) {
    if (slot >= sums_.size()) sums_.resize(slot + 1U);
    sums_[slot] += prefix.share();
  }
}

void PrebleWindow::discount(const Prefix& prefix) {
  for (const Slot slot : prefix.assigned) sums_[slot] -= prefix.share();
}

}  // namespace dualmesh::policies
