#include "node/kv/kv_runs.h"

#include <algorithm>
#include <bit>

#include "net/error.h"
#include "node/kv/bit_codec.h"

namespace dualmesh::node {
namespace {

using Kind = BlockMap::Kind;
using policies::Medium;

enum class Run : std::uint8_t { add, add_unknown, remove, clear };
constexpr std::size_t kMostShort = 512;  // in one run
constexpr std::size_t kNameBytes = policies::kBlockNameBits / 8;

Run run_of(const BlockChange& change) {
  switch (change.kind) {
    case Kind::add:
      return change.value.known() ? Run::add : Run::add_unknown;
    case Kind::remove:
      return Run::remove;
    case Kind::clear:
      break;
  }
  return Run::clear;
}

void write_name(std::uint64_t name, ByteWriter& out) {
  DUALMESH_CHECK(name == policies::block_name(name), "a block's name of more bits: {:x}", name);
  out.fixed(name, kNameBytes);
}

// Does a run of `changes` that has so many go on with the next one?
bool goes_on(std::span<const BlockChange> changes, std::size_t at) {
  const BlockChange &first = changes[0], &next = changes[at];
  const Run run = run_of(first);
  if (run_of(next) != run || run == Run::clear) return false;
  if (run == Run::remove) {
    const bool ascends = changes[at - 1].key <= next.key && at < kMostShort;
    return is_short(next) == is_short(first) && (!is_short(first) || ascends);
  }
  return next.value.medium == first.value.medium && next.value.depth == first.value.depth + at;
}

// Of what lies between so many names, the bits that are said as they are.
unsigned low_bits(unsigned name_bits, std::size_t names) {
  return name_bits - std::min(name_bits, static_cast<unsigned>(std::bit_width(names)));
}

void write_names(std::span<const BlockChange> changes, unsigned name_bits, ByteWriter& out) {
  BitWriter bits(out);
  std::uint64_t before = 0;
  for (const BlockChange& change : changes) {
    bits.rice(change.key - before, low_bits(name_bits, changes.size()));
    before = change.key;
  }
  bits.finish();
}

void read_names(ByteReader& in, unsigned name_bits, std::size_t names,
                std::vector<BlockChange>& changes) {
  if (name_bits == 0 || names > kMostShort) return in.fail();
  BitReader bits(in);
  const unsigned low = low_bits(name_bits, names);
  const std::uint64_t most = (std::uint64_t{1} << name_bits) - 1;
  std::uint64_t name = 0;
  for (; names > 0 && in.ok(); --names) {
    name += bits.rice(low, most - name);
    changes.push_back(short_removal(static_cast<ShortName>(name)));
  }
  bits.finish();
}

}  // namespace

// Step: varint number of runs; run: kind (2 bits), medium or 1 for short removals (2), length (4;
// 0: a varint follows); of additions the first one's depth.
void write_runs(std::span<const BlockChange> changes, unsigned name_bits, ByteWriter& out) {
  const auto length_at = [&](std::size_t begin) {
    std::size_t end = begin + 1;
    while (end < changes.size() && goes_on(changes.subspan(begin), end - begin)) ++end;
    return end - begin;
  };
  std::size_t runs = 0;
  for (std::size_t i = 0; i < changes.size(); i += length_at(i)) ++runs;
  out.varint(runs);
  for (std::size_t i = 0, length = 0; i < changes.size(); i += length) {
    length = length_at(i);
    const BlockChange& first = changes[i];
    const Run run = run_of(first);
    const bool adds = run == Run::add || run == Run::add_unknown;
    const bool is_brief = !adds && is_short(first);
    const unsigned medium = adds ? static_cast<unsigned>(first.value.medium) : is_brief;
    const auto small = static_cast<unsigned>(length < 16 ? length : 0);
    out.byte(static_cast<std::uint8_t>(static_cast<unsigned>(run) | medium << 2 | small << 4));
    if (small == 0) out.varint(length);
    if (adds) out.varint(first.value.depth);
    if (run == Run::clear) continue;
    if (is_brief) {
      write_names(changes.subspan(i, length), name_bits, out);
      continue;
    }
    for (const BlockChange& change : changes.subspan(i, length)) {
      write_name(change.key, out);
      if (run == Run::add) write_name(change.value.key, out);
    }
  }
}

std::size_t read_runs(ByteReader& in, unsigned name_bits, std::vector<BlockChange>& changes) {
  const std::size_t before = changes.size();
  for (std::size_t runs = in.count(1); runs > 0 && in.ok(); --runs) {
    const std::uint8_t head = in.byte();
    const Run run = static_cast<Run>(head & 3);
    const bool adds = run == Run::add || run == Run::add_unknown;
    const bool is_brief = run == Run::remove && (head >> 2 & 3) == 1;
    const std::size_t each = run == Run::add ? 2 * kNameBytes : kNameBytes;
    std::size_t length = head >> 4;
    if (length == 0 && (length = is_brief ? in.varint() : in.count(each)) < 16) in.fail();
    const std::uint64_t depth = adds ? in.varint() : 0;
    if (run == Run::clear) {
      if (head != (static_cast<unsigned>(Run::clear) | 1U << 4)) in.fail();
      changes.push_back({Kind::clear, 0, {}});
      continue;
    }
    if (!adds && (head >> 2 & 3) > 1) in.fail();
    if (is_brief) {
      read_names(in, name_bits, length, changes);
      continue;
    }
    if (length > in.left() / each || depth + length > UINT16_MAX + 1ULL || depth > UINT16_MAX) {
      in.fail();
    }
    for (std::size_t i = 0; i < length && in.ok(); ++i) {
      BlockChange& change = changes.emplace_back();
      change.kind = adds ? Kind::add : Kind::remove;
      change.key = in.fixed(kNameBytes);
      if (!adds) continue;
      change.value.depth = static_cast<std::uint16_t>(depth + i);
      change.value.medium = static_cast<Medium>(head >> 2 & 3);
      if (run == Run::add && (change.value.key = in.fixed(kNameBytes)) == 0) in.fail();
    }
  }
  return changes.size() - before;
}

// Entry: flags (known, one copy and none removed, medium), hash, depth, and key and counts where
// the flags do not say all.
void write_entries(std::span<const std::pair<EngineHash, BlockMap::Entry>> entries,
                   ByteWriter& out) {
  for (const auto& [hash, entry] : entries) {
    const bool plain = entry.added == 1 && entry.removed == 0;
    out.byte(static_cast<std::uint8_t>((entry.value.known() ? 1U : 0U) | (plain ? 2U : 0U) |
                                       static_cast<unsigned>(entry.value.medium) << 2));
    write_name(hash, out);
    out.varint(entry.value.depth);
    if (entry.value.known()) write_name(entry.value.key, out);
    if (!plain) {
      out.fixed(entry.removed, 2);
      out.fixed(entry.added, 2);
    }
  }
}

void read_entries(ByteReader& in, std::vector<std::pair<EngineHash, BlockMap::Entry>>& entries) {
  entries.resize(in.count(2 + kNameBytes));
  for (auto& [hash, entry] : entries) {
    const std::uint8_t head = in.byte();
    hash = in.fixed(kNameBytes);
    const std::uint64_t depth = in.varint();
    if (head >> 4 != 0 || depth > UINT16_MAX) in.fail();
    entry.value.depth = static_cast<std::uint16_t>(depth);
    entry.value.medium = static_cast<Medium>(head >> 2 & 3);
    if ((head & 1) != 0 && (entry.value.key = in.fixed(kNameBytes)) == 0) in.fail();
    entry.added = 1;
    if ((head & 2) != 0) continue;
    entry.removed = static_cast<std::uint16_t>(in.fixed(2));
    entry.added = static_cast<std::uint16_t>(in.fixed(2));
    if (entry.vacant() || (entry.added == 1 && entry.removed == 0)) in.fail();
  }
}

}  // namespace dualmesh::node
