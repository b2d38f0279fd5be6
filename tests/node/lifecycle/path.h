// A path: one world, a sequence of events, and an end; afterwards nothing may be left.
//
// What is asked after each event: while no client waits for an answer, nothing is held. At the end,
// once everybody has left, or everybody's time is up: no connection either. When the world has
// gone: neither memory nor descriptors.
//
// Threads: main.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/node/lifecycle/events.h"

namespace dualmesh::node::testing {

// How it goes on: one of so many (at least one).
using Choose = std::function<std::size_t(std::size_t)>;

enum class Ending : std::uint8_t { all_leave, time_passes };

struct Walk {
  std::vector<Event> begin;  // always; what is not possible there is left out
  std::size_t more = 0;      // chosen ones after it
  std::function<bool(const Event&)> allowed = [](const Event&) { return true; };
  std::uint32_t connects = 2;         // of one client, at most
  std::optional<Ending> ending = {};  // none: one or the other, by the path
};

// What the paths have led through, to know that they did.
struct Seen {
  std::uint64_t retries = 0, hops = 0, hops_back = 0, moved = 0;
  std::uint64_t broken = 0, gone = 0, aborted = 0, queue_timeouts = 0, no_instance = 0;
  std::uint64_t overload = 0, answers = 0;
  std::uint64_t refused_in_line = 0, asked_for_tokens = 0, unbudgeted = 0;
  std::uint64_t ejections = 0, trials = 0, waits_for_room = 0;
  Seen& operator+=(const Seen& other);
  std::string missing() const;  // the first that has not been seen; empty: none
};

struct Outcome {
  std::string wrong;  // empty: nothing
  std::string path;   // for events_of
  Seen seen;
};

Outcome run_path(const Scene& scene, const Walk& walk, const Choose& choose);

// Runs each scene once, so that what is made at its first use is there.
void warm_up();
const Scene& scene_named(std::string_view name);
// "" or what is wrong with this path, with both ends.
std::string replay(const std::string& scene, const std::string& events);

}  // namespace dualmesh::node::testing
