// LocalHealth: how far this node should doubt itself before it doubts others.
//
// Signs that the trouble is here (own timers late, a probe in which even the helpers fell silent,
// an accusation that had to be refuted) raise the score by one, up to 8; a second of good rounds
// lowers it by one. All waiting of the failure detector is multiplied by 1 + score, so a node that
// is starved or badly connected accuses late, while its healthy peers accuse in time.
//
// Threads: none; a value.
// Source: Lifeguard (Dadgar, Phillips, Currey, arXiv 1707.00788), local health multiplier.
#pragma once

#include <cstdint>

namespace dualmesh::node {

class LocalHealth {
 public:
  static constexpr std::uint32_t kWorst = 8;

  // After `rounds_to_heal` good rounds in a row the score falls by one.
  explicit LocalHealth(std::uint32_t rounds_to_heal) : rounds_to_heal_(rounds_to_heal) {}

  void worse() {
    score_ += score_ < kWorst ? 1 : 0;
    good_rounds_ = 0;
  }
  void good_round() {
    if (score_ == 0 || ++good_rounds_ < rounds_to_heal_) return;
    --score_;
    good_rounds_ = 0;
  }
  std::uint32_t score() const { return score_; }
  std::uint32_t multiplier() const { return 1 + score_; }

 private:
  std::uint32_t rounds_to_heal_;
  std::uint32_t score_ = 0;
  std::uint32_t good_rounds_ = 0;
};

}  // namespace dualmesh::node
