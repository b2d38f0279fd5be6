// AdminServer: net/admin.capnp for administrators, over the mesh's own listener.
//
// What only the request path knows it asks AdminHost; everything else it reads from the MeshNode.
//
// Threads: kj; the mesh thread's. Every answer is made in one turn, so it is consistent.
#pragma once

#include <string>

#include "net/admin.capnp.h"
#include "net/mesh_acceptor.h"

namespace dualmesh::node {

class MeshNode;

// `caller` is named in the log beside what it changes.
wire::Admin::Client make_admin_service(MeshNode& node, const net::IncomingPeer& caller);

// The parts of the answers; one function per message, in admin_answers.cc and admin_rows.cc.
void write_status(MeshNode& node, wire::Status::Builder out);
void write_instances(MeshNode& node, wire::Admin::InstancesResults::Builder out);
void write_members(const MeshNode& node, wire::Admin::MembersResults::Builder out);
void write_rings(MeshNode& node, wire::Rings::Builder out);
void write_replication(const MeshNode& node, wire::Replication::Builder out);
void write_bucket_sums(const MeshNode& node, wire::StreamKind kind, wire::Origin::Reader origin,
                       wire::Admin::BucketSumsResults::Builder out);
// `buckets` as Admin.rows has them.
void write_rows(const MeshNode& node, wire::Admin::RowsParams::Reader asked,
                wire::Admin::RowsResults::Builder out);

std::string hex(std::uint64_t value);
std::string text_of(capnp::Text::Reader text);

}  // namespace dualmesh::node
