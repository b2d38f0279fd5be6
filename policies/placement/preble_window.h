// PrebleWindow: the requests of the last while, grouped by the prefix that they share, and which
// instances each prefix is assigned to.
//
// A prefix is that of a request which shared less than half of its prompt with anything before it;
// whoever builds upon it later belongs to it. It is named by the key of its last block. What its
// requests had to prefill counts, in equal parts, for the instances that it is assigned to.
//
// Invariants: shares of an instance sum up over the prefixes assigned to it; a prefix is kept while
// a request of it is in the window. A request that has left the window is no longer under way.
// Bound: kMaxRequests in the window, with all that belongs to them; the oldest leave early and are
// counted.
// Cost: deepest O(blocks), sent O(1), tokens O(what has left since the last sent).
// Threads: none; the policy's owner locks.
// Source: the window and the allocations of Preble's tree nodes, arXiv 2407.00023 and its authors'
// code. Theirs is a tree of tokens; here each important node of it is an entry of a map.
#pragma once

#include <boost/container/small_vector.hpp>
#include <boost/unordered/unordered_flat_map.hpp>
#include <deque>
#include <vector>

#include "policies/scheduler.h"

namespace dualmesh::policies {

class PrebleWindow {
 public:
  static constexpr std::size_t kMaxRequests = 65'536;
  using Slots = boost::container::small_vector<Slot, 4>;

  struct Prefix {
    std::uint64_t model = 0;     // hash of its name
    std::uint32_t requests = 0;  // in the window
    std::uint64_t uncached = 0;  // tokens that these had to prefill
    Slots assigned;
    bool moved = false;  // by balancing: what is cached elsewhere does not count
    Slots running;       // where its requests are under way, one entry each

    bool is_at(Slot slot) const;
    // What it counts for each instance that it is assigned to.
    std::uint64_t share() const { return assigned.empty() ? 0 : uncached / assigned.size(); }
  };
  struct Sent {
    RequestId id = 0;
    std::uint64_t model = 0;
    BlockKey prefix = 0;
    Slot slot = kNoSlot;
    std::uint32_t uncached = 0;
  };

  explicit PrebleWindow(Duration length) : length_(length) {}

  // The prefix with the longest beginning of this prompt, if any; its key.
  const Prefix* deepest(const PromptChain& chain, BlockKey& key) const;
  // One that was sent before starts anew.
  void sent(const Sent& request, Time now);
  void first_token(RequestId id, Duration since_submit);
  void ended(RequestId id);
  void move(BlockKey prefix, const Slots& slots);

  // Uncached tokens of the window that count for `slot`.
  std::uint64_t tokens(Slot slot, Time now) const;
  // Times to first token of `prefix` at `slot`: the mean in the later half of the window over the
  // mean in the earlier one; 0 while either is empty.
  double slowdown(BlockKey prefix, Slot slot, Time now) const;
  std::uint64_t requests_seen() const { return first_ + entries_.size(); }
  std::uint64_t forgotten() const { return forgotten_; }
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const auto& [key, prefix] : prefixes_) visit(key, prefix);
  }

 private:
  struct Entry {
    Time at{};
    RequestId id = 0;
    BlockKey prefix = 0;
    Slot slot = kNoSlot;
    std::uint32_t uncached = 0;
    double ttft_s = 0;  // 0 until known
  };
  struct UnderWay {
    BlockKey prefix = 0;
    Slot slot = kNoSlot;
    std::uint64_t number = 0;  // of its entry
  };
  using Prefixes = boost::unordered_flat_map<BlockKey, Prefix>;

  void drop_oldest();
  // Adds the shares of `prefix` to its instances' sums, or takes them out.
  void count(const Prefix& prefix);
  void discount(const Prefix& prefix);

  Duration length_;
  std::deque<Entry> entries_;  // in the order of time
  std::uint64_t first_ = 0;    // number of entries_.front()
  Prefixes prefixes_;
  std::vector<std::uint64_t> sums_;  // by slot: shares
  boost::unordered_flat_map<RequestId, UnderWay> under_way_;
  std::uint64_t forgotten_ = 0;
};

}  // namespace dualmesh::policies
