// How many sockets this process may have. The usual soft limit of 1,024 is kept for programs that
// use select(); ours do not, and a router needs two sockets per request.
//
// Threads: call once, before threads start.
#pragma once

namespace dualmesh::net {

void raise_descriptor_limit();  // soft to hard

}  // namespace dualmesh::net
