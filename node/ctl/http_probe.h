// speaks_http: whether what listens at an address is an HTTP server, so that a wrong port can be
// named. It asks once and waits for half a second at most.
//
// Threads: any; it blocks.
#pragma once

#include <string>

namespace dualmesh::node::ctl {

bool speaks_http(const std::string& address);  // HOST:PORT

}  // namespace dualmesh::node::ctl
