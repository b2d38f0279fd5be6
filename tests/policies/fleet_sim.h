// A fleet in virtual time, as plain as it can be: instances that prefill one request after the
// other and keep blocks in an LRU cache; sessions of several turns that all begin with the same
// block; one or several routers, each a Scheduler with a ResidencyIndex, that tell each other their
// load, placements and depth marks every `share_every`.
//
// It knows nothing of iterations, chunks or decode interference: ranks and rough ratios are the
// point.
#pragma once

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <queue>
#include <random>
#include <unordered_map>
#include <vector>

#include "policies/hits.h"
#include "policies/residency_index.h"
#include "policies/scheduler.h"
#include "tests/policies/fleet_builder.h"

namespace dualmesh::policies {

struct FleetSimSettings {
  std::string policy = "dualmap";
  std::size_t instances = 8;
  std::size_t routers = 1;
  double sessions_per_s = 1.2;
  std::size_t turns = 6;
  double think_s = 20;
  std::size_t cache_blocks = 2'340;
  double s_per_token = 0.00016;
  double slo_s = 5;
  Duration until = std::chrono::seconds(600);
  Duration warm_up = std::chrono::seconds(120);
  Duration share_every = std::chrono::milliseconds(25);
  unsigned seed = 1;
};

struct FleetSimResult {
  std::size_t requests = 0;
  std::size_t unserved = 0;
  double hit_ratio = 0;        // tokens found in the instances' caches, of all input tokens
  double ideal_hit_ratio = 0;  // had every block ever computed stayed within reach
  double attainment = 0;       // first token within the SLO
  double load_cv = 0;          // of prefill seconds per instance
  std::uint64_t migrations = 0;
};

class FleetSim {
 public:
  explicit FleetSim(const FleetSimSettings& settings)
      : settings_(settings),
        random_(settings.seed),
        fleet_(settings.instances),
        instances_(settings.instances) {
    for (std::size_t i = 0; i < settings.routers; ++i) {
      SchedulerSettings scheduler;
      scheduler.seed = settings.seed * 100 + i + 1;
      scheduler.policy = settings.policy;
      routers_.push_back(std::make_unique<Router>(scheduler, settings_));
    }
    share();
  }

  FleetSimResult run() {
    at(next_gap(), [this] { new_session(); });
    at(Duration(0), [this] { every(settings_.share_every, [this] { share(); }); });
    at(Duration(0), [this] { every(std::chrono::milliseconds(100), [this] { tick(); }); });
    while (!events_.empty()) {
      now_ = events_.top().when;
      const auto what = events_.top().what;
      events_.pop();
      what();
    }
    return result();
  }

 private:
  using Action = std::function<void()>;
  struct Event {
    Time when;
    std::uint64_t number;  // events of one moment in the order they were made
    Action what;
    bool operator<(const Event& other) const {
      return when != other.when ? when > other.when : number > other.number;
    }
  };
  struct Router {
    Router(const SchedulerSettings& scheduler_settings, const FleetSimSettings& settings)
        : scheduler(scheduler_settings),
          index({static_cast<std::uint32_t>(settings.cache_blocks), std::chrono::minutes(10)}) {}
    Scheduler scheduler;
    ResidencyIndex index;
    std::map<Slot, Load> load;
    std::vector<std::pair<Slot, std::vector<BlockKey>>> news;
  };
  struct Request {
    PromptChain chain;
    std::uint32_t tokens = 0;
    Time arrived{};
    std::size_t router = 0;
    std::uint32_t cached = 0;
    Time first_token{-1};
  };
  struct Instance {
    std::list<BlockKey> by_use;  // newest first
    std::unordered_map<BlockKey, std::list<BlockKey>::iterator> cache;
    std::deque<RequestId> waiting;
    bool busy = false;
    double busy_s = 0;
  };

  void at(Duration in, Action what) { events_.push({now_ + in, ++event_number_, std::move(what)}); }
  void every(Duration period, Action what) {
    what();
    if (now_ < settings_.until || open_ > 0) {
      at(period, [this, period, what] { every(period, what); });
    }
  }
  Duration next_gap() {
    return from_seconds(std::exponential_distribution<>(settings_.sessions_per_s)(random_));
  }

