#include "node/kv/change_log.h"

#include <algorithm>

namespace dualmesh::node {

void ChangeLog::restart(crdt::Version at) {
  begin_ = end_ = at;
  entries_.clear();
  changes_.clear();
}

void ChangeLog::append(crdt::Version from, crdt::Version to, std::span<const BlockChange> changes,
                       std::uint64_t last_batch) {
  if (from != end_ || to <= from) restart(from);
  if (to <= from) return;
  end_ = to;
  if (changes.size() > max_changes_) {  // nobody will be sent this but as a state
    restart(to);
    return;
  }
  make_room(changes.size());
  entries_.push_back({to, last_batch, changes.size()});
  changes_.insert(changes_.end(), changes.begin(), changes.end());
}

void ChangeLog::drop_oldest() {
  const Entry& oldest = entries_.front();
  changes_.erase_begin(oldest.changes);
  begin_ = oldest.to;
  entries_.pop_front();
}

// For one more entry.
void ChangeLog::make_room(std::size_t changes) {
  while (changes_.size() + changes > max_changes_ || entries_.size() >= max_changes_) {
    drop_oldest();
  }
  const std::size_t needed = changes_.size() + changes;
  if (needed <= changes_.capacity()) return;
  changes_.set_capacity(std::min(std::max(needed, 2 * changes_.capacity()), max_changes_));
}

std::optional<LoggedChanges> ChangeLog::since(crdt::Version from, std::size_t max_changes) const {
  if (from < begin_ || from > end_) return std::nullopt;
  LoggedChanges result{.from = from, .to = from};
  // The entry that begins at `from`, and the changes of all after it, from the back: who asks is
  // nearly always a little behind.
  std::size_t first = entries_.size(), after = 0;
  while (first > 0 && entries_[first - 1].to > from) after += entries_[--first].changes;
  const crdt::Version begins = first == 0 ? begin_ : entries_[first - 1].to;
  if (begins != from) return std::nullopt;
  std::size_t taken = 0;
  for (; first < entries_.size(); ++first) {
    const Entry& entry = entries_[first];
    if (result.to != from && taken + entry.changes > max_changes) break;
    taken += entry.changes;
    result.steps.push_back(entry);
    result.to = entry.to;
    result.last_batch = entry.last_batch;
  }
  const auto begin = changes_.end() - static_cast<std::ptrdiff_t>(after);
  result.changes.assign(begin, begin + static_cast<std::ptrdiff_t>(taken));
  return result;
}

std::uint64_t ChangeLog::batch_at(crdt::Version step) const {
  const auto found =
      std::lower_bound(entries_.begin(), entries_.end(), step,
                       [](const Entry& entry, crdt::Version wanted) { return entry.to < wanted; });
  return found != entries_.end() && found->to == step ? found->last_batch : 0;
}

}  // namespace dualmesh::node
