// WaitingRoom: the requests for which no instance has room yet, by model, in order of arrival.
//
// They stand at no instance and in no instance's queue; each change of load or fleet is a reason to
// ask for them again. A request that comes back after a failure gets its old place.
//
// Invariant: who is in here has Stage::held, `waits` set, and stands here once.
// Cost: enter O(1) for a new arrival; remove O(waiting). Bounded by the requests the owner holds.
// Threads: none; the scheduler's owner locks.
// Source: the queue at SkyWalker's balancers (arXiv 2505.24095); the interface is ours.
#pragma once

#include <algorithm>
#include <boost/assert.hpp>
#include <boost/container/flat_map.hpp>
#include <deque>
#include <string>

#include "policies/ledger.h"

namespace dualmesh::policies {

class WaitingRoom {
 public:
  void enter(LiveRequest& request) {
    BOOST_ASSERT(request.stage == Stage::held && !request.waits);
    request.waits = true;
    Line& line = lines_[request.arrival.model];
    line.insert(std::upper_bound(line.begin(), line.end(), &request, earlier), &request);
  }
  void leave(LiveRequest& request) {
    BOOST_ASSERT(request.waits);
    request.waits = false;
    const auto line = lines_.find(request.arrival.model);
    line->second.erase(std::find(line->second.begin(), line->second.end(), &request));
    if (line->second.empty()) lines_.erase(line);
  }

  bool empty() const { return lines_.empty(); }
  std::size_t size() const {
    std::size_t waiting = 0;
    for (const auto& [model, line] : lines_) waiting += line.size();
    return waiting;
  }
  // Of each model in turn the first, for as long as `admit(request)` says it got in. One that may
  // not go everywhere does not hold up those behind it.
  template <class Admit>
  void let_in(Admit&& admit) {
    for (std::size_t model = 0; model < lines_.size();) {
      Line& line = lines_.nth(model)->second;
      std::size_t place = 0;
      while (place < line.size()) {
        LiveRequest& request = *line[place];
        if (admit(request)) {
          request.waits = false;
          line.erase(line.begin() + static_cast<std::ptrdiff_t>(place));
        } else if (request.record.retries == 0) {
          break;
        } else {
          ++place;
        }
      }
      if (line.empty()) {
        lines_.erase(lines_.nth(model));
      } else {
        ++model;
      }
    }
  }

 private:
  using Line = std::deque<LiveRequest*>;
  static bool earlier(const LiveRequest* a, const LiveRequest* b) {
    return std::pair(a->arrived, a->arrival.id) < std::pair(b->arrived, b->arrival.id);
  }

  boost::container::flat_map<std::string, Line> lines_;  // by model, none empty
};

}  // namespace dualmesh::policies
