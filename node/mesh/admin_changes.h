// AdminChanges: what administrators change: done, answered, and written to the log of the node that
// was asked, with who did it, what, and with what result.
//
// Invariant: whatever came is one line of the log at most, of bounded length, without secrets:
// clients that are no tenants are told by their hashes. Refusals are thrown, worded for people.
// Threads: kj; the mesh thread's.
#pragma once

#include <string>
#include <string_view>

#include "net/admin.capnp.h"
#include "net/error.h"
#include "net/mesh_acceptor.h"

namespace dualmesh::node {

class MeshNode;

class AdminChanges {
 public:
  AdminChanges(MeshNode& node, const net::IncomingPeer& caller);

  void change_instance(wire::Admin::ChangeInstanceParams::Reader asked,
                       wire::Admin::ChangeInstanceResults::Builder out);
  void set_policy(const std::string& policy);
  void set_client_weights(wire::Admin::SetClientWeightsParams::Reader asked);
  void drain();

 private:
  // Writes the line; throws where it was refused.
  void done(const std::string& what, const net::Result<void>& result = {}) const;

  std::string name_of(const std::string& client) const;
  std::string names_in(std::string_view weights) const;

  MeshNode& node_;
  const std::string who_;
};

}  // namespace dualmesh::node
