// Time as the policies see it: nanoseconds of a monotonic clock with an arbitrary origin. Always an
// argument, so that a policy behaves the same in a node and in virtual time.
#pragma once

#include <chrono>

namespace dualmesh::policies {

using Time = std::chrono::nanoseconds;
using Duration = std::chrono::nanoseconds;

inline double to_seconds(Duration d) { return std::chrono::duration<double>(d).count(); }
inline Duration from_seconds(double s) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(s));
}

}  // namespace dualmesh::policies
