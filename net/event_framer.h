// EventFramer: passes a stream of server-sent events on in whole events, whatever the pieces it
// comes in. What an instance had not finished saying when it failed is left out, so that a last
// event of our own stands alone.
//
// Engines send whole events: then nothing is copied and nothing waits. An event larger than
// kLargestEvent passes in parts; from there to its end no event of ours can be put between.
//
// Invariant: the passed pieces together, and rest() at the end, are the bytes that were fed.
// Threads: values. Source: HTML Living Standard 9.2.6 (CR, LF and CR LF end a line).
#pragma once

#include <string>
#include <string_view>

namespace dualmesh::net {

class EventFramer {
 public:
  static constexpr std::size_t kLargestEvent = 256 * 1024;

  // What may pass on now; good until the next call.
  std::string_view feed(std::string_view piece);
  // What waits for the end of its event.
  std::string_view rest() const { return held_; }
  // All that has passed are whole events.
  bool between_events() const { return !inside_; }

 private:
  std::string held_;
  std::string passed_;
  bool inside_ = false;
};

}  // namespace dualmesh::net
