// Random: splitmix64. Distributions of the standard library differ between libraries, and a seed
// must mean the same workload everywhere.
//
// Threads: none; a value.
// Source: Steele, Lea and Flood (OOPSLA 2014).
#pragma once

#include <cmath>
#include <cstdint>

namespace dualmesh::node {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }
  double uniform() { return static_cast<double>((next() >> 11) + 1) * 0x1p-53; }  // (0, 1]
  double exponential(double mean) { return -mean * std::log(uniform()); }

 private:
  std::uint64_t state_;
};

}  // namespace dualmesh::node
