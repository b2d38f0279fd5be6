#include "tests/net/loop_by_hand.h"

#include "net/asio_loop.h"

namespace dualmesh::net::testing {

LoopByHand::LoopByHand(IoThreads& threads) : thread_(threads.at(0)) {
  threads.stop();
  thread_.impl().context.restart();
  thread_.impl().runner = std::this_thread::get_id();
}

LoopByHand::~LoopByHand() {
  thread_.impl().context.stop();
  thread_.impl().runner = std::thread::id();
}

std::size_t LoopByHand::turn_end_jobs() const { return thread_.impl().turn_end_jobs.size(); }

void LoopByHand::let_end() { thread_.impl().guard.reset(); }

bool LoopByHand::has_ended() const { return thread_.impl().context.stopped(); }

std::size_t LoopByHand::run_ready() { return thread_.impl().context.poll(); }

}  // namespace dualmesh::net::testing