  void new_session() {
    if (now_ >= settings_.until) return;
    next_turn({0}, ++last_session_, 0);
    at(next_gap(), [this] { new_session(); });
  }

  void next_turn(std::vector<std::uint64_t> blocks, std::uint64_t session, std::size_t turn) {
    if (turn == settings_.turns) return;
    for (std::size_t grown = 2 + random_() % 5; grown > 0; --grown) {
      blocks.push_back(session * 1'000 + blocks.size());
    }
    submit(blocks);
    const double think = std::exponential_distribution<>(1 / settings_.think_s)(random_);
    at(from_seconds(5 + think),
       [this, blocks, session, turn] { next_turn(blocks, session, turn + 1); });
  }

  void submit(const std::vector<std::uint64_t>& blocks) {
    const RequestId id = requests_.size();
    Arrival arrival = arrival_of(id, blocks);
    Request& request = requests_.emplace_back();
    request.chain = arrival.chain;
    request.tokens = arrival.input_tokens;
    request.arrived = now_;
    request.router = random_() % routers_.size();
    ++open_;
    Router& router = *routers_[request.router];
    router.index.longest_prefix(arrival.chain.blocks, arrival.hit_tokens);
    to_tokens(arrival.hit_tokens, kBlock);
    effects_.clear();
    router.scheduler.submit(std::move(arrival), now_, effects_);
    carry_out(router);
  }

  void carry_out(Router& router) {
    for (const auto& placed : effects_.placed) {
      const std::vector<BlockKey>& blocks = requests_[placed.id].chain.blocks;
      router.index.touch(placed.slot, blocks, now_);
      router.news.emplace_back(placed.slot, blocks);
    }
    for (const auto& dispatch : effects_.dispatched) {
      instances_[dispatch.slot].waiting.push_back(dispatch.id);
      prefill_next(dispatch.slot);
    }
  }

  void prefill_next(Slot slot) {
    Instance& instance = instances_[slot];
    if (instance.busy || instance.waiting.empty()) return;
    const RequestId id = instance.waiting.front();
    instance.waiting.pop_front();
    Request& request = requests_[id];
    std::uint32_t hit = 0;
    for (const BlockKey block : request.chain.blocks) {
      if (!instance.cache.contains(block)) break;
      ++hit;
    }
    request.cached = hit * 512;
    const double seconds =
        std::max((request.tokens - request.cached) * settings_.s_per_token, 0.025);
    instance.busy = true;
    instance.busy_s += seconds;
    at(from_seconds(seconds), [this, id, slot] { prefilled(id, slot); });
  }

  void prefilled(RequestId id, Slot slot) {
    Instance& instance = instances_[slot];
    Request& request = requests_[id];
    for (auto block = request.chain.blocks.rbegin(); block != request.chain.blocks.rend();
         ++block) {
      const auto held = instance.cache.find(*block);
      if (held != instance.cache.end()) instance.by_use.erase(held->second);
      instance.by_use.push_front(*block);
      instance.cache[*block] = instance.by_use.begin();
    }
    while (instance.cache.size() > settings_.cache_blocks) {
      instance.cache.erase(instance.by_use.back());
      instance.by_use.pop_back();
    }
    instance.busy = false;
    request.first_token = now_;
    prefill_next(slot);
    Router& router = *routers_[request.router];
    effects_.clear();
    router.scheduler.first_token(id, now_, effects_);
    carry_out(router);
    at(std::chrono::seconds(4), [this, id] {
      Router& owner = *routers_[requests_[id].router];
      effects_.clear();
      owner.scheduler.finished(id, {requests_[id].tokens, requests_[id].cached}, now_, effects_);
      carry_out(owner);
      --open_;
    });
  }

  void tick() {
    for (const auto& router : routers_) {
      effects_.clear();
      router->scheduler.tick(now_, effects_);
      carry_out(*router);
      router->index.expire(now_, 1'000);
    }
  }

  // What the mesh does: others' load into each view, others' placements into each index, depth
  // marks into one table of two time buckets.
  void share() {
    for (const auto& router : routers_) {
      std::vector<std::pair<Slot, Load>> changes;
      router->scheduler.take_load_changes(now_, changes);
      for (const auto& [slot, load] : changes) router->load[slot] = load;
      std::vector<DepthProposal> proposals;
      router->scheduler.take_depth_proposals(proposals);
      for (const DepthProposal& mark : proposals) marks_[mark.key] = {mark.deeper, now_};
      for (const auto& other : routers_) {
        if (other == router) continue;
        for (const auto& [slot, blocks] : router->news) other->index.touch(slot, blocks, now_);
      }
      router->news.clear();
    }
    auto shared = std::make_shared<DepthMarks>();
    std::erase_if(marks_, [&](const auto& mark) {
      return now_ - mark.second.second > std::chrono::seconds(120);
    });
    for (const auto& [key, mark] : marks_) shared->deeper[key] = mark.first;
    for (const auto& router : routers_) {
      for (InstanceView& instance : fleet_.view.instances) {
        instance.others = Load{};
        for (const auto& other : routers_) {
          if (other != router) instance.others += other->load[instance.slot];
        }
      }
      fleet_.view.depth = routers_.size() > 1 ? shared : nullptr;
      fleet_.view.settings.policy = settings_.policy;
      fleet_.view.settings.slo_ttft_s = settings_.slo_s;
      fleet_.view.live_nodes = static_cast<std::uint32_t>(routers_.size());
      effects_.clear();
      router->scheduler.set_view(view(), now_, effects_);
      carry_out(*router);
    }
  }

  // The rings never change here; only the loads are new.
  std::shared_ptr<const FleetView> view() {
    if (fleet_.view.models.empty()) return fleet_.build();
    ++fleet_.view.generation;
    return std::make_shared<const FleetView>(fleet_.view);
  }

  FleetSimResult result() {
    FleetSimResult result;
    std::uint64_t input = 0, cached = 0, ideal = 0;
    std::size_t within = 0;
    boost::unordered_flat_map<BlockKey, bool> ever;
    for (const Request& request : requests_) {
      std::uint32_t seen = 0;
      while (seen < request.chain.blocks.size() && ever.contains(request.chain.blocks[seen]))
        ++seen;
      for (const BlockKey block : request.chain.blocks) ever[block] = true;
      if (request.arrived < settings_.warm_up) continue;
      ++result.requests;
      input += request.tokens;
      cached += request.cached;
      ideal += seen * 512;
      if (request.first_token < Time(0)) {
        ++result.unserved;
      } else if (to_seconds(request.first_token - request.arrived) <= settings_.slo_s) {
        ++within;
      }
    }
    const auto share = [](auto part, auto whole) {
      return static_cast<double>(part) / static_cast<double>(whole);
    };
    result.hit_ratio = share(cached, input);
    result.ideal_hit_ratio = share(ideal, input);
    result.attainment = share(within, result.requests);
    double mean = 0, square = 0;
    for (const Instance& instance : instances_) mean += instance.busy_s / instances_.size();
    for (const Instance& instance : instances_) {
      square += (instance.busy_s - mean) * (instance.busy_s - mean) / instances_.size();
    }
    result.load_cv = std::sqrt(square) / mean;
    for (const auto& router : routers_) {
      result.migrations += router->scheduler.totals().migrations;
      result.unserved += router->scheduler.live_requests();
      for (const QueueSnapshot& queue : router->scheduler.queues()) {
        result.unserved += queue.own.requests();
      }
    }
    return result;
  }

  FleetSimSettings settings_;
  std::mt19937 random_;
  FleetBuilder fleet_;
  std::vector<Instance> instances_;
  std::vector<std::unique_ptr<Router>> routers_;
  std::deque<Request> requests_;
  std::map<BlockKey, std::pair<std::uint32_t, Time>> marks_;
  std::priority_queue<Event> events_;
  std::uint64_t event_number_ = 0;
  std::uint64_t last_session_ = 0;
  std::size_t open_ = 0;
  Time now_{};
  Effects effects_;
};

}  // namespace dualmesh::policies
