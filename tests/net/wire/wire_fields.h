// Where everything lies in the messages between nodes: a line per field, method and enumerant.
//
// Two builds understand each other's bytes only if neither has moved what the other knows; lines
// may be added. The recorded conversation cannot show this of a field that was zero in it.
//
// Threads: none.
#pragma once

#include <set>
#include <string>

namespace dualmesh::wire_test {

// Of all that Bootstrap and Peer of net/mesh.capnp take and give, and of what nodes save.
std::set<std::string> wire_fields();

}  // namespace dualmesh::wire_test
