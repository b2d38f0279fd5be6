// The breaker step by step, and over random histories against the rule written down plainly.
#include "policies/circuit_breaker.h"

#include <doctest/doctest.h>

#include <random>
#include <vector>

using namespace dualmesh::policies;
using namespace std::chrono_literals;
using State = CircuitBreaker::State;

TEST_CASE("breaker: rests for its time, then is tried, then is whole") {
  CircuitBreaker breaker(2);
  const auto before = breaker.era();
  CHECK(breaker.state() == State::closed);
  CHECK(!breaker.wake(100s));
  breaker.trip(10s, 5s);
  CHECK(breaker.state() == State::open);
  CHECK(!breaker.answered(before));
  CHECK(!breaker.failed_trial(before));
  CHECK(!breaker.wake(15s - 1ns));
  CHECK(breaker.wake(15s));
  CHECK(!breaker.wake(15s));
  CHECK(breaker.state() == State::half_open);
  // What was sent before is late.
  CHECK(!breaker.answered(before));
  CHECK(!breaker.failed_trial(before));
  CHECK(breaker.answers() == 0);

  CHECK(!breaker.answered(breaker.era()));
  CHECK(breaker.failed_trial(breaker.era()));
  breaker.trip(16s, 10s);
  CHECK(breaker.wake(26s));
  CHECK(!breaker.answered(breaker.era()));  // the first trial's answer does not count
  CHECK(breaker.answered(breaker.era()));
  CHECK(breaker.state() == State::closed);
  CHECK(!breaker.failed_trial(breaker.era()));
}

TEST_CASE("breaker: at least one trial request") {
  CircuitBreaker breaker(0);
  CHECK(breaker.trial_requests() == 1);
  breaker.trip(1s, 1s);
  CHECK(breaker.wake(2s));
  CHECK(breaker.answered(breaker.era()));
}

TEST_CASE("breaker: closes only by answers that were sent in the trial that runs") {
  for (unsigned seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    const std::uint32_t wanted = 1 + random() % 4;
    CircuitBreaker breaker(wanted);
    struct Attempt {
      CircuitBreaker::Era era;
      int trial;  // 0: not sent in one
    };
    std::vector<Attempt> attempts;
    int trials = 0;
    std::uint32_t answers = 0;
    State state = State::closed;
    Time now = 1s;
    for (int i = 0; i < 2'000; ++i) {
      now += std::chrono::milliseconds(random() % 400);
      const bool woke = breaker.wake(now);
      CHECK(woke == (state == State::open && now >= breaker.open_until()));
      if (woke) {
        state = State::half_open;
        ++trials;
        answers = 0;
      }
      const unsigned what = random() % 4;
      if (what == 0 && state == State::closed) {
        if (random() % 8 == 0) {
          breaker.trip(now, std::chrono::milliseconds(random() % 2'000));
          state = State::open;
        }
      } else if (what <= 1 && state != State::open) {
        attempts.push_back({breaker.era(), state == State::half_open ? trials : 0});
      } else if (!attempts.empty()) {
        const std::size_t which = random() % attempts.size();
        const Attempt attempt = attempts[which];
        attempts.erase(attempts.begin() + static_cast<std::ptrdiff_t>(which));
        const bool counts = state == State::half_open && attempt.trial == trials;
        if (what == 2) {
          const bool closes = counts && ++answers == wanted;
          CHECK(breaker.answered(attempt.era) == closes);
          if (closes) state = State::closed;
        } else {
          CHECK(breaker.failed_trial(attempt.era) == counts);
          if (counts) {
            breaker.trip(now, 1s);
            state = State::open;
          }
        }
      }
      CHECK(breaker.state() == state);
    }
    CHECK(trials > 0);
  }
}
