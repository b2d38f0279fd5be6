#include "node/kv/kv_codec.h"

#include <xxhash.h>

#include <algorithm>

#include "node/kv/byte_codec.h"
#include "node/kv/kv_runs.h"

namespace dualmesh::node {
namespace {

constexpr std::uint8_t kFormat = 3;
enum class Tag : std::uint8_t { summary = 1, heads, ends, changes, fetch, piece, same_life };

std::uint8_t bits(std::initializer_list<bool> flags) {
  std::uint8_t result = 0;
  for (std::size_t i = 0; i < flags.size(); ++i) result |= (flags.begin()[i] ? 1 : 0) << i;
  return result;
}

std::uint8_t flags(ByteReader& in, unsigned count) {
  const std::uint8_t read = in.byte();
  if (read >> count != 0) in.fail();
  return read;
}

// Without `away`, which heads alone say.
void write(const StreamPosition& position, ByteWriter& out) {
  out.varint(position.epoch.value);
  out.varint(position.base.value);
  out.varint(position.end.value);
  out.varint(position.unknown);
  out.fixed(position.last_batch, 8);
  out.varint(position.digest.count);
  out.fixed(position.digest.sum, 8);
}

StreamPosition read_position(ByteReader& in) {
  StreamPosition position;
  position.epoch = {in.epoch()};
  position.base = {in.place()};
  position.end = {in.place()};
  position.unknown = in.varint();
  position.last_batch = in.fixed(8);
  position.digest.count = in.varint();
  position.digest.sum = in.fixed(8);
  if (position.end < position.base && !in.absurd()) in.fail();
  return position;
}

void write(const KvSummary& summary, ByteWriter& out) { out.fixed(summary.sum, 8); }

void write(const KvHeads& heads, ByteWriter& out) {
  out.byte(bits({heads.answer, heads.say_all, heads.all, heads.last}));
  out.varint(heads.round);
  out.varint(heads.part);
  out.varint(heads.heads.size());
  for (const KvHead& head : heads.heads) {
    out.fixed(head.stream, 8);
    const std::uint64_t away = head.position.away.value;
    out.byte(bits({head.reaches, head.flooded, head.fetch_me, away != 0, head.unheard}));
    write(head.position, out);
    if (away != 0) out.varint(away);
  }
}

void write(const KvEnds& ends, ByteWriter& out) {
  out.byte(bits({ends.answer}));
  out.varint(ends.ends.size());
  for (const KvEnd& end : ends.ends) {
    out.fixed(end.life, 4);
    out.varint(end.end.value);
  }
}

void write(const KvChanges& changes, ByteWriter& out) {
  out.byte(bits({changes.stream.has_value(), changes.check != 0, changes.block_tokens != 0,
                 changes.main_group >= 0, changes.name_bits != 0}));
  if (changes.stream) {
    out.fixed(changes.stream->first, 8);
    out.varint(changes.stream->second.value);
  } else {
    out.fixed(changes.life, 4);
  }
  out.varint(changes.from.value);
  if (changes.check != 0) out.fixed(changes.check, 2);
  if (changes.block_tokens != 0) out.varint(changes.block_tokens);
  if (changes.main_group >= 0) out.varint(static_cast<std::uint64_t>(changes.main_group));
  if (changes.name_bits != 0) out.byte(changes.name_bits);
  out.varint(changes.steps.size());
  crdt::Version before = changes.from;
  auto next = changes.changes.begin();
  for (const LoggedStep& step : changes.steps) {
    out.varint(step.to.value - before.value);
    out.fixed(step.last_batch, 8);
    const auto end = next + static_cast<std::ptrdiff_t>(step.changes);
    write_runs({next, end}, changes.name_bits, out);
    next = end;
    before = step.to;
  }
}

void write(const KvFetch& fetch, ByteWriter& out) {
  out.fixed(fetch.stream, 8);
  out.varint(fetch.epoch.value);
  out.varint(fetch.cut);
  out.varint(fetch.offset);
  out.varint(fetch.least.value);
}

void write_opening(const KvPiece& piece, std::size_t entries, ByteWriter& out) {
  out.fixed(piece.stream, 8);
  write(piece.position, out);
  out.varint(piece.block_tokens);
  out.varint(static_cast<std::uint64_t>(piece.main_group + 1));
  out.varint(piece.cut);
  out.varint(piece.offset);
  out.varint(piece.total);
  out.varint(entries);
}

void write(const KvPiece& piece, ByteWriter& out) {
  write_opening(piece, piece.entries.size(), out);
  write_entries(piece.entries, out);
}

void write(const KvSameLife& same, ByteWriter& out) {
  out.fixed(same.stream, 8);
  out.varint(same.old_epoch.value);
  out.varint(same.epoch.value);
  out.varint(same.step.value);
  out.fixed(same.batch, 8);
}

KvHeads read_heads(ByteReader& in) {
  const std::uint8_t read = flags(in, 4);
  KvHeads heads{(read & 1) != 0, (read & 2) != 0, (read & 4) != 0, 0, 0, (read & 8) != 0, {}, {}};
  heads.round = in.varint();
  heads.part = in.varint();
  const std::size_t count = in.count(30);
  heads.heads.reserve(count);
  for (std::size_t i = 0; i < count && in.ok(); ++i) {
    KvHead head;
    head.stream = in.fixed(8);
    const std::uint8_t said = flags(in, 5);
    head.reaches = (said & 1) != 0;
    head.flooded = (said & 2) != 0;
    head.fetch_me = (said & 4) != 0;
    head.unheard = (said & 16) != 0;
    head.position = read_position(in);
    if ((said & 8) != 0) {
      head.position.away = {in.place()};
      const bool passed = head.position.away < std::max(head.position.end, crdt::Version{1});
      if (passed && !in.absurd()) in.fail();
    }
    if (in.refuses_entry()) {
      heads.refused.push_back(head.stream);
    } else {
      heads.heads.push_back(head);
    }
  }
  return heads;
}

KvEnds read_ends(ByteReader& in) {
  KvEnds ends{flags(in, 1) != 0, {}};
  const std::size_t count = in.count(5);
  ends.ends.reserve(count);
  for (std::size_t i = 0; i < count && in.ok(); ++i) {
    const auto life = static_cast<LifeName>(in.fixed(4));
    const crdt::Version end{in.place()};
    if (!in.refuses_entry()) ends.ends.push_back({life, end});
  }
  return ends;
}

std::int16_t read_group(ByteReader& in) {
  const std::uint64_t group = in.varint();
  if (group > INT16_MAX) in.fail();
  return static_cast<std::int16_t>(in.ok() ? group : 0);
}

KvChanges read_changes(ByteReader& in) {
  const std::uint8_t read = flags(in, 5);
  KvChanges changes;
  if ((read & 1) != 0) {
    const StreamName stream = in.fixed(8);
    changes.stream.emplace(stream, crdt::Epoch{in.epoch()});
  } else {
    changes.life = static_cast<LifeName>(in.fixed(4));
  }
  changes.from = {in.place()};
  if ((read & 2) != 0 && (changes.check = static_cast<std::uint16_t>(in.fixed(2))) == 0) in.fail();
  if ((read & 4) != 0) {
    const std::uint64_t tokens = in.varint();
    if (tokens == 0 || tokens > UINT32_MAX) in.fail();
    changes.block_tokens = static_cast<std::uint32_t>(tokens);
  }
  if ((read & 8) != 0) changes.main_group = read_group(in);
  if ((read & 16) != 0) {
    changes.name_bits = in.byte();
    if (changes.name_bits < kLeastNameBits || changes.name_bits > kMostNameBits) in.fail();
  }
  changes.steps.resize(in.count(10));
  if (changes.steps.empty()) in.fail();
  std::uint64_t before = changes.from.value;
  for (LoggedStep& step : changes.steps) {
    const std::uint64_t steps = in.varint();
    if (steps == 0) in.fail();
    step.to = {before = in.place(before, steps)};
    step.last_batch = in.fixed(8);
    step.changes = read_runs(in, changes.name_bits, changes.changes);
  }
  return changes;
}

KvFetch read_fetch(ByteReader& in) {
  KvFetch fetch;
  fetch.stream = in.fixed(8);
  fetch.epoch = {in.epoch()};
  fetch.cut = in.varint();
  fetch.offset = in.varint();
  fetch.least = {in.place()};
  return fetch;
}

KvPiece read_piece(ByteReader& in) {
  KvPiece piece;
  piece.stream = in.fixed(8);
  piece.position = read_position(in);
  const std::uint64_t tokens = in.varint();
  if (tokens > UINT32_MAX) in.fail();
  piece.block_tokens = static_cast<std::uint32_t>(tokens);
  piece.main_group = static_cast<std::int16_t>(read_group(in) - 1);
  piece.cut = in.varint();
  piece.offset = in.varint();
  piece.total = in.varint();
  read_entries(in, piece.entries);
  const std::uint64_t most = piece.total - std::min(piece.total, piece.offset);
  if (piece.entries.size() > most) in.fail();
  return piece;
}

KvSameLife read_same_life(ByteReader& in) {
  KvSameLife same;
  same.stream = in.fixed(8);
  same.old_epoch = {in.epoch()};
  same.epoch = {in.epoch()};
  same.step = {in.place()};
  same.batch = in.fixed(8);
  return same;
}

KvSection read_section(ByteReader& in) {
  switch (static_cast<Tag>(in.byte())) {
    case Tag::summary:
      return KvSummary{in.fixed(8)};
    case Tag::heads:
      return read_heads(in);
    case Tag::ends:
      return read_ends(in);
    case Tag::changes:
      return read_changes(in);
    case Tag::fetch:
      return read_fetch(in);
    case Tag::piece:
      return read_piece(in);
    case Tag::same_life:
      return read_same_life(in);
  }
  in.fail();
  return KvSummary{};
}

}  // namespace

StreamName name_of(const StreamKey& stream, std::uint64_t source) {
  return XXH3_64bits_withSeed(stream.instance.data(), stream.instance.size(), stream.rank ^ source);
}

LifeName life_name(StreamName stream, crdt::Epoch epoch) {
  return static_cast<LifeName>(XXH3_64bits_withSeed(&stream, sizeof(stream), epoch.value));
}

bool KvHeads::operator==(const KvHeads& other) const {
  return answer == other.answer && say_all == other.say_all && all == other.all &&
         round == other.round && part == other.part && last == other.last && heads == other.heads;
}

bool KvChanges::operator==(const KvChanges& other) const {
  const auto equal = [](const BlockChange& a, const BlockChange& b) {
    return a.kind == b.kind && a.key == b.key && a.value == b.value;
  };
  return stream == other.stream && life == other.life && from == other.from &&
         block_tokens == other.block_tokens && main_group == other.main_group &&
         check == other.check && name_bits == other.name_bits && steps == other.steps &&
         std::equal(changes.begin(), changes.end(), other.changes.begin(), other.changes.end(),
                    equal);
}

bool KvPiece::operator==(const KvPiece& other) const {
  const auto equal = [](const auto& a, const auto& b) {
    return a.first == b.first && a.second.value == b.second.value &&
           a.second.removed == b.second.removed && a.second.added == b.second.added;
  };
  return stream == other.stream && position == other.position &&
         block_tokens == other.block_tokens && main_group == other.main_group && cut == other.cut &&
         offset == other.offset && total == other.total &&
         std::equal(entries.begin(), entries.end(), other.entries.begin(), other.entries.end(),
                    equal);
}

void write_section(const KvSection& section, std::string& message) {
  ByteWriter out(message);
  if (message.empty()) out.byte(kFormat);
  out.byte(static_cast<std::uint8_t>(section.index() + 1));
  std::visit([&](const auto& what) { write(what, out); }, section);
}

void write_piece(const KvPiece& piece,
                 std::span<const std::pair<EngineHash, BlockMap::Entry>> entries,
                 std::string& message) {
  ByteWriter out(message);
  if (message.empty()) out.byte(kFormat);
  out.byte(static_cast<std::uint8_t>(Tag::piece));
  write_opening(piece, entries.size(), out);
  write_entries(entries, out);
}

void append_message(std::string_view from, std::string& message) {
  DUALMESH_CHECK(from.front() == message.front(), "messages of one format");
  message.append(from.substr(1));
}

net::Result<std::vector<KvSection>> read_message(std::string_view message, std::size_t* refused,
                                                 std::uint64_t most_epoch) {
  ByteReader in(message, most_epoch);
  if (in.byte() != kFormat) return net::Error{"a format of cache messages that is not ours"};
  std::vector<KvSection> sections;
  while (in.ok() && !in.at_end()) {
    KvSection section = read_section(in);
    if (!in.refuses_entry()) sections.push_back(std::move(section));
  }
  if (refused != nullptr) *refused = in.refused();
  if (!in.ok()) return net::Error{"a cache message that no node writes"};
  return sections;
}

}  // namespace dualmesh::node
