// A crash says where: on SIGSEGV, SIGABRT and their like the stack is written to standard error,
// then the signal takes its course (core dump, exit status). A stack that has overflowed has no
// room for it: then only the core dump tells.
//
// Threads: install once, before threads start.
#pragma once

namespace dualmesh::node {

void install_crash_handler();

}  // namespace dualmesh::node
