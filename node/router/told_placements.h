// ToldPlacements: which prompts the mesh has been told of lately, so that it is not told again what
// every node knows.
//
// A prompt is known by its last block at an instance: keys are chained, so all blocks before it
// were told with it. It counts as told for `again_after`, and while at most `most_since` other
// blocks were told of that instance, by whomever: a node that keeps some times as many, for some
// times as long, forgets none of it meanwhile, and has all nearly in the order of use.
//
// Invariant: of fixed size. A prompt may be forgotten, and is told once more; none is taken for
// told that was not. Threads: none; owned by one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "policies/residency_index.h"

namespace dualmesh::node {

class ToldPlacements {
 public:
  ToldPlacements(std::uint64_t most_since, policies::Duration again_after)
      : most_since_(most_since), again_after_(again_after) {}

  // `blocks` are not empty. True, and they count as told from now on, unless they do already.
  bool tell(policies::Slot slot, std::span<const policies::BlockKey> blocks, policies::Time now) {
    Prompt& kept = prompts_[place_of(slot, blocks.back())];
    if (kept.slot == slot && kept.last == blocks.back() && now - kept.at < again_after_ &&
        told_at(slot) - kept.told_before <= most_since_) {
      return false;
    }
    told_at(slot) += blocks.size();
    kept = {blocks.back(), told_at(slot), now, slot};
    return true;
  }
  void others_told(policies::Slot slot, std::size_t blocks) { told_at(slot) += blocks; }
  // What is there now was not told.
  void forget(policies::Slot slot) { told_at(slot) += most_since_ + 1; }
  void forget_all() {
    for (Prompt& prompt : prompts_) prompt.slot = policies::kNoSlot;
  }

 private:
  struct Prompt {
    policies::BlockKey last = 0;
    std::uint64_t told_before = 0;  // blocks, of that instance, and with this prompt
    policies::Time at{};
    policies::Slot slot = policies::kNoSlot;
  };
  static constexpr unsigned kPlacesLog2 = 12;

  static std::size_t place_of(policies::Slot slot, policies::BlockKey last) {
    const std::uint64_t both = last ^ (slot * 0xbf58476d1ce4e5b9ULL);
    return both * 0x9e3779b97f4a7c15ULL >> (64 - kPlacesLog2);
  }
  std::uint64_t& told_at(policies::Slot slot) {
    if (slot >= told_at_.size()) told_at_.resize(slot + std::size_t{1});
    return told_at_[slot];
  }

  const std::uint64_t most_since_;
  const policies::Duration again_after_;
  std::vector<Prompt> prompts_ = std::vector<Prompt>(std::size_t{1} << kPlacesLog2);
  std::vector<std::uint64_t> told_at_;  // blocks ever told of, by slot
};

}  // namespace dualmesh::node
