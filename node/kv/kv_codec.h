// The bytes of the messages between nodes about caches (kv_exchange.h says what they mean).
//
// A message is a version byte and sections. Numbers are varints (LEB128) where small is usual, else
// little endian. A stream is named by 64 bits of XXH3 over its name and source, in often sent
// sections by 32 bits over (stream, epoch), which both sides make themselves. Changes go in runs of
// one kind, the depth of a chain's blocks counted on; of a removal, where that is enough, only the
// bits that tell the block from all others that a complete map holds (ShortName).
//
// Invariant: read_message(write(m)) == m, and of other bytes an error; what is read is no larger
// than what was sent, up to a constant.
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "net/error.h"
#include "node/kv/byte_codec.h"
#include "node/kv/kv_names.h"
#include "node/kv/kv_state.h"

namespace dualmesh::node {

using StreamName = std::uint64_t;
using LifeName = std::uint32_t;  // of a stream in one epoch
StreamName name_of(const StreamKey& stream, std::uint64_t source = 0);
LifeName life_name(StreamName stream, crdt::Epoch epoch);

struct KvSummary {
  std::uint64_t sum = 0;
  bool operator==(const KvSummary&) const = default;
};

struct KvHead {
  StreamName stream = 0;
  StreamPosition position;
  bool reaches = true;  // the sender reaches the engine, or has not tried
  bool flooded = false;
  bool fetch_me = false;  // the sender's log does not go back to where the receiver is
  bool unheard = false;   // its subscription brings nothing: it knows by replay alone
  bool operator==(const KvHead&) const = default;
};

struct KvHeads {
  bool answer = false;   // say yours where it differs
  bool say_all = false;  // say all of yours
  bool all = false;      // part of a list of all that the sender has
  std::uint64_t round = 0, part = 0;
  bool last = false;
  std::vector<KvHead> heads;
  std::vector<StreamName> refused;  // when read: of these it says what is not believed
  bool operator==(const KvHeads& other) const;  // of what is written
};

struct KvEnd {
  LifeName life = 0;
  crdt::Version end;
  bool operator==(const KvEnd&) const = default;
};

struct KvEnds {
  bool answer = false;
  std::vector<KvEnd> ends;
  bool operator==(const KvEnds&) const = default;
};

struct KvChanges {
  std::optional<std::pair<StreamName, crdt::Epoch>> stream;  // in full where `life` may be unknown
  LifeName life = 0;
  crdt::Version from;
  std::uint32_t block_tokens = 0;
  std::int16_t main_group = -1;  // StreamFacts
  std::uint16_t check = 0;       // of a complete map after these; 0: none
  std::uint8_t name_bits = 0;    // of short removals; 0: there is none
  std::vector<LoggedStep> steps;
  std::vector<BlockChange> changes;  // of all steps
  bool operator==(const KvChanges& other) const;
};

struct KvFetch {
  StreamName stream = 0;
  crdt::Epoch epoch;
  std::uint64_t cut = 0;  // 0: any
  std::uint64_t offset = 0;
  crdt::Version least;  // of a new cut's end, if the state goes so far: past what the asker has
  bool operator==(const KvFetch&) const = default;
};

struct KvPiece {
  StreamName stream = 0;
  StreamPosition position;
  std::uint32_t block_tokens = 0;
  std::int16_t main_group = -1;
  std::uint64_t cut = 0;  // 0: what was asked for is not there
  std::uint64_t offset = 0, total = 0;
  std::vector<std::pair<EngineHash, BlockMap::Entry>> entries;
  bool operator==(const KvPiece& other) const;
};

// The life that the receiver knows by `old_epoch` has the greater name `epoch`.
struct KvSameLife {
  StreamName stream = 0;
  crdt::Epoch old_epoch, epoch;
  crdt::Version step;
  std::uint64_t batch = 0;  // digest of it
  bool operator==(const KvSameLife&) const = default;
};

using KvSection = std::variant<KvSummary, KvHeads, KvEnds, KvChanges, KvFetch, KvPiece, KvSameLife>;

// Appends to a message; an empty one begins with it.
void write_section(const KvSection& section, std::string& message);
// `entries` in place of the piece's own, to spare the copy.
void write_piece(const KvPiece& piece,
                 std::span<const std::pair<EngineHash, BlockMap::Entry>> entries,
                 std::string& message);
// The sections of one message after those of another, neither of them empty.
void append_message(std::string_view from, std::string& message);
// Heads, ends and other sections with an epoch beyond `most_epoch` or a step beyond 2^62 are left
// out; `refused` says how many.
net::Result<std::vector<KvSection>> read_message(std::string_view message,
                                                 std::size_t* refused = nullptr,
                                                 std::uint64_t most_epoch = kMostEpoch);

// At most so many bytes are written per head and per entry of a piece.
inline constexpr std::size_t kMaxHeadBytes = 80;
inline constexpr std::size_t kMaxEntryBytes = 24;

}  // namespace dualmesh::node
