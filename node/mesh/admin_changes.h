// AdminChanges: what administrators change: done, answered, and written to the log of the node that
// was asked, with who did it, what, and with what result.
//
// Invariant: whatever came is one line of the log at most, of bounded length, and no secret: of
// clients there are only hashes. Refusals are thrown, worded for people.
// Threads: kj; the mesh thread's.
#pragma once

#include <string>

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

  MeshNode& node_;
  const std::string who_;
};

}  // namespace dualmesh::node
