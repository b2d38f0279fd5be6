// The clock of a test program that contains test_clock.cc: it stands still, and moves when told to.
//
// There clock_gettime(CLOCK_MONOTONIC) is defined anew, so every steady_clock of the program,
// timers included, goes by it. A timer that is due by then runs at the next turn of its loop, once
// the loop has been made to look (World::pass).
//
// Threads: any; an atomic.
#pragma once

#include <chrono>

namespace dualmesh::node::testing {

void move_clock(std::chrono::nanoseconds by);

}  // namespace dualmesh::node::testing
