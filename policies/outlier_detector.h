// OutlierDetector: which instances answer so badly that they should rest, by what they made of real
// requests, and for how long.
//
// Two signs: so many failures in a row in which the instance or the way to it failed (the
// connection lost, 502 to 504, an answer that is not one, none in time); and a success rate, over a
// window, that lies clearly below that of all other instances together. Errors that all instances
// answer, bad prompts or a bad deployment, therefore eject nobody.
//
// The rest grows with each ejection and is forgiven with time: `base` x count, at most `most`; the
// count falls by one for each `forgive_after` that it answers well. At most a share of the
// instances is out at a time (one always may be); whether somebody is left for each of its models
// is for the caller to know.
//
// Invariant: out() <= max(1, max_share x watched).
// Cost: a good answer O(1), a failed one O(instances). Threads: none; its owner locks.
// Source: Envoy's outlier detection. Where it compares with the mean of the fleet less a number of
// standard deviations, which finds nobody among fewer than five, each is compared with the rest.
#pragma once

#include <boost/container/flat_map.hpp>
#include <cstdint>
#include <optional>

#include "policies/fleet_view.h"
#include "policies/time.h"
#include "policies/window_counts.h"

namespace dualmesh::policies {

struct OutlierSettings {
  std::uint32_t failures_in_a_row = 5;  // 0: not looked at
  double rate_margin = 0.3;             // below the others' success rate; 0: not looked at
  std::uint32_t min_requests = 20;      // in the window, for a rate to mean anything
  Duration window = std::chrono::seconds(30);
  Duration base = std::chrono::seconds(10);
  Duration most = std::chrono::seconds(300);
  Duration forgive_after = std::chrono::seconds(60);
  double max_share = 0.5;
};

enum class Answered : std::uint8_t {
  well,
  error,    // it says itself that it failed: 500 and the like
  not_well  // it or the way to it failed
};

enum class OutlierSign : std::uint8_t { none, failures_in_a_row, success_rate };

class OutlierDetector {
 public:
  explicit OutlierDetector(const OutlierSettings& settings) : settings_(settings) {}

  void watch(Slot slot);  // again: nothing
  void forget(Slot slot);

  // What the history with this answer shows; none for one that is out or not watched.
  OutlierSign observe(Slot slot, Answered how, Time now);
  // Puts it out, also one that is out already and failed at its trial. For how long it shall rest;
  // nothing when too many are out.
  std::optional<Duration> eject(Slot slot, Time now);
  void readmit(Slot slot, Time now);  // with a clean history

  bool is_out(Slot slot) const;
  std::uint32_t out() const { return out_; }

 private:
  struct Watched {
    explicit Watched(Duration window) : answers(window) {}
    WindowCounts<2> answers;  // good and failed
    std::uint32_t failures_in_a_row = 0;
    std::uint32_t ejections = 0;
    Time well_since{};
    bool out = false;
  };
  bool lags_behind(const Watched& watched, Time now) const;

  OutlierSettings settings_;
  boost::container::flat_map<Slot, Watched> watched_;
  std::uint32_t out_ = 0;
};

}  // namespace dualmesh::policies
