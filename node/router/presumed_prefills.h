// PresumedPrefills: when the prefills of those requests should be over whose first tokens nobody
// sees, on one timer of an I/O thread for all of its requests.
//
// Most answers are whole long before. So nothing is taken back when a request ends: an entry that
// has lapsed by then is skipped at its time, or swept when there are many of them.
//
// Invariant: the loop's timer is set for the first entry at the latest; at most kSpare entries more
// than twice those that counted at the last sweep are kept. Cost: add O(1) for times that rise.
// Threads: those of its I/O thread. Source: lazy deletion from a heap; ours.
#pragma once

#include <functional>
#include <vector>

#include "net/io_threads.h"
#include "policies/decision.h"
#include "policies/time.h"

namespace dualmesh::node {

class PresumedPrefills {
 public:
  struct Entry {
    policies::Time at;
    policies::RequestId id;
    std::uint32_t attempt;  // of the request's at instances: it may be at another one by then
  };
  // `counts(entry)`: it is still there, without an answer. `over(entry)`: its time has come.
  PresumedPrefills(net::IoThread& thread, std::function<policies::Time()> clock,
                   std::function<bool(const Entry&)> counts, std::function<void(const Entry&)> over)
      : thread_(thread),
        clock_(std::move(clock)),
        counts_(std::move(counts)),
        over_(std::move(over)) {}

  void add(const Entry& entry, policies::Time now);
  std::size_t size() const { return entries_.size(); }

  static constexpr std::size_t kSpare = 256;

 private:
  void arm(policies::Time now);
  void rang();
  void sweep();

  static constexpr policies::Time kNever = policies::Time::max();

  net::IoThread& thread_;
  const std::function<policies::Time()> clock_;
  const std::function<bool(const Entry&)> counts_;
  const std::function<void(const Entry&)> over_;
  std::vector<Entry> entries_;  // a heap, the first to come in front
  std::size_t most_ = kSpare;   // of them, before the next sweep
  net::IoThread::Timer timer_;
  policies::Time armed_for_ = kNever;
};

}  // namespace dualmesh::node
