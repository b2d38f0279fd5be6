// Do the nodes of a mesh hold the same? The comparison behind lag, diff and wait-converged, free of
// I/O.
//
// Two kinds of stream are compared in two ways. A *feed* has one writer, so its versions order it:
// a node is behind the writer by so many versions, and at the same version must have the same
// digest. A *table* has many writers and versions that mean something to their sender only: digests
// alone say whether two nodes hold the same. Streams of lives that have ended are left out: each
// node drops them when it learns of the end, and nobody routes by them.
//
// Invariant: converged means that every live node was asked, holds every table with the same
// digest, and holds every live writer's feed at that writer's version and digest. Threads: values.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace dualmesh::node::ctl {

// What an engine says of its cache, in place of a wire::StreamKind.
inline constexpr std::uint16_t kKvStream = 1'000;

struct StreamId {
  std::uint16_t kind = 0;   // wire::StreamKind, or kKvStream
  std::uint64_t node = 0;   // writer of a feed; zero for a table; kv_stream_id of an engine's rank
  std::uint64_t epoch = 0;  // of the writer's life

  auto operator<=>(const StreamId&) const = default;
};

bool is_table(std::uint16_t kind);
std::uint64_t kv_stream_id(const std::string& instance, std::uint32_t rank);
std::string kind_name(std::uint16_t kind);
// A row's key with the instance's name in place of its id, where a key begins with one.
std::string readable_key(const std::string& key,
                         const std::map<std::string, std::string>& names_by_id);

struct Position {
  std::uint64_t version = 0;
  std::uint64_t count = 0;
  std::uint64_t sum = 0;
  bool partial = false;  // a cut delta was applied last; the rest is on its way. Of a cache: its
                         // history is known in part only

  bool same_digest(const Position& other) const { return count == other.count && sum == other.sum; }
};

struct KvStreamName {
  std::string instance;
  std::uint32_t rank = 0;
};

struct NodeReport {
  std::string name;
  std::uint64_t node = 0;
  std::uint64_t epoch = 0;
  std::string address;
  bool reached = false;
  std::string why_not;  // when not reached
  bool ready = true;
  std::string not_ready;    // why, when it is not
  std::string ring_digest;  // as its status shows them
  std::string registry_digest;
  std::string depth_digest;
  std::map<StreamId, Position> positions;
  std::map<std::uint64_t, std::string> relays;  // writer -> the node through which it is heard
  std::map<std::uint64_t, KvStreamName> kv_streams;  // by kv_stream_id
};

// The instance and rank that a stream of the kind kKvStream is of; empty when no node knows.
KvStreamName cache_called(const StreamId& id, const std::vector<NodeReport>& nodes);
// e1; e1/3 where it has several ranks.
std::string cache_name(const StreamId& id, const std::vector<NodeReport>& nodes);

struct Cell {
  enum class State { in_step, behind, differs, unknown } state = State::unknown;
  std::uint64_t behind = 0;  // versions
  bool relayed = false;      // the writer is heard there through a third node
  bool partial = false;      // the version is there in part only
};

struct StreamRow {
  StreamId id;
  std::string label;   // load/r3, registry
  std::string writer;  // a node's name, or "all"
  std::uint64_t version = 0;
  std::vector<Cell> cells;  // one per node, in the order of the reports
};

enum class Verdict { converged, behind, unreached, diverged };
const char* to_string(Verdict verdict);

struct Comparison {
  Verdict verdict = Verdict::converged;
  std::vector<StreamRow> rows;
  std::vector<std::string> differing;  // "load/r3: r5 2 versions behind"
  std::uint64_t digest = 0;            // over all streams as their writers hold them
};

Comparison compare(const std::vector<NodeReport>& nodes);

// What writers had written at one moment; the target of wait-converged.
using Baseline = std::map<StreamId, std::uint64_t>;
Baseline baseline_of(const std::vector<NodeReport>& nodes);
// Empty when every node is ready (before, it may know nobody yet) and has applied the baseline,
// equal versions have equal digests and the tables agree; otherwise what is missing, with the names
// of the nodes.
std::vector<std::string> missing_from(const Baseline& baseline,
                                      const std::vector<NodeReport>& nodes);

}  // namespace dualmesh::node::ctl
