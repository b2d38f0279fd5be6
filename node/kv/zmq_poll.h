// ZmqPoll: waits until one of many sockets may have something, or somebody wakes it.
//
// Invariant: a descriptor is removed before its socket closes.
// Threads: one, but for wake(). Source: epoll(7), eventfd(2).
#pragma once

#include <vector>

#include "policies/time.h"

namespace dualmesh::node {

class ZmqPoll {
 public:
  ZmqPoll();
  ~ZmqPoll();
  ZmqPoll(const ZmqPoll&) = delete;
  ZmqPoll& operator=(const ZmqPoll&) = delete;

  void add(int descriptor, void* owner);
  void remove(int descriptor);
  // The owners to look after; empty: time-out or woken.
  const std::vector<void*>& wait(policies::Duration at_most);
  void wake();  // from any thread

 private:
  int epoll_;
  int wake_;
  std::vector<void*> owners_;
};

}  // namespace dualmesh::node
