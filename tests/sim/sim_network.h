// SimNetwork: byte streams between named endpoints, in virtual time, with scripted faults.
//
// Each direction between two endpoints has its own delay, loss, rate and cut. A cut is silent, as
// by a dead switch: bytes in flight and new dials wait for retransmissions. An endpoint can end as
// by kill -9 (its kernel closes its connections), vanish as by a power cut (nobody is told), or be
// paused (its kernel goes on, its program does not).
//
// Threads: kj; one thread. Every random choice comes from the seed.
#pragma once

#include <kj/async-io.h>

#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "net/mesh_link.h"
#include "tests/sim/sim_events.h"

namespace dualmesh::sim {

inline constexpr kj::Duration kRetransmitAfter = 200 * kj::MILLISECONDS;
inline constexpr kj::Duration kRedialAfter = 1 * kj::SECONDS;  // of a SYN; doubles like the other
inline constexpr int kLossesUntilReset = 5;
inline constexpr kj::Duration kUserTimeout = 25 * kj::SECONDS;  // as the program sets it

struct SimDelay {
  double min_ms = 0.1;
  double max_ms = 1.0;
};

struct SimDirection {
  SimDelay delay;
  double loss = 0.0;          // of each segment
  double bytes_per_ms = 0.0;  // 0: no limit
  bool cut = false;
  bool dials_cut = false;  // connections that exist go on
  kj::TimePoint line_free = kj::origin<kj::TimePoint>();
};

class SimPipe;

class SimNetwork {
 public:
  using Accept = std::function<void(kj::Own<kj::AsyncIoStream>)>;

  SimNetwork(SimEvents& events, std::uint64_t seed) : events_(events), random_(seed) {}

  // Opens the listener of an endpoint; `address` is what others dial.
  void listen(const std::string& address, Accept accept);
  void down(const std::string& address);    // as by kill -9
  void vanish(const std::string& address);  // as by a power cut
  void set_paused(const std::string& address, bool paused);
  std::unique_ptr<net::Dialer> dialer_of(const std::string& address);

  void set_delay(SimDelay delay);  // of all directions, future ones too
  void set_loss(double loss);
  SimDirection& direction(const std::string& from, const std::string& to);
  void set_cut(const std::string& a, const std::string& b, bool cut);  // both directions
  void set_cut_one_way(const std::string& from, const std::string& to, bool cut);
  void reset_links(const std::string& a, const std::string& b);
  void heal_all();  // cuts of every kind, loss and rates

  std::uint64_t bytes_carried() const { return bytes_carried_; }
  std::uint64_t bytes_between(const std::string& from, const std::string& to) const;
  std::uint64_t segments_lost() const { return segments_lost_; }
  std::uint64_t resets_by_loss() const { return resets_by_loss_; }
  std::size_t largest_backlog() const { return largest_backlog_; }

  // For the pipes.
  SimEvents& events() { return events_; }
  kj::TimePoint now() const { return events_.now(); }
  bool is_cut(std::size_t from, std::size_t to) const { return table_[from][to].cut; }
  bool is_paused(std::size_t endpoint) const { return endpoints_[endpoint].paused; }
  // Until a piece of that size has arrived; nothing when it is lost again and again.
  kj::Maybe<kj::Duration> draw_transit(std::size_t from, std::size_t to, std::size_t bytes);
  void note_carried(std::size_t from, std::size_t to, std::size_t bytes);
  void note_backlog(std::size_t bytes) { largest_backlog_ = std::max(largest_backlog_, bytes); }

 private:
  class EndpointDialer;
  struct Endpoint {
    std::string address;
    Accept accept;  // empty: nobody listens
    bool vanished = false;
    bool paused = false;
    std::vector<kj::Own<kj::AsyncIoStream>> backlog;  // connected while it was paused
  };
  struct Dial {
    std::size_t from;
    std::size_t to;
    kj::Duration wait;
    kj::Own<kj::PromiseFulfiller<kj::Own<kj::AsyncIoStream>>> done;
  };

  std::size_t endpoint(const std::string& address);
  void try_dial(std::shared_ptr<Dial> dial);
  void connect(std::shared_ptr<Dial> dial);
  bool dial_passes(const Dial& dial);
  bool lost(double chance);
  kj::Duration draw_delay(const SimDirection& way);
  void resume_pipes();
  template <class Do>
  void for_pipes_of(std::size_t endpoint, Do&& what);

  SimEvents& events_;
  std::mt19937_64 random_;
  SimDelay delay_;
  double loss_ = 0.0;
  std::map<std::string, std::size_t> numbers_;
  std::vector<Endpoint> endpoints_;
  std::vector<std::vector<SimDirection>> table_;     // [from][to]
  std::vector<std::vector<std::uint64_t>> carried_;  // bytes, likewise
  std::vector<std::weak_ptr<SimPipe>> pipes_;
  std::uint64_t bytes_carried_ = 0;
  std::uint64_t segments_lost_ = 0;
  std::uint64_t resets_by_loss_ = 0;
  std::size_t largest_backlog_ = 0;
};

}  // namespace dualmesh::sim
