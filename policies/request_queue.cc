#include "policies/request_queue.h"

#include <algorithm>
#include <boost/assert.hpp>

namespace dualmesh::policies {

std::size_t RequestQueue::place_of(const QueueKey& key) const {
  const auto place = std::lower_bound(entries_.begin(), entries_.end(), key,
                                      [](const Entry& e, const QueueKey& k) { return e.key < k; });
  return static_cast<std::size_t>(place - entries_.begin());
}

void RequestQueue::push(const Entry& entry) {
  const std::size_t place = place_of(entry.key);
  BOOST_ASSERT(place == entries_.size() || entries_[place].key != entry.key);
  entries_.insert(entries_.begin() + static_cast<std::ptrdiff_t>(place), entry);
  sums_valid_ = std::min(sums_valid_, place + 1);
  if (entries_.size() == 1) {
    oldest_ = entry.key.arrived;
    oldest_valid_ = true;
  } else {
    oldest_ = std::min(oldest_, entry.key.arrived);
  }
}

void RequestQueue::remove(const QueueKey& key) {
  const std::size_t place = place_of(key);
  BOOST_ASSERT(place < entries_.size() && entries_[place].key == key);
  entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(place));
  sums_valid_ = std::min(sums_valid_, place + 1);
  if (key.arrived == oldest_) oldest_valid_ = false;
}

Time RequestQueue::oldest() const {
  BOOST_ASSERT(!entries_.empty());
  if (!oldest_valid_) {
    oldest_ = entries_.front().key.arrived;
    for (const Entry& entry : entries_) oldest_ = std::min(oldest_, entry.key.arrived);
    oldest_valid_ = true;
  }
  return oldest_;
}

std::uint64_t RequestQueue::tokens_before(const QueueKey& key) const {
  const std::size_t place = place_of(key);
  if (sums_.size() <= place) sums_.resize(entries_.capacity() + 1);  // seldom, and for all places
  if (sums_valid_ == 0) {
    sums_[0] = 0;
    sums_valid_ = 1;
  }
  for (; sums_valid_ <= place; ++sums_valid_) {
    sums_[sums_valid_] = sums_[sums_valid_ - 1] + entries_[sums_valid_ - 1].tokens;
  }
  return sums_[place];
}

}  // namespace dualmesh::policies
