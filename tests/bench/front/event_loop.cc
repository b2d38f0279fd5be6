#include "tests/bench/front/event_loop.h"

#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

namespace dualmesh::bench {

std::int64_t now_us() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000 + now.tv_nsec / 1000;
}

EventLoop::EventLoop() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  if (epoll_ < 0) throw std::system_error(errno, std::generic_category(), "epoll_create1");
  prctl(PR_SET_TIMERSLACK, 1000);  // ns; the default of 50 us would be seen in every latency
}

EventLoop::~EventLoop() { close(epoll_); }

void EventLoop::watch(int socket, std::uint32_t events, Handler& handler) {
  epoll_event event{.events = events, .data = {.ptr = &handler}};
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, socket, &event) != 0) {
    throw std::system_error(errno, std::generic_category(), "epoll_ctl");
  }
}

void EventLoop::change(int socket, std::uint32_t events, Handler& handler) {
  epoll_event event{.events = events, .data = {.ptr = &handler}};
  epoll_ctl(epoll_, EPOLL_CTL_MOD, socket, &event);
}

void EventLoop::at(std::int64_t time_us, Handler& handler, std::uint32_t ticket) {
  deadlines_.push({time_us, &handler, ticket});
}

void EventLoop::turn(std::int64_t until_us) {
  if (!deadlines_.empty()) until_us = std::min(until_us, deadlines_.top().time_us);
  const std::int64_t wait_us = std::max<std::int64_t>(0, until_us - now_us());
  const timespec wait{.tv_sec = wait_us / 1'000'000, .tv_nsec = wait_us % 1'000'000 * 1000};
  std::array<epoll_event, 512> events;
  const int count = epoll_pwait2(epoll_, events.data(), events.size(), &wait, nullptr);
  if (count < 0 && errno != EINTR) {
    throw std::system_error(errno, std::generic_category(), "epoll_pwait2");
  }
  for (int i = 0; i < count; ++i) {
    static_cast<Handler*>(events[i].data.ptr)->ready(events[i].events);
  }
  const std::int64_t now = now_us();
  while (!deadlines_.empty() && deadlines_.top().time_us <= now) {
    const Deadline deadline = deadlines_.top();
    deadlines_.pop();
    deadline.handler->due(deadline.ticket);
  }
}

void raise_file_limit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace dualmesh::bench
