// How many blocks of memory the program holds, to find what was not given back.
//
// Counts what comes from operator new, which is all of ours. Not bytes: buffers
// that last grow with what they have seen. Under a sanitizer it counts nothing:
// there the leak checker sees to it.
//
// Threads: any; atomics.
#pragma once

#include <cstdint>

namespace dualmesh::node::testing {

std::int64_t live_blocks();

}  // namespace dualmesh::node::testing
