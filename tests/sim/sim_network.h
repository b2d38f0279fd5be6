// SimNetwork: byte streams between named endpoints, in virtual time, with scripted faults.
//
// A stream is two pipes. Bytes written arrive in order after the delay of the link. A link can be
// cut in silence, as by a dead switch: bytes in flight and new dials wait, and go on when it is
// healed. An endpoint can go down, as by kill -9: its streams break at once and dials to it are
// refused.
//
// Threads: kj; one thread. Every random choice comes from the seed.
#pragma once

#include <kj/async-io.h>
#include <kj/timer.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "net/mesh_link.h"

namespace dualmesh::sim {

struct SimDelay {
  double min_ms = 0.1;
  double max_ms = 1.0;
};

class SimPipe;

class SimNetwork final : private kj::TaskSet::ErrorHandler {
 public:
  using Accept = std::function<void(kj::Own<kj::AsyncIoStream>)>;

  SimNetwork(kj::Timer& timer, std::uint64_t seed) : timer_(timer), random_(seed), tasks_(*this) {}

  // Opens the listener of an endpoint; `address` is what others dial.
  void listen(const std::string& address, Accept accept);
  void down(const std::string& address);
  std::unique_ptr<net::Dialer> dialer_of(const std::string& address);

  void set_delay(SimDelay delay) { delay_ = delay; }
  void set_cut(const std::string& a, const std::string& b, bool cut);
  void heal_all();
  std::uint64_t bytes_carried() const { return bytes_carried_; }

 private:
  friend class SimPipe;
  class EndpointDialer;

  kj::Promise<kj::Own<kj::AsyncIoStream>> dial(std::string from, std::string to);
  bool is_cut(const std::string& a, const std::string& b) const;
  kj::Duration draw_delay();
  void resume();
  void taskFailed(kj::Exception&& exception) override;

  struct WaitingDial {
    std::string from;
    std::string to;
    kj::Own<kj::PromiseFulfiller<void>> go;
  };

  kj::Timer& timer_;
  std::mt19937_64 random_;
  SimDelay delay_;
  std::map<std::string, Accept> listeners_;
  std::set<std::pair<std::string, std::string>> cuts_;
  std::vector<std::weak_ptr<SimPipe>> pipes_;
  std::vector<WaitingDial> waiting_dials_;
  std::uint64_t bytes_carried_ = 0;
  kj::TaskSet tasks_;
};

}  // namespace dualmesh::sim
