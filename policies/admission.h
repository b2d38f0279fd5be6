// Admission: whether a request that would have to wait is taken, or told at once to come again, and
// when.
//
// It is refused when too many wait already, or, where the operator asks for it, when its estimated
// time to first token says that the wanted one cannot be met. Who alone holds more than an even
// share of what waits is told that it is too much of them (429), anybody else that the node has too
// much (503). When to come again is the estimate of when it would have been in time.
//
// Invariant: with both limits off everything is taken. Threads: none; its owner locks.
// Source: Google SRE book, "Handling Overload"; RFC 9110, 10.2.3 (Retry-After).
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>

#include "policies/time.h"

namespace dualmesh::policies {

struct AdmissionSettings {
  std::uint32_t max_waiting = 0;  // requests at this node without an instance's attention; 0: any
  double refuse_over_slos = 0.0;  // an estimate beyond so many SLOs is refused; 0: none is

  bool limits() const { return max_waiting > 0 || refuse_over_slos > 0; }
};

struct AdmissionAnswer {
  enum class Kind : std::uint8_t { taken, too_many_waiting, too_late } kind = Kind::taken;
  bool clients_own = false;  // this client's requests are what the node has too much of
  std::uint32_t retry_after_s = 0;
};

// Whole seconds, at least 1 and at most a minute: beyond that an estimate is worth nothing.
std::uint32_t retry_after_s(double wait_s);

class Admission {
 public:
  struct Asked {
    std::uint64_t client = 0;   // 0: unknown
    std::uint32_t waiting = 0;  // at this node, this one not counted
    double ttft_s = 0.0;        // estimate
    double slo_s = 0.0;         // wanted
  };
  explicit Admission(const AdmissionSettings& settings) : settings_(settings) {}

  const AdmissionSettings& settings() const { return settings_; }
  AdmissionAnswer ask(const Asked& asked) const;
  // Requests that wait, of each client: entered once, left once.
  void entered(std::uint64_t client);
  void left(std::uint64_t client);
  std::size_t clients() const { return waiting_.size(); }
  std::uint64_t waiting() const { return all_; }

 private:
  bool has_too_many(std::uint64_t client) const;

  AdmissionSettings settings_;
  boost::unordered_flat_map<std::uint64_t, std::uint32_t> waiting_;  // by client; none is zero
  std::uint64_t all_ = 0;
};

}  // namespace dualmesh::policies
