#include "node/kv/kv_codec.h"

#include <doctest/doctest.h>

#include <random>

#include "node/kv/kv_runs.h"

using namespace dualmesh;
using namespace dualmesh::node;

namespace {

class Anything {
 public:
  explicit Anything(std::uint64_t seed) : random_(seed) {}

  // Small, large and the edges alike.
  std::uint64_t number() {
    switch (random_() % 5) {
      case 0:
        return random_() % 3;
      case 1:
        return UINT64_MAX - random_() % 2;
      default:
        return random_() >> random_() % 64;
    }
  }
  std::uint64_t place() { return flip() ? kMostPlace : number() % kMostPlace; }
  std::uint64_t epoch() { return flip() ? kMostEpoch : number() % kMostEpoch; }
  std::uint64_t name() { return policies::block_name(number()); }
  std::uint64_t key() { return name() | 1; }
  bool flip() { return random_() % 2 == 0; }
  std::size_t few() { return random_() % 6; }
  policies::Medium medium() { return static_cast<policies::Medium>(random_() % 4); }
  std::uint16_t depth() { return static_cast<std::uint16_t>(flip() ? random_() : random_() % 4); }

  StreamPosition position() {
    StreamPosition at{{epoch()}, {place()}, {place()}, number(), number(), {number(), number()}};
    if (at.end < at.base) std::swap(at.end, at.base);
    return at;
  }
  KvHeads heads() {
    KvHeads heads{flip(), flip(), flip(), number(), number(), flip(), {}};
    for (std::size_t i = few(); i > 0; --i) {
      heads.heads.push_back({number(), position(), flip(), flip(), flip(), flip()});
      StreamPosition& at = heads.heads.back().position;
      if (flip()) at.away = std::max(at.end, crdt::Version{1});
    }
    return heads;
  }
  KvEnds ends() {
    KvEnds ends{flip(), {}};
    for (std::size_t i = few(); i > 0; --i) {
      ends.ends.push_back({static_cast<LifeName>(number()), {place()}});
    }
    return ends;
  }
  BlockChange change() {
    BlockChange change;
    switch (random_() % 6) {
      case 0:
        return change.kind = BlockMap::Kind::clear, change;
      case 1:
        change.kind = BlockMap::Kind::remove;
        change.key = name();
        return change;
      case 2:
        return name_bits_ == 0
                   ? change
                   : short_removal(static_cast<ShortName>(random_()) >> (32 - name_bits_));
      default:
        change.key = name();
        change.value = {random_() % 8 == 0 ? 0 : key(), depth(), medium()};
        return change;
    }
  }
  KvChanges changes() {
    KvChanges changes;
    name_bits_ = 0;
    if (flip())
      changes.stream.emplace(number(), crdt::Epoch{epoch()});
    else
      changes.life = static_cast<LifeName>(number());
    changes.from = {place() / 2};
    if (flip()) changes.block_tokens = static_cast<std::uint32_t>(random_());
    if (flip()) changes.main_group = static_cast<std::int16_t>(random_() % 300);
    if (flip()) changes.check = static_cast<std::uint16_t>(random_());
    if (flip()) name_bits_ = changes.name_bits = static_cast<std::uint8_t>(16 + random_() % 17);
    crdt::Version to = changes.from;
    for (std::size_t i = 1 + few(); i > 0; --i) {
      to = {to.value + 1 + few()};
      const std::size_t before = changes.changes.size();
      for (std::size_t j = flip() ? few() : few() * 7; j > 0; --j) {
        BlockChange next = change();
        if (flip() && !changes.changes.empty() && next.kind == BlockMap::Kind::add) {  // a chain
          const Block& last = changes.changes.back().value;
          next.value.medium = last.medium;
          next.value.depth = static_cast<std::uint16_t>(last.depth + 1);
        }
        changes.changes.push_back(next);
      }
      changes.steps.push_back({to, number(), changes.changes.size() - before});
    }
    return changes;
  }
  KvPiece piece() {
    KvPiece piece;
    piece.stream = number();
    piece.position = position();
    piece.block_tokens = static_cast<std::uint32_t>(random_());
    piece.main_group = static_cast<std::int16_t>(random_() % 300) - 1;
    piece.cut = number();
    for (std::size_t i = few() * 3; i > 0; --i) {
      BlockMap::Entry entry{{flip() ? key() : 0, depth(), medium()}, 0, 1};
      if (flip()) entry.removed = depth(), entry.added = depth();
      if (!entry.vacant()) piece.entries.emplace_back(name(), entry);
    }
    piece.offset = number() / 4;
    piece.total = piece.offset + piece.entries.size() + few();
    return piece;
  }
  KvSection section() {
    switch (random_() % 7) {
      case 0:
        return KvSummary{number()};
      case 1:
        return heads();
      case 2:
        return ends();
      case 3:
        return KvFetch{number(), {epoch()}, number(), number(), {place()}};
      case 4:
        return piece();
      case 5:
        return KvSameLife{number(), {epoch()}, {epoch()}, {place()}, number()};
      default:
        return changes();
    }
  }

