// One thread's sockets and deadlines over epoll(7), in microseconds of CLOCK_MONOTONIC.
//
// A handler lives as long as its loop: connections are opened again, not destroyed, so that what
// epoll still tells of a closed one is heard by somebody, who finds nothing to read. One thread.
#pragma once

#include <cstdint>
#include <queue>
#include <vector>

namespace dualmesh::bench {

std::int64_t now_us();

class EventLoop {
 public:
  class Handler {
   public:
    virtual ~Handler() = default;
    virtual void ready(std::uint32_t events) = 0;
    // The ticket tells a deadline that still holds from one that was overtaken.
    virtual void due(std::uint32_t /*ticket*/) {}
  };

  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Closing the socket ends it.
  void watch(int socket, std::uint32_t events, Handler& handler);
  void change(int socket, std::uint32_t events, Handler& handler);
  void at(std::int64_t time_us, Handler& handler, std::uint32_t ticket);

  // Waits for what comes first, at most until then, and tells the handlers.
  void turn(std::int64_t until_us);

 private:
  struct Deadline {
    std::int64_t time_us;
    Handler* handler;
    std::uint32_t ticket;
    bool operator<(const Deadline& other) const { return time_us > other.time_us; }
  };

  int epoll_;
  std::priority_queue<Deadline> deadlines_;
};

// Programs with thousands of sockets call it first: as many descriptors as the system lets us have.
void raise_file_limit();

}  // namespace dualmesh::bench
