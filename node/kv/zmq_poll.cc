#include "node/kv/zmq_poll.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "net/error.h"

namespace dualmesh::node {

ZmqPoll::ZmqPoll()
    : epoll_(epoll_create1(EPOLL_CLOEXEC)), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  DUALMESH_CHECK(epoll_ >= 0 && wake_ >= 0, "errno={}", errno);
  add(wake_, nullptr);
}

ZmqPoll::~ZmqPoll() {
  ::close(wake_);
  ::close(epoll_);
}

void ZmqPoll::add(int descriptor, void* owner) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = owner;
  const int result = epoll_ctl(epoll_, EPOLL_CTL_ADD, descriptor, &event);
  DUALMESH_CHECK(result == 0, "descriptor={} errno={}", descriptor, errno);
}

void ZmqPoll::remove(int descriptor) { epoll_ctl(epoll_, EPOLL_CTL_DEL, descriptor, nullptr); }

const std::vector<void*>& ZmqPoll::wait(policies::Duration at_most) {
  constexpr auto kLongest = std::chrono::milliseconds(60'000);
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(
      std::clamp<policies::Duration>(at_most, policies::Duration{0}, kLongest));
  std::array<epoll_event, 256> events;
  const int count = epoll_wait(epoll_, events.data(), events.size(), static_cast<int>(ms.count()));
  owners_.clear();
  for (int i = 0; i < count; ++i) {
    void* const owner = events[i].data.ptr;  // a copy: epoll_event is packed
    if (owner != nullptr) {
      owners_.push_back(owner);
      continue;
    }
    std::uint64_t woken;
    while (::read(wake_, &woken, sizeof woken) > 0) {
    }
  }
  return owners_;
}

void ZmqPoll::wake() {
  const std::uint64_t one = 1;
  // Fails only when it is already set.
  [[maybe_unused]] const auto written = ::write(wake_, &one, sizeof one);
}

}  // namespace dualmesh::node