 private:
  std::mt19937_64 random_;
  unsigned name_bits_ = 0;  // of the changes being made
};

}  // namespace

TEST_CASE("what is written is read, whole or not at all") {
  for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
    CAPTURE(seed);
    Anything any(seed);
    std::vector<KvSection> sections;
    std::string message;
    std::vector<std::size_t> ends;
    for (std::size_t i = 1 + any.few(); i > 0; --i) {
      sections.push_back(any.section());
      write_section(sections.back(), message);
      ends.push_back(message.size());
    }
    const auto read = read_message(message);
    REQUIRE(read.has_value());
    CHECK(*read == sections);
    for (std::size_t size = 0; size < message.size(); ++size) {  // cut short
      const auto part = read_message(std::string_view(message).substr(0, size));
      const bool between = size == 1 || std::find(ends.begin(), ends.end(), size) != ends.end();
      if (part.has_value() != between) CHECK(part.has_value() == between);
    }
    std::string again;  // one form for each message
    for (const KvSection& section : *read) write_section(section, again);
    CHECK(again == message);
  }
}

TEST_CASE("messages that are joined are read as one after the other") {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    CAPTURE(seed);
    Anything any(seed);
    const std::vector<KvSection> sections{any.section(), any.section()};
    std::string first, second;
    write_section(sections[0], first);
    write_section(sections[1], second);
    append_message(second, first);
    const auto read = read_message(first);
    REQUIRE(read.has_value());
    CHECK(*read == sections);
  }
}

TEST_CASE("a changed byte gives another message or an error, never harm") {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Anything any(seed);
    std::string message;
    write_section(any.section(), message);
    for (std::size_t i = 0; i < message.size(); ++i) {
      std::string other = message;
      other[i] = static_cast<char>(other[i] ^ (1 << seed % 8));
      const auto read = read_message(other);
      if (read.has_error()) continue;
      std::string again;
      for (const KvSection& section : *read) write_section(section, again);
      if (!again.empty()) CHECK(*read_message(again) == *read);
    }
  }
}

TEST_CASE("an entry with a place that no engine comes to is refused alone, and counted") {
  const StreamPosition fine{.epoch = {kMostEpoch}, .base = {kMostPlace}, .end = {kMostPlace}};
  std::vector<KvSection> sections{
      KvSameLife{1, {kMostEpoch + 1}, {1}, {1}, 1}, KvSameLife{1, {1}, {UINT64_MAX}, {1}, 1},
      KvSameLife{1, {1}, {1}, {UINT64_MAX}, 1}, KvFetch{1, {kMostEpoch + 1}, 1, 1, {1}},
      KvPiece{.position = {.epoch = {kMostEpoch + 1}}}};
  KvChanges changes;
  changes.from = {kMostPlace};
  changes.steps = {{{kMostPlace + 1}, 1, 0}};
  sections.emplace_back(changes);
  changes.stream.emplace(1, crdt::Epoch{kMostEpoch + 1});
  changes.from = {1};
  changes.steps = {{{2}, 1, 0}};
  sections.emplace_back(changes);
  for (const KvSection& section : sections) {
    CAPTURE(section.index());
    std::string message;
    write_section(KvSummary{7}, message);
    write_section(section, message);
    write_section(KvSummary{8}, message);
    std::size_t refused = 0;
    const auto read = read_message(message, &refused);
    REQUIRE(read.has_value());
    CHECK(*read == std::vector<KvSection>{KvSummary{7}, KvSummary{8}});
    CHECK(refused == 1);
    CHECK(read_message(message.substr(0, message.size() - 9), &refused).has_value());
    CHECK(read_message(message.substr(0, message.size() - 10), &refused).has_error());
  }
  KvHeads heads{.heads = {{1, fine}}};
  for (const auto spoil : {&StreamPosition::base, &StreamPosition::end}) {
    StreamPosition absurd = fine;
    absurd.*spoil = absurd.end = {kMostPlace + 1};
    heads.heads.push_back({2, absurd});
  }
  StreamPosition absurd = fine;
  absurd.epoch = {kMostEpoch + 1};
  heads.heads.push_back({3, absurd});
  absurd = fine;
  absurd.away = {UINT64_MAX};
  heads.heads.push_back({4, absurd});
  heads.heads.push_back({5, fine});
  const KvEnds ends{false, {{1, {kMostPlace}}, {2, {kMostPlace + 1}}, {3, {3}}}};
  std::string message;
  write_section(heads, message);
  write_section(ends, message);
  std::size_t refused = 0;
  const auto read = read_message(message, &refused);
  REQUIRE(read.has_value());
  CHECK(refused == 5);
  CHECK(std::get<KvHeads>(read->at(0)).heads == std::vector<KvHead>{{1, fine}, {5, fine}});
  CHECK(std::get<KvEnds>(read->at(1)).ends == std::vector<KvEnd>{{1, {kMostPlace}}, {3, {3}}});
}

