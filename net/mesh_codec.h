// Codec between the rows of the shared state (net/mesh_rows.h) and net/mesh.capnp.
//
// Reading treats the bytes as hostile: every list, text and enum is bounded and checked, a message
// that Cap'n Proto itself rejects becomes an Error too, and nothing is applied before the whole
// delta was read. Versions out of order are left to the CRDTs, which refuse them.
//
// Threads: none; values in, values out.
#pragma once

#include "net/error.h"
#include "net/mesh.capnp.h"
#include "net/mesh_rows.h"

namespace dualmesh::net {

struct CodecLimits {
  static constexpr std::size_t kRows = 131'072;          // of one delta
  static constexpr std::size_t kNameBytes = 256;         // node, instance and setting names
  static constexpr std::size_t kTextBytes = 4'096;       // addresses, field and setting values
  static constexpr std::size_t kSiblings = 64;           // concurrent writes of one setting
  static constexpr std::size_t kSettingWriters = 4'096;  // of one setting, ever
  static constexpr std::size_t kDeltas = 1'024;          // of one push
  static constexpr std::size_t kPositions = 8'192;
};

void write_member(crdt::NodeId node, const crdt::Member& member, wire::Member::Builder out);
Result<MembershipTable::Entry> read_member(wire::Member::Reader in);

void write_delta(const StreamDelta& delta, wire::Delta::Builder out);
Result<StreamDelta> read_delta(wire::Delta::Reader in);

void write_registry(const std::vector<RegistryTable::Entry>& rows,
                    capnp::List<wire::RegistryField>::Builder out);
Result<std::vector<RegistryTable::Entry>> read_registry(
    capnp::List<wire::RegistryField>::Reader rows);

void write_feed_positions(const FeedPositions& positions, wire::FeedPositions::Builder out);
FeedPositions read_feed_positions(wire::FeedPositions::Reader in);
void write_position(const StreamPosition& position, wire::StreamPosition::Builder out);
Result<std::vector<StreamPosition>> read_positions(
    capnp::List<wire::StreamPosition>::Reader positions);

// Registry and settings as one message, for a node's own disk.
void write_saved(const RegistryTable& registry, const SettingsTable& settings,
                 wire::SavedState::Builder out);
struct SavedTables {
  RegistryTable::Delta registry;
  SettingsTable::Delta settings;
};
Result<SavedTables> read_saved(wire::SavedState::Reader in);

}  // namespace dualmesh::net
