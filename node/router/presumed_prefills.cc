#include "node/router/presumed_prefills.h"

#include <algorithm>
#include <utility>

namespace dualmesh::node {
namespace {

constexpr auto later = [](const PresumedPrefills::Entry& a, const PresumedPrefills::Entry& b) {
  return a.at > b.at;
};

}  // namespace

void PresumedPrefills::add(const Entry& entry, policies::Time now) {
  if (entries_.size() >= most_) sweep();
  entries_.push_back(entry);
  std::push_heap(entries_.begin(), entries_.end(), later);
  arm(now);
}

void PresumedPrefills::sweep() {
  std::erase_if(entries_, [this](const Entry& entry) { return !counts_(entry); });
  std::make_heap(entries_.begin(), entries_.end(), later);
  most_ = 2 * entries_.size() + kSpare;
}

void PresumedPrefills::arm(policies::Time now) {
  if (entries_.empty() || entries_.front().at >= armed_for_) return;
  armed_for_ = entries_.front().at;
  timer_ = thread_.after(armed_for_ - now, [this] { rang(); });
}

// One that is added meanwhile has its own time.
void PresumedPrefills::rang() {
  const policies::Time reached = std::max(std::exchange(armed_for_, kNever), clock_());
  while (!entries_.empty() && entries_.front().at <= reached) {
    std::pop_heap(entries_.begin(), entries_.end(), later);
    const Entry entry = entries_.back();
    entries_.pop_back();
    if (counts_(entry)) over_(entry);
  }
  arm(clock_());
}

}  // namespace dualmesh::node