TEST_CASE("no count is believed beyond the bytes there are") {
  std::string summary;
  write_section(KvSummary{}, summary);
  const char format = summary.front();
  for (const char tag : {'\2', '\3', '\4', '\6'}) {
    for (std::size_t fill = 0; fill < 64; ++fill) {
      std::string message{format, tag};
      message += std::string(fill, '\0') + "\xff\xff\xff\xff\x7f";
      const auto read = read_message(message);
      if (read.has_value()) CHECK(message.size() > 5);  // as other fields, perhaps
    }
  }
  CHECK(read_message("").has_error());
  CHECK(read_message("\1").has_error());
}

TEST_CASE("a name finds every block that has it, and a map's other blocks not") {
  std::mt19937_64 random(1);
  BlockMap map;
  std::vector<EngineHash> hashes;
  std::vector<BlockChange> changes;
  for (int i = 0; i < 20'000; ++i) {
    hashes.push_back(random());
    changes.push_back({BlockMap::Kind::add, hashes.back(), {1, 0}});
  }
  map.apply({0}, {1}, changes);
  for (const unsigned bits : {16U, 20U, 24U, 32U}) {
    CAPTURE(bits);
    std::map<ShortName, std::size_t> named;
    for (const EngineHash hash : hashes) ++named[short_name(hash, bits)];
    std::size_t ambiguous = 0;
    for (const EngineHash hash : hashes) {
      std::size_t found = 0;
      bool itself = false;
      for_each_named(map, short_name(hash, bits), bits, [&](EngineHash other) {
        ++found;
        itself = itself || other == hash;
      });
      CHECK(itself);
      CHECK(found == named[short_name(hash, bits)]);
      ambiguous += found > 1;
    }
    CHECK((ambiguous > 0) == (bits < 32));
    if (bits == name_bits_for(hashes.size())) CHECK(ambiguous < hashes.size() / 25);
    for (int i = 0; i < 1000; ++i) {
      const auto name = static_cast<ShortName>(random() >> (64 - bits));
      std::size_t found = 0;
      for_each_named(map, name, bits, [&](EngineHash) { ++found; });
      CHECK(found == (named.contains(name) ? named[name] : 0));
    }
  }
}

TEST_CASE("removals that ascend by name take little more than what tells them apart") {
  for (const unsigned bits : {18U, 24U}) {
    std::mt19937_64 random(bits);
    double bytes = 0;
    for (int round = 0; round < 100; ++round) {
      KvChanges changes;
      changes.name_bits = static_cast<std::uint8_t>(bits);
      for (int i = 0; i < 32; ++i) {
        changes.changes.push_back(short_removal(static_cast<ShortName>(random() >> (64 - bits))));
      }
      std::ranges::sort(changes.changes, {}, [](const BlockChange& change) { return change.key; });
      changes.steps.push_back({{1}, 7, 32});
      std::string message;
      write_section(changes, message);
      const auto read = read_message(message);
      REQUIRE(read.has_value());
      CHECK(std::get<KvChanges>(read->front()) == changes);
      bytes += static_cast<double>(message.size()) / 100;
    }
    CHECK(bytes < 26 + 32 * (bits - 3.0) / 8);
  }
}
