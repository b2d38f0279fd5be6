// Simulation: a workload, routers and inference instances in virtual time, in one thread.
//
// Each request goes to a uniformly random router (DNS). Routers are the node's own scheduler, index
// and replicated state (sim_router.h); instances are the engine model of dualmesh-engine
// (node/engine/engine_model.h). What one router tells the others arrives `view_delay` later, what
// it tells of caches `kv_delay` later, as do the engines' own events of caches; a request and each
// word of its answer travel `instance_delay`, and once more between two routers when one hands a
// request to the other.
//
// Invariant: a run is a pure function of its inputs: the same seed gives the same run. Every
// request of the workload has a result; one without an answer has infinite times.
// Threads: none. Source: the layout of the DualMap experiments (arXiv 2602.06502, section 5).
#pragma once

#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "node/engine/engine_model.h"
#include "node/replay/workload.h"
#include "node/simulator/event_queue.h"
#include "node/simulator/fleet_change.h"
#include "node/simulator/sim_router.h"
#include "node/simulator/turn_audit.h"

namespace dualmesh::node {

struct SimulationSettings {
  std::size_t instances = 8;
  std::size_t routers = 1;
  EngineParameters engine;
  std::vector<double> speeds;  // instance i computes speeds[i % size] times as fast; empty: 1
  policies::Duration view_delay{};
  policies::Duration kv_delay{};
  policies::Duration instance_delay{};
  std::vector<FleetChange> changes;  // as check_changes allows
  policies::SchedulerSettings scheduler;
  CacheSight caches = CacheSight::predicted;
  policies::Duration placement_ttl = std::chrono::minutes(10);
  double hidden_share = 0;  // of the requests, which go past the routers, to any instance
  std::uint64_t assumed_cache_tokens = 0;  // of an instance, as the routers think; 0: as it is
  // The run ends when somebody waits and for so long nobody came or got an answer: they wait in
  // vain.
  policies::Duration patience = std::chrono::hours(1);
  std::uint64_t seed = 1;  // routers of requests, ties, and names of instances, thus the rings
};

struct SimRequest {
  static constexpr std::uint16_t kNobody = 0xffff;
  static constexpr double kNever = std::numeric_limits<double>::infinity();
  double arrival_s = 0;
  double ttft_s = kNever;
  double e2e_s = kNever;
  std::uint32_t input_tokens = 0;
  std::uint32_t output_tokens = 0;
  std::uint32_t cached_tokens = 0;  // as the instance found them
  policies::Slot instance = policies::kNoSlot;
  std::uint16_t router = 0;  // kNobody: it went past them
  bool rejected = false;
  bool failed = false;  // an instance or router was lost with it
};

struct SimulationOutcome {
  std::vector<SimRequest> requests;       // in the order of the workload
  std::vector<EngineCounters> instances;  // of the whole run
  std::uint64_t migrations = 0;
  std::uint64_t handed = 0;        // from one router to another
  double idle_waiting_s = 0;       // the longest that an instance idled while work waited for it
  std::uint32_t most_running = 0;  // without a first token at one instance
  std::uint64_t overshoots = 0;    // requests sent while two or more were
  std::uint64_t held_at_end = 0;   // by the schedulers: 0, or something leaks
  double virtual_s = 0;
};

class Simulation {
 public:
  // `workload` must outlive it.
  Simulation(const SimulationSettings& settings, const Workload& workload);

  // Runs to the end: every request has its answer, or never gets one. `progress` hears the number
  // of requests that have ended now and then.
  using Progress = std::function<void(std::size_t ended)>;
  SimulationOutcome run(const Progress& progress = {});

 private:
  enum class What : std::uint8_t {
    arrival,         // of request a
    reaches,         // request a reaches instance b
    iteration,       // of instance a: begins if there is work
    iteration_ends,  // of instance a
    answered,        // the emissions of iteration a reach their routers
    flush,           // router a tells what is new
    delivery,        // delivery a reaches router b
    refresh,         // router a looks at what was delivered
    call,            // router a wanted to be called
    tick,
    change,        // number a of the settings
    probed,        // instance a, found healthy if b is 1
    cut_seen,      // router a finds instance b out of reach
    died,          // router a, as the others know now
    handed,        // request a reaches router b, to which another has handed it
    handed_back,   // request a is again with the router that had handed it over
    hop_answered,  // that router has the first word of request a or, if b is 1, the last
  };
  struct Event {
    What what;
    std::uint32_t a = 0;
    std::uint32_t b = 0;
  };
  // Turns what one instance's cache does into events.
  class Reporter final : public CacheObserver {
   public:
    Reporter(CacheEvents& events, const EventQueue<Event>& clock, policies::Slot slot)
        : events_(events), clock_(clock), slot_(slot) {}
    void stored(policies::BlockKey key) override { events_.stored(slot_, key, clock_.now()); }
    void evicted(policies::BlockKey key) override { events_.removed(slot_, key, clock_.now()); }
    void cleared() override { events_.cleared(slot_, clock_.now()); }

