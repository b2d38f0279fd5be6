// Ring: consistent hashing of prefix keys onto instances.
//
// Each member owns `points_per_weight * weight` points (at least one), placed by hashing (seed,
// member id, point number); a key belongs to the first point clockwise. A pure function of
// (members, seed, parameters): never of health, load or insertion order, so every node builds the
// same ring.
//
// Invariant: adding or removing a member moves only keys whose arc it gains or loses.
// Cost: owner O(1) on average, by a table of the hash's first bits; build O(points log points);
// copying shares the points.
// Threads: immutable after construction; share freely.
// Source: Karger et al. 1997; DualMap (arXiv 2602.06502) uses two with independent hash functions.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "policies/prompt_chain.h"

namespace dualmesh::policies {

// Stable index of an instance within one process, given at first sight and never reused while the
// process lives. Arrays over instances are indexed by it; it is not meaningful to other nodes.
using Slot = std::uint16_t;
inline constexpr Slot kNoSlot = 0xffff;

// Mesh-wide identity of an instance: hash of its name.
using InstanceId = std::uint64_t;
InstanceId instance_id_of(std::string_view name);

struct RingParameters {
  std::uint32_t points_per_weight = 160;
  std::uint64_t seed_a = 0x51ed270b9f3a71c2;
  std::uint64_t seed_b = 0xc2b2ae3d27d4eb4f;
  bool operator==(const RingParameters&) const = default;
};

struct RingMember {
  InstanceId id = 0;
  Slot slot = kNoSlot;
  double weight = 1.0;
};

class Ring {
 public:
  Ring() = default;
  Ring(std::span<const RingMember> members, std::uint64_t seed, std::uint32_t points_per_weight);

  bool empty() const { return table_ == nullptr; }
  // The owner of `key` among the members that `accept(slot)`: the first accepted member clockwise,
  // so that a masked member is stood in for by the next on the ring. kNoSlot when none is accepted.
  template <class Accept>
  Slot owner(BlockKey key, Accept&& accept) const {
    if (empty()) return kNoSlot;
    const std::vector<Point>& points = table_->points;
    const std::size_t first = first_point(key);
    for (std::size_t i = first; i < points.size(); ++i) {
      if (accept(points[i].slot)) return points[i].slot;
    }
    for (std::size_t i = 0; i < first; ++i) {
      if (accept(points[i].slot)) return points[i].slot;
    }
    return kNoSlot;
  }
  // Order-independent over members; equal on all nodes that know the same members and parameters.
  std::uint64_t digest() const { return digest_; }

 private:
  struct Point {
    std::uint64_t at;
    Slot slot;
  };
  // Positions are hashes, so each of equal parts of the ring has about as many points.
  struct Table {
    std::vector<Point> points;         // by rising position, not empty
    std::vector<std::uint32_t> first;  // of the points, by part: the first not before it
    unsigned part_bits = 0;            // a position's first bits say its part
    std::size_t part_of(std::uint64_t at) const {
      return part_bits == 0 ? 0 : at >> (64 - part_bits);
    }
  };
  std::size_t first_point(BlockKey key) const;

  std::shared_ptr<const Table> table_;  // null: no members
  std::uint64_t digest_ = 0;
  std::uint64_t seed_ = 0;
};

}  // namespace dualmesh::policies
