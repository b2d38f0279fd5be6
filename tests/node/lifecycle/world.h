// World: one node's request path with its clients and instances in hand, moved step by step.
//
// The node is the real one (TestRouter) over real sockets; its loop runs only inside quiet(), on
// the thread of the test, and its clock (test_clock.h) only in pass(). So the same steps give the
// same world, and nothing is waited for.
//
// Invariant: between steps the loop is quiet: what was sent has been read, and what follows from it
// has been done. Threads: one, which stands for that of the loop.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/net/loop_by_hand.h"
#include "tests/node/lifecycle/peers.h"
#include "tests/node/router_support.h"

namespace dualmesh::node::testing {

// What a world consists of.
struct Scene {
  enum class Ask : std::uint8_t { stream, whole, pass_through, get };

  std::string_view name;
  std::string_view policy = "dualmesh";
  std::vector<Ask> clients = {Ask::stream, Ask::whole};
  bool peer = false;    // another node reaches all instances
  bool events = false;  // instances publish events, are asked for tokens, and have two ranks each
  bool tight = false;   // the listener holds two requests, and little of their bodies
  double slo_ttft_s = 5.0;
  std::uint32_t line = 0;  // so many may wait; 0: any number
  bool trials = false;     // one failure ejects an instance, then it is tried with one request
};
const std::vector<Scene>& scenes();

struct TestClientPeer {
  Scene::Ask ask = Scene::Ask::stream;
  TestSocket socket;
  std::string request;
  std::size_t sent = 0;  // of the request; all of it: an answer is due
  std::string received;
  bool reads = true;
  std::uint32_t connects = 0;
  std::uint32_t answers = 0;

  bool is_idle() const { return !socket.is_open() || (sent == 0 && received.empty()); }
};

class World {
 public:
  static constexpr std::size_t kInstances = 2;
  static constexpr std::size_t kPeer = kInstances;  // its place among the upstreams

  explicit World(const Scene& scene);
  ~World();

  void quiet();
  void pass(std::chrono::nanoseconds by);
  bool is_healthy(policies::Slot slot) const;
  void set_healthy(policies::Slot slot, bool healthy);
  void set_lifecycle(policies::Slot slot, policies::Lifecycle lifecycle);
  // Of all upstreams, those of which a request waits for the rest of its answer, the oldest first.
  std::vector<std::pair<std::size_t, TestUpstream::Connection*>> due();

  // What is held though no client has asked for anything; empty: nothing.
  std::string held();
  // The same, connections, timers and all that ends with time; for after so long that everybody's
  // time is up. Closes the listener, so that nothing needs to be awaited any more.
  std::string held_for_ever();
  bool is_trial_under_way() const;
  bool everybody_is_idle() const;

  const Scene& scene;
  const std::string host;  // of its own, for all listeners
  std::vector<TestClientPeer> clients;
  std::array<TestUpstream, kInstances + 1> upstreams{TestUpstream(host), TestUpstream(host),
                                                     TestUpstream(host)};
  std::array<policies::Lifecycle, kInstances> lifecycle{};
  bool aborted = false, listening = true;
  std::uint32_t connects = 2;  // of one client, at most

 private:
  ViewPointer view() const;
  void publish_caches();
  bool look();
  // Parts of held().
  using Add = std::function<void(const std::string& what, std::uint64_t count)>;
  void add_of_scheduler(const Add& add) const;
  void add_of_flow(const Add& add);

  policies::BlockIndex index_{{1'000}};
  std::vector<std::weak_ptr<net::Exchange>> exchanges_;
  std::uint64_t last_number_ = 0;
  std::unique_ptr<TestRouter> router_;
  std::optional<net::testing::LoopByHand> loop_;

 public:
  TestRouter& router() { return *router_; }
  net::IoThread& thread() { return loop_->thread(); }
};

}  // namespace dualmesh::node::testing
