// SimCluster: whole mesh nodes in one thread under virtual time: the same seed gives the same run.
//
// Nodes are real MeshNodes speaking real Cap'n Proto RPC over a SimNetwork; nothing sleeps and
// nothing touches the operating system. The cluster advances the clock from event to event. Each
// node has a timer of its own, which stands still while the node is paused.
//
// Threads: one; at most one cluster at a time per thread (it owns the thread's kj event loop).
#pragma once

#include <kj/async.h>
#include <kj/timer.h>

#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "node/mesh/mesh_node.h"
#include "tests/node/fake_mesh_host.h"
#include "tests/sim/sim_network.h"

namespace dualmesh::sim {

struct SimNode {
  explicit SimNode(kj::TimerImpl& own_timer) : timer(own_timer) {}

  std::string address;
  node::MeshConfig config;
  std::int64_t clock_skew_ms = 0;                     // may be changed while it runs
  std::function<void(node::MeshNode&)> before_start;  // what its disk had
  // What it dials with, given the network's own: to look at what passes.
  std::function<std::unique_ptr<net::Dialer>(std::unique_ptr<net::Dialer>)> wrap_dialer;
  std::uint64_t lives = 0;
  bool paused = false;
  kj::TimerImpl& timer;
  node::FakeMeshHost host;
  node::KvPort* kv = nullptr;  // to be set before it starts
  std::unique_ptr<net::Dialer> dialer;
  std::unique_ptr<node::MeshNode> mesh;  // null while it is down

  bool up() const { return mesh != nullptr; }
  bool runs() const { return up() && !paused; }
};

class SimCluster {
 public:
  explicit SimCluster(std::uint64_t seed);
  ~SimCluster() noexcept(false);

  // Adds a node that is not yet running; every node knows the first two addresses as seeds.
  SimNode& add(const std::string& name);
  void add_many(std::size_t count);  // "n0", "n1", ...
  void start(std::size_t index);
  void start_all();
  void crash(std::size_t index);   // as by kill -9: its kernel closes its connections
  void vanish(std::size_t index);  // as by a power cut: nobody is told
  void pause(std::size_t index);   // as by SIGSTOP: neither timers nor I/O
  void resume(std::size_t index);
  // Between `left` and everybody else.
  void partition(const std::vector<std::size_t>& left);
  void heal() { network_.heal_all(); }

  void run_for(double milliseconds);
  // Called after each turn of the event loop; none: as fast as it goes.
  void watch_turns(std::function<void()> watch) { watch_ = std::move(watch); }
  // Virtual milliseconds until the condition held, looked at every `step_ms`; negative: it did not.
  double run_until(const std::function<bool()>& condition, double at_most_ms, double step_ms = 1.0);

  SimNode& node(std::size_t index) { return *nodes_[index]; }
  const SimNode& node(std::size_t index) const { return *nodes_[index]; }
  std::size_t size() const { return nodes_.size(); }
  SimNetwork& network() { return network_; }
  std::mt19937_64& random() { return random_; }
  double now_ms() const {
    return static_cast<double>((events_.now() - kj::origin<kj::TimePoint>()) / kj::MICROSECONDS) /
           1e3;
  }

  // All running nodes hold the same state and know each other alive.
  bool converged() const;
  bool all_ready() const;
  // A number over everything that happened so far: equal for equal runs.
  std::uint64_t trace() const { return trace_; }

  // One random change at a random running node: load, placement, depth, registry or policy.
  void change_something();

 private:
  kj::TimePoint next_event(kj::TimePoint end) const;
  void advance_to(kj::TimePoint time);
  void note_trace();
  void run_loop();

  std::mt19937_64 random_;
  std::deque<kj::TimerImpl> timers_;  // before the loop: calls that RPC let go of end with it
  kj::EventLoop loop_;
  kj::WaitScope scope_;
  SimEvents events_;
  SimNetwork network_;
  std::vector<std::unique_ptr<SimNode>> nodes_;
  std::uint64_t trace_ = 0;
  std::function<void()> watch_;
};

}  // namespace dualmesh::sim
