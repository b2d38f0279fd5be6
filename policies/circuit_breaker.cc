#include "policies/circuit_breaker.h"

namespace dualmesh::policies {

void CircuitBreaker::trip(Time now, Duration rest) {
  state_ = State::open;
  open_until_ = now + rest;
  answers_ = 0;
  ++era_;
}

bool CircuitBreaker::wake(Time now) {
  if (state_ != State::open || now < open_until_) return false;
  state_ = State::half_open;
  ++era_;
  return true;
}

bool CircuitBreaker::answered(Era sent_in) {
  if (state_ != State::half_open || sent_in != era_ || ++answers_ < trial_requests_) return false;
  state_ = State::closed;
  return true;
}

}  // namespace dualmesh::policies