   private:
    CacheEvents& events_;
    const EventQueue<Event>& clock_;
    policies::Slot slot_;
  };
  struct Instance {
    explicit Instance(const EngineParameters& parameters) : engine(parameters) {}
    EngineModel engine;
    std::unique_ptr<Reporter> reporter;  // where caches are seen exactly
    EngineCounters earlier;              // of its lives before
    std::uint32_t life = 0;
    bool alive = true;
    bool start_due = false;
  };
  struct Router {
    std::unique_ptr<SimRouter> node;
    bool flush_due = false;
    bool refresh_due = false;
    bool alive = true;
    policies::Time call_at = policies::Effects::kNoCall;  // when it wants to be called
  };
  struct Answer {  // under way from an instance
    std::uint32_t instance = 0;
    std::vector<Emission> emissions;
  };
  struct Delivery {
    crdt::Origin sender;
    std::vector<net::StreamDelta> deltas;
    std::size_t receivers = 0;
  };

  void handle(const Event& event);
  void hear_events();
  void arrive(std::uint32_t request);
  void go_past_routers(std::uint32_t request);
  bool is_hidden(std::uint32_t request) const {
    return requests_[request].router == SimRequest::kNobody;
  }
  void submit(std::uint32_t request, std::uint32_t router, bool handed);
  policies::Arrival arrival_of(std::uint32_t request) const;
  void wake(std::uint32_t instance);
  void end_iteration(std::uint32_t instance);
  void answer(const std::vector<Emission>& emissions);
  void answer_hidden(const Emission& emission);
  void carry_out(std::uint32_t router);
  void flush(std::uint32_t router);
  void send(crdt::Origin sender, std::vector<net::StreamDelta> deltas, std::uint32_t from,
            policies::Duration delay);
  void deliver(std::uint32_t delivery, std::uint32_t router);
  void tick();
  void flush_soon(std::uint32_t router);
  void refresh_soon(std::uint32_t router);
  void change(const FleetChange& change);
  void announce(std::uint32_t instance, bool joins);
  void fail_instance(std::uint32_t instance);
  void broken(std::uint32_t request);
  void give_up(std::uint32_t request);
  void fail_router(std::uint32_t router);
  void cut_off(std::uint32_t router, std::uint32_t instance);
  bool is_cut_off(std::uint32_t router, std::uint32_t instance) const {
    return cut_.contains({router, instance});
  }
  void hand_over(std::uint32_t router);
  void receive_hop(std::uint32_t request, std::uint32_t router);
  void refuse(std::uint32_t request);
  void turn_back(std::uint32_t request);
  void hand_back(std::uint32_t request);
  void hop_answered(std::uint32_t request, bool last);
  void hop_failed(std::uint32_t request);
  void lose_hop(std::uint32_t request, std::uint32_t router);
  bool is_away(std::uint32_t request) const { return handed_by_[request] != SimRequest::kNobody; }
  policies::Duration way_back(std::uint32_t request) const {
    return is_away(request) ? settings_.instance_delay : policies::Duration{};
  }
  void probed(std::uint32_t instance, bool healthy);
  void probed_by(std::uint32_t router, std::uint32_t instance, bool healthy);
  void died(std::uint32_t router);
  SimulationOutcome outcome() const;

  const SimulationSettings settings_;
  const Workload& workload_;
  std::mt19937_64 random_;
  EventQueue<Event> events_;
  CacheEvents cache_events_;
  std::vector<Instance> instances_;
  std::vector<Router> routers_;
  std::vector<SimRequest> requests_;
  TurnAudit audit_;
  std::vector<policies::Slot> at_;        // where the engine has it, by request
  std::vector<std::uint16_t> handed_by_;  // the router that a client asked and another serves
  std::set<std::pair<std::uint32_t, std::uint32_t>> cut_;  // router and instance
  std::vector<Answer> answers_;                            // by number
  std::vector<std::uint32_t> free_answers_;
  std::vector<Delivery> deliveries_;
  std::vector<std::uint32_t> free_deliveries_;
  bool ticking_ = false;  // a tick is due
  std::size_t arrived_ = 0;
  std::size_t ended_ = 0;
  policies::Time eventful_{};  // when somebody came or had an answer last
  policies::Effects effects_;
  std::vector<Emission> emissions_;
};

}  // namespace dualmesh::node
