// ToldPlacements: which prompts the mesh has been told of lately, so that it is not told again what
// every node knows.
//
// A prompt is known by its last block at an instance: keys are chained, so all blocks before it
// were told with it, and with every longer one. It counts as told for `again_after`, by whomever it
// was told, and while at most `most_since` other blocks were told of that instance. Besides those a
// node has used only what counted as told itself: as many at most. So one that keeps twice as many,
// for some times as long, forgets none of it meanwhile, and has all nearly in the order of use.
//
// Invariant: of fixed size. A prompt may be forgotten, and is told once more; none is taken for
// told that was not. Threads: none; owned by one. Source: a set-associative cache; ours.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "policies/residency_index.h"

namespace dualmesh::node {

class ToldPlacements {
 public:
  ToldPlacements(std::uint32_t most_since, policies::Duration again_after)
      : most_since_(most_since), again_after_(again_after) {}

  // `blocks` are not empty. True, and they count as told from now on, unless they do already.
  bool tell(policies::Slot slot, std::span<const policies::BlockKey> blocks, policies::Time now) {
    const std::span<Prompt> set = set_of(slot, blocks.back());
    Prompt* kept = find(set, slot, blocks.back());
    if (kept != nullptr && now - kept->at < again_after_ &&
        told_at(slot) - kept->told_before <= most_since_) {
      return false;
    }
    if (kept == nullptr) {
      kept = &*std::min_element(set.begin(), set.end(),
                                [](const Prompt& a, const Prompt& b) { return a.at < b.at; });
    }
    told_at(slot) += static_cast<std::uint32_t>(blocks.size());
    *kept = {blocks.back(), now, told_at(slot), slot};
    return true;
  }
  // By another node, to all: so what is kept of it need not be told by this one, either.
  void others_told(policies::Slot slot, std::span<const policies::BlockKey> blocks,
                   policies::Time now) {
    told_at(slot) += static_cast<std::uint32_t>(blocks.size());
    for (const policies::BlockKey block : blocks) {
      Prompt* const kept = find(set_of(slot, block), slot, block);
      if (kept != nullptr) *kept = {block, now, told_at(slot), slot};
    }
  }
  // What is there now was not told.
  void forget(policies::Slot slot) { told_at(slot) += most_since_ + 1; }
  void forget_all() { std::fill(prompts_.begin(), prompts_.end(), Prompt{}); }

 private:
  struct Prompt {
    policies::BlockKey last = 0;
    policies::Time at = policies::Time::min();
    std::uint32_t told_before = 0;  // blocks, of that instance, and with this prompt; wraps
    policies::Slot slot = policies::kNoSlot;
  };
  static constexpr unsigned kSetsLog2 = 11;
  static constexpr std::size_t kWays = 4;

  // Where it may be kept.
  std::span<Prompt> set_of(policies::Slot slot, policies::BlockKey last) {
    const std::uint64_t both = last ^ (slot * 0xbf58476d1ce4e5b9ULL);
    const std::uint64_t set = both * 0x9e3779b97f4a7c15ULL >> (64 - kSetsLog2);
    return std::span(prompts_).subspan(set * kWays, kWays);
  }
  static Prompt* find(std::span<Prompt> set, policies::Slot slot, policies::BlockKey last) {
    for (Prompt& prompt : set) {
      if (prompt.last == last && prompt.slot == slot) return &prompt;
    }
    return nullptr;
  }
  std::uint32_t& told_at(policies::Slot slot) {
    if (slot >= told_at_.size()) told_at_.resize(slot + std::size_t{1});
    return told_at_[slot];
  }

  const std::uint32_t most_since_;
  const policies::Duration again_after_;
  std::vector<Prompt> prompts_ = std::vector<Prompt>(kWays << kSetsLog2);
  std::vector<std::uint32_t> told_at_;  // blocks ever told of, by slot; wraps
};

}  // namespace dualmesh::node
