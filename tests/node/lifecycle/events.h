// Events: all that can happen to a node's requests from outside, one at a time.
//
// Threads: that of the world.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/node/lifecycle/world.h"

namespace dualmesh::node::testing {

struct Event {
  enum class Kind : std::uint8_t {
    // Of client `who`.
    ask,         // the whole request, on a new connection or after its last answer
    ask_partly,  // half of the head, then the rest of it, then half of the body
    ask_rest,
    leave,      // close
    break_off,  // reset
    stop_reading,
    pipeline,  // the next request, though the answer to this one is due
    // Of the instance or node that has had its request longest but `who`.
    answer_head,
    answer_piece,  // an event, or a part of a whole answer
    answer_half_event,
    answer_end,
    answer_flood,  // more than anybody takes without reading
    answer_busy,   // 503
    answer_garbage,
    cut,    // reset
    close,  // as if done
    // Of the instance or node `who`.
    close_idle,  // its kept connections
    refuse,      // new connections
    // Of instance `who`, as the node learns of it.
    unhealthy,
    healthy,
    drain,
    remove,
    come_back,
    // Of the node.
    pass_moment,  // pauses before retries and presumed prefills are over
    pass_long,    // so are all time-outs that run
    drain_node,   // closes its listener
    abort_all,    // what drains has had its time
    stop,         // its threads, in the midst of all; the last event
  } kind;
  std::uint8_t who = 0;
  bool operator==(const Event&) const = default;
};

std::string to_string(const Event& event);
// The reverse; a text that is none aborts.
std::vector<Event> events_of(const std::string& text);

// Those that can happen now, in a fixed order.
std::vector<Event> possible(World& world);
bool is_possible(World& world, const Event& event);
// REQUIRES that it is possible; quiet afterwards. A `stop` is left to the caller.
void happen(World& world, const Event& event);

}  // namespace dualmesh::node::testing
