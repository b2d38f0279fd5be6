// LoopByHand: takes the loop of I/O threads' first thread from it, for a test that runs it itself,
// step by step, in place of that thread.
//
// Invariant: from its making to its end the test's thread is the one of the loop, and what is ready
// waits for run_ready. At its end the loop has stopped for good.
// Threads: that of the test.
#pragma once

#include <cstddef>

#include "net/io_threads.h"

namespace dualmesh::net::testing {

class LoopByHand {
 public:
  explicit LoopByHand(IoThreads& threads);  // of one thread
  LoopByHand(const LoopByHand&) = delete;
  LoopByHand& operator=(const LoopByHand&) = delete;
  ~LoopByHand();

  // Does all that can be done by now; how much it was.
  std::size_t run_ready();
  IoThread& thread() { return thread_; }
  std::size_t turn_end_jobs() const;  // not done yet
  // From now on it stops, for good, when nothing is awaited any more: no timer, socket or job.
  void let_end();
  bool has_ended() const;

 private:
  IoThread& thread_;
};

}  // namespace dualmesh::net::testing
