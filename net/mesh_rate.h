// TokenBucket: how long to wait before taking more, at a sustained rate with bursts.
//
// What has been taken is paid afterwards, so that a single large message needs no special case: the
// bucket goes into debt and the next one waits. A full bucket holds `burst`.
//
// Threads: none; time is a parameter, in nanoseconds on any clock that does not go back.
#pragma once

#include <algorithm>
#include <cstdint>

namespace dualmesh::net {

class TokenBucket {
 public:
  TokenBucket(double per_second, double burst)
      : per_ns_(per_second / 1e9), burst_(burst), tokens_(burst) {}

  void take(double tokens, std::int64_t now_ns) {
    refill(now_ns);
    tokens_ -= tokens;
  }
  // 0: now.
  std::int64_t wait_ns(std::int64_t now_ns) {
    refill(now_ns);
    return tokens_ >= 0 ? 0 : static_cast<std::int64_t>(-tokens_ / per_ns_) + 1;
  }

 private:
  void refill(std::int64_t now_ns) {
    if (now_ns > at_ns_) {
      tokens_ = std::min(burst_, tokens_ + static_cast<double>(now_ns - at_ns_) * per_ns_);
    }
    at_ns_ = now_ns;
  }

  double per_ns_;
  double burst_;
  double tokens_;
  std::int64_t at_ns_ = 0;
};

}  // namespace dualmesh::net
