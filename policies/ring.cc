#include "policies/ring.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

namespace dualmesh::policies {

namespace {

// A bound on what one weight in the registry can make every node build.
constexpr double kMaxPointsPerMember = 16'000;

std::uint32_t points_of(const RingMember& member, std::uint32_t points_per_weight) {
  const double wanted = std::round(points_per_weight * member.weight);
  if (!(wanted >= 1)) return 1;  // also when the weight is not a number
  return static_cast<std::uint32_t>(std::min(wanted, kMaxPointsPerMember));
}

template <std::size_t N>
std::uint64_t hash_words(const std::array<std::uint64_t, N>& words, std::uint64_t seed) {
  return XXH3_64bits_withSeed(words.data(), sizeof words, seed);
}

}  // namespace

InstanceId instance_id_of(std::string_view name) { return XXH3_64bits(name.data(), name.size()); }

Ring::Ring(std::span<const RingMember> members, std::uint64_t seed,
           std::uint32_t points_per_weight)
    : seed_(seed) {
  // By id: neither slots nor the order of `members` mean anything to another node.
  std::vector<RingMember> sorted(members.begin(), members.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const RingMember& a, const RingMember& b) { return a.id < b.id; });
  digest_ = hash_words<2>({seed, points_per_weight}, 0);
  auto points = std::make_shared<std::vector<Point>>();
  for (const RingMember& member : sorted) {
    digest_ = hash_words<3>({digest_, member.id, std::bit_cast<std::uint64_t>(member.weight)}, 0);
    for (std::uint32_t i = 0; i < points_of(member, points_per_weight); ++i) {
      points->push_back({hash_words<2>({member.id, i}, seed), member.slot});
    }
  }
  // Stable: points that fall together stay in the order of ids.
  std::stable_sort(points->begin(), points->end(),
                   [](const Point& a, const Point& b) { return a.at < b.at; });
  points_ = std::move(points);
}

std::size_t Ring::first_point(BlockKey key) const {
  const std::uint64_t at = hash_words<1>({key}, seed_);
  const auto found = std::lower_bound(points_->begin(), points_->end(), at,
                                      [](const Point& p, std::uint64_t x) { return p.at < x; });
  return found == points_->end() ? 0 : static_cast<std::size_t>(found - points_->begin());
}

}  // namespace dualmesh::policies
