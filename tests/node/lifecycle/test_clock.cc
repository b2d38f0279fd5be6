#include "tests/node/lifecycle/test_clock.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>

namespace dualmesh::node::testing {
namespace {

constexpr std::int64_t second = 1'000'000'000;
// Not zero: that is "never" to some.
std::atomic<std::int64_t> now_ns{1'000'000 * second};

}  // namespace

void move_clock(std::chrono::nanoseconds by) { now_ns += by.count(); }

}  // namespace dualmesh::node::testing

// In place of the C library's.
extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  using namespace dualmesh::node::testing;
  if (clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE)
    return static_cast<int>(::syscall(SYS_clock_gettime, clock, time));
  const std::int64_t now = now_ns.load(std::memory_order_relaxed);
  *time = {now / second, now % second};
  return 0;
}
