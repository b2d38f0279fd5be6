// The mesh half's metrics as Prometheus text.
//
// Threads: the mesh thread's; the text may go anywhere.
#pragma once

#include <string>

namespace dualmesh::node {

class MeshNode;

std::string mesh_metrics(const MeshNode& node);
// For the state-dump signal: members, links, streams, readiness, in lines for people.
std::string dump_mesh(const MeshNode& node);

}  // namespace dualmesh::node
