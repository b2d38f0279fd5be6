#include "policies/prefill_estimator.h"

#include <doctest/doctest.h>

#include <random>

using namespace dualmesh::policies;
using namespace std::chrono_literals;

TEST_CASE("the initial value stands until three samples have come") {
  PrefillEstimator estimator(0.00016);
  estimator.add(1s, 1000);
  estimator.add(1s, 1000);
  CHECK(estimator.s_per_token() == 0.00016);
  estimator.add(1s, 1000);
  CHECK(estimator.s_per_token() == doctest::Approx(0.001));
}

TEST_CASE("it converges to the true cost under noise, wild samples and the fixed cost of a step") {
  std::mt19937 random(5);
  std::uniform_real_distribution<double> noise(0.9, 1.1);
  for (const double truth : {0.00001, 0.000127, 0.00016, 0.002}) {
    PrefillEstimator estimator(0.00016);
    for (int i = 0; i < 200; ++i) {
      const auto tokens = static_cast<std::uint64_t>(200 + random() % 8000);
      double seconds = truth * static_cast<double>(tokens) * noise(random) + 50 * truth;
      if (i % 5 == 0) seconds *= random() % 2 == 0 ? 20 : 0.05;  // one in five is nonsense
      estimator.add(from_seconds(seconds), tokens);
      if (i > 30) CHECK(estimator.s_per_token() == doctest::Approx(truth).epsilon(0.15));
    }
  }
}

TEST_CASE("it follows an instance whose speed changed within one window") {
  PrefillEstimator estimator(0.00016);
  for (int i = 0; i < 100; ++i) estimator.add(160ms, 1000);
  CHECK(estimator.s_per_token() == doctest::Approx(0.00016));
  for (std::size_t i = 0; i < PrefillEstimator::kWindow; ++i) estimator.add(16ms, 1000);
  CHECK(estimator.s_per_token() == doctest::Approx(0.000016));
}

TEST_CASE("long prompts outweigh many short ones") {
  PrefillEstimator estimator(1.0);
  for (int i = 0; i < 10; ++i) estimator.add(50ms, 100);  // mostly the step's own 25 ms and more
  for (int i = 0; i < 5; ++i) estimator.add(1s, 5000);
  CHECK(estimator.s_per_token() == doctest::Approx(0.0002));
}

TEST_CASE("what measures nothing is not a sample") {
  PrefillEstimator estimator(0.5);
  for (int i = 0; i < 10; ++i) {
    estimator.add(1s, PrefillEstimator::kMinTokens - 1);
    estimator.add(0s, 1000);
    estimator.add(-1s, 1000);
  }
  CHECK(estimator.samples() == 0);
  CHECK(estimator.s_per_token() == 0.5);
}
