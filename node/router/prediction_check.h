// PredictionCheck: what engines say they had cached, beside what was expected when requests were
// sent to them.
//
// The one check of all there is between an engine's cache and a decision: tokenizer, block size,
// salt, adapter, events. Engines say `cached_tokens` only when told to, and leave it out where it
// is 0; so leaving it out says nothing until an instance has said it once, and 0 from then on.
//
// Invariant: at most kMaxInstances are kept; what is said in words rests on the last kWindow
// answers of an instance, and at least kEnough of them. Threads: all calls thread-safe. Source:
// ours.
#pragma once

#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "node/metrics/metrics_text.h"
#include "policies/decision.h"

namespace dualmesh::node {

struct CachePrediction {
  policies::HitSource source = policies::HitSource::predicted;
  std::uint32_t expected_tokens = 0;
  std::uint32_t block_tokens = 0;  // of the engine; 0: not known
};

// Of one instance since it was first heard of.
struct PredictionReport {
  static constexpr std::array<std::uint32_t, 7> kBounds{0, 16, 64, 256, 1024, 4096, 16384};
  struct OfSource {
    std::uint64_t samples = 0;
    std::uint64_t absolute_error = 0;                          // tokens, as are the next
    std::int64_t bias = 0;                                     // reported less expected
    std::array<std::uint64_t, kBounds.size() + 1> by_error{};  // at most the bound; beyond the last
  };
  std::string instance;
  std::array<OfSource, 4> by_source;  // HitSource
  std::uint64_t unsaid = 0;           // usage without cached tokens, which said nothing
  std::string mismatch;               // in words; empty: none seen
};

class PredictionCheck {
 public:
  static constexpr std::size_t kMaxInstances = 4096;
  static constexpr std::size_t kWindow = 64;
  static constexpr std::size_t kEnough = 20;

  // An answer with usage has ended; `cached_tokens` if it said so. What it comes to: nothing where
  // it says nothing.
  std::optional<std::uint32_t> ended(const std::string& instance, const CachePrediction& prediction,
                                     std::optional<std::uint32_t> cached_tokens);
  void forget(const std::string& instance);  // another engine is there now

  std::vector<PredictionReport> reports() const;  // by name
  std::string mismatch(const std::string& instance) const;
  void append_to(MetricsText& out) const;

 private:
  struct Sample {
    CachePrediction prediction;
    std::uint32_t reported = 0;
  };
  struct Instance {
    PredictionReport report;
    bool has_said = false;
    std::array<Sample, kWindow> last;
    std::size_t samples = 0;
  };
  static std::string words(const Instance& instance);

  mutable std::mutex mutex_;
  // By name; guarded.
  boost::unordered_flat_map<std::string, std::unique_ptr<Instance>> instances_;
};

}  // namespace dualmesh::node
