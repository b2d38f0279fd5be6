// KeyWindow: how often each key occurred among the last `size` that were added.
//
// Invariant: the counts sum to min(additions, size).
// Cost: add O(1), without allocation: the map is so roomy that it need not be built anew for the
// keys that come and go.
// Threads: none.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <vector>

#include "policies/prompt_chain.h"

namespace dualmesh::policies {

class KeyWindow {
 public:
  explicit KeyWindow(std::uint32_t size) : size_(size == 0 ? 1 : size) {
    keys_.reserve(size_);
    counts_.reserve(std::size_t{size_} * 4);
  }

  // Returns how often `key` now occurs.
  std::uint32_t add(BlockKey key) {
    if (keys_.size() < size_) {
      keys_.push_back(key);
    } else {
      const auto oldest = counts_.find(keys_[next_]);
      if (--oldest->second == 0) counts_.erase(oldest);
      keys_[next_] = key;
      next_ = (next_ + 1) % size_;
    }
    return ++counts_[key];
  }
  std::uint32_t samples() const { return static_cast<std::uint32_t>(keys_.size()); }

 private:
  std::uint32_t size_;
  std::uint32_t next_ = 0;  // the oldest, once the window is full
  std::vector<BlockKey> keys_;
  boost::unordered_flat_map<BlockKey, std::uint32_t> counts_;
};

}  // namespace dualmesh::policies
