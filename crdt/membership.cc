#include "crdt/membership.h"

#include <xxhash.h>

#include <tuple>

namespace dualmesh::crdt {

namespace {

auto rank(const Member& m) {
  return std::tie(m.epoch, m.refutations, m.status, m.name, m.mesh_address, m.http_address,
                  m.build);
}

}  // namespace

bool Member::join(const Member& other) {
  if (rank(other) <= rank(*this)) return false;
  *this = other;
  return true;
}

void hash_entry(EntryHasher& hasher, NodeId key, const Member& member) {
  hash_field(hasher, key);
  hasher.add(member.epoch.value).add(member.refutations).add(member.status);
  hasher.add(member.name).add(member.mesh_address).add(member.http_address).add(member.build);
}

NodeId node_id_of(std::string_view name) { return NodeId{XXH3_64bits(name.data(), name.size())}; }

}  // namespace dualmesh::crdt
