// The token bucket: by hand-derived waits, and against the rate it promises.
#include "net/mesh_rate.h"

#include <doctest/doctest.h>

#include <random>

namespace dualmesh::net {

constexpr std::int64_t kSecond = 1'000'000'000;

TEST_CASE("a bucket lets a burst pass, then makes the next wait for what was taken") {
  TokenBucket bucket(10, 5);  // 10 a second, bursts of 5
  CHECK(bucket.wait_ns(0) == 0);
  bucket.take(5, 0);
  CHECK(bucket.wait_ns(0) == 0);  // empty, not in debt: the next may come
  bucket.take(1, 0);
  CHECK(bucket.wait_ns(0) == doctest::Approx(0.1 * kSecond));
  CHECK(bucket.wait_ns(kSecond / 20) == doctest::Approx(0.05 * kSecond));
  CHECK(bucket.wait_ns(kSecond / 10 + 1) == 0);
  bucket.take(1'000, kSecond);  // one large message, in debt for 100 s less the burst
  CHECK(bucket.wait_ns(kSecond) == doctest::Approx(99.5 * kSecond));
  CHECK(bucket.wait_ns(1'000 * kSecond) == 0);
  bucket.take(6, 1'000 * kSecond);  // idle time fills it to the burst, no further
  CHECK(bucket.wait_ns(1'000 * kSecond) == doctest::Approx(0.1 * kSecond));
}

TEST_CASE("whoever waits as told never exceeds rate x time + burst + one") {
  std::mt19937 random(3);
  for (int round = 0; round < 50; ++round) {
    const double rate = 1 + random() % 1'000;
    const double burst = 1 + random() % 100;
    TokenBucket bucket(rate, burst);
    std::int64_t now = random() % kSecond;
    const std::int64_t begin = now;
    double taken = 0;
    double largest = 0;
    for (int i = 0; i < 1'000; ++i) {
      now += bucket.wait_ns(now) + static_cast<std::int64_t>(random() % 1'000'000);
      const double amount = 1 + random() % 50;
      bucket.take(amount, now);
      taken += amount;
      largest = std::max(largest, amount);
      CHECK(taken <= rate * static_cast<double>(now - begin) / kSecond + burst + largest + 1e-3);
    }
  }
}

}  // namespace dualmesh::net
