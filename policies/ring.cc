// What is hashed here is short: a call would cost more than the hash.
#define XXH_INLINE_ALL

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

Ring::Ring(std::span<const RingMember> members, std::uint64_t seed, std::uint32_t points_per_weight)
    : seed_(seed) {
  // By id: neither slots nor the order of `members` mean anything to another node.
  std::vector<RingMember> sorted(members.begin(), members.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const RingMember& a, const RingMember& b) { return a.id < b.id; });
  digest_ = hash_words<2>({seed, points_per_weight}, 0);
  std::vector<Point> points;
  for (const RingMember& member : sorted) {
    digest_ = hash_words<3>({digest_, member.id, std::bit_cast<std::uint64_t>(member.weight)}, 0);
    for (std::uint32_t i = 0; i < points_of(member, points_per_weight); ++i) {
      points.push_back({hash_words<2>({member.id, i}, seed), member.slot});
    }
  }
  // Stable: points that fall together stay in the order of ids.
  std::stable_sort(points.begin(), points.end(),
                   [](const Point& a, const Point& b) { return a.at < b.at; });
  if (points.empty()) return;
  auto table = std::make_shared<Table>();
  // A part for two to four points, which lie in one or two cache lines.
  table->part_bits = static_cast<unsigned>(std::bit_width(points.size() / 4));
  for (std::uint32_t i = 0; i < points.size(); ++i) {
    const std::size_t parts_begun = table->part_of(points[i].at) + 1;
    if (table->first.size() < parts_begun) table->first.resize(parts_begun, i);
  }
  table->first.resize(std::size_t{1} << table->part_bits,
                      static_cast<std::uint32_t>(points.size()));
  table->points = std::move(points);
  table_ = std::move(table);
}

std::size_t Ring::first_point(BlockKey key) const {
  const std::uint64_t at = hash_words<1>({key}, seed_);
  const std::vector<Point>& points = table_->points;
  std::size_t i = table_->first[table_->part_of(at)];
  while (i < points.size() && points[i].at < at) ++i;
  return i;  // that of the end is as good as the first one: owner() goes round
}

}  // namespace dualmesh::policies
