// What is known of one node's life: the SWIM lattice.
//
// Order: (epoch, refutations, status) lexicographically, status alive < suspect < dead < left.
// Within one (epoch, refutations) a status only worsens; the accused answers by raising
// `refutations`, which overrides every accusation made before, and keeps its epoch (a new epoch
// would discard its feeds).
//
// Invariant: join is the maximum of that order. Contact data travel with (epoch, refutations) and
// are written by the node itself only; should two records differ in nothing else (one name used
// twice, a faulty peer), the greater strings win, so that the mesh agrees even then. Cost: a
// comparison and at most a copy. Threads: none; values. Source: Das, Gupta, Motivala 2002 (SWIM)
// section 4.2; incarnation numbers as in memberlist.
#pragma once

#include <string>
#include <string_view>

#include "crdt/identity.h"
#include "crdt/state_digest.h"

namespace dualmesh::crdt {

enum class MemberStatus : std::uint8_t { alive, suspect, dead, left };

struct Member {
  Epoch epoch;
  std::uint64_t refutations = 0;
  MemberStatus status = MemberStatus::alive;
  std::string name;
  std::string mesh_address;  // host:port of its RPC listener, as peers should dial it
  std::string http_address;  // host:port of its client listener
  std::string build;

  bool join(const Member& other);  // true when it grew
  bool reachable() const {
    return status == MemberStatus::alive || status == MemberStatus::suspect;
  }
  bool operator==(const Member&) const = default;
};

void hash_entry(EntryHasher& hasher, NodeId key, const Member& member);

// XXH3 of the configured node name: the stable identity of a node.
NodeId node_id_of(std::string_view name);

}  // namespace dualmesh::crdt
