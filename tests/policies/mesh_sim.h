// Schedulers that share a fleet, in one virtual time: what each tells of its load reaches the
// others a fixed delay later, as a column that can vanish or stay as it was. Instances prefill one
// request after the other and have no cache of their own: what is cached is what an arrival says.
//
// Time goes in steps of a millisecond; nodes tell their load every ten, tick every hundred, and are
// called when they asked for it. The same calls give the same run.
#pragma once

#include <doctest/doctest.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "policies/scheduler.h"
#include "tests/policies/fleet_builder.h"

namespace dualmesh::policies {

class MeshSim {
 public:
  struct Request {
    std::size_t node = 0;
    Slot slot = kNoSlot;  // where it was placed last
    std::uint32_t input = 0;
    std::vector<std::uint32_t> hit_tokens;
    Time arrived{};
    Time first_token{-1};
    std::uint32_t moves = 0;
    bool lost = false;  // with its node
  };

  MeshSim(std::size_t nodes, std::size_t instances, const SchedulerSettings& settings,
          Duration delay)
      : settings_(settings), delay_(delay), builder_(instances), engines_(instances) {
    settings_.block_tokens = 1;
    builder_.view.settings.policy = settings.policy;
    builder_.view.settings.queue = settings.queue;
    builder_.view.settings.slo_ttft_s = settings.slo_ttft_s;
    builder_.view.live_nodes = static_cast<std::uint32_t>(nodes);
    builder_.build();
    for (std::size_t i = 0; i < nodes; ++i) {
      settings_.seed = i + 1;
      nodes_.push_back(std::make_unique<Node>(settings_));
      show(i);
    }
  }

  // Cached tokens by slot. All requests of one `key` have the same candidates.
  RequestId submit(std::size_t node, std::uint32_t input, std::vector<std::uint32_t> hits = {},
                   std::uint64_t key = 1) {
    const RequestId id = requests.size();
    Arrival arrival = arrival_of(id, {key});
    arrival.input_tokens = input;
    arrival.hit_tokens = hits;
    arrival.block_tokens = 1;
    requests.push_back({node, kNoSlot, input, std::move(hits), now, Time(-1), 0, false});
    call(node, [&](Scheduler& s, Effects& e) { s.submit(std::move(arrival), now, e); });
    return id;
  }

  void run(Duration span) {
    for (const Time end = now + span; now < end;) step();
  }

  // It works on, but nobody hears of it any more; its column stays as it was, or vanishes.
  void mute(std::size_t node, bool vanishes) {
    nodes_[node]->mute = true;
    if (!vanishes) return;
    nodes_[node]->column.clear();
    show_all();
  }
  // It stops, with all it has; what it sent off goes on there, unheard.
  void kill(std::size_t node, bool vanishes) {
    nodes_[node]->dead = true;
    for (Request& request : requests) {
      if (request.node == node && request.first_token < Time(0)) request.lost = true;
    }
    mute(node, vanishes);
  }
  // The instance begins nothing more for so long.
  void pause(Slot slot, Duration span) { engines_[slot].paused_until = now + span; }

  std::uint64_t pending_tokens(Slot slot) const {
    std::uint64_t tokens = 0;
    for (const auto& node : nodes_) tokens += node->scheduler.queues()[slot].own.pending_tokens();
    return tokens;
  }
  // Requests without a first token that the instance has, of all nodes.
  std::size_t sent(Slot slot) const {
    return engines_[slot].waiting.size() + (engines_[slot].busy ? 1 : 0);
  }
  bool waits_for(Slot slot) const {
    for (const auto& node : nodes_) {
      if (!node->dead && node->scheduler.queues()[slot].own.queued_requests > 0) return true;
    }
    return false;
  }
  double prefill_s_per_token(std::size_t node, Slot slot) const {
    return nodes_[node]->scheduler.queues()[slot].prefill_s_per_token;
  }
  std::size_t nodes() const { return nodes_.size(); }

  Time now = std::chrono::seconds(100);
  std::vector<Request> requests;
  std::vector<RequestId> served;            // by first token
  std::map<Slot, Duration> idle_with_work;  // the longest
  std::map<Slot, std::size_t> most_sent;
  std::function<void(Slot)> after_move = [](Slot) {};

 private:
  struct Told {
    Load load;
    Time heard{};
  };
  struct Node {
    explicit Node(const SchedulerSettings& settings) : scheduler(settings) {}
    Scheduler scheduler;
    Time call_at = Effects::kNoCall;
    std::map<Slot, Told> column;  // as the others know it
    bool mute = false;
    bool dead = false;
  };
  struct Engine {
    std::deque<RequestId> waiting;
    bool busy = false;
    RequestId running = 0;
    Time done{};
    Time paused_until{};
    Duration idle{};
  };
  struct Word {
    Time at;
    std::size_t node;
    std::vector<std::pair<Slot, Load>> loads;
  };

  template <class Entry>
  void call(std::size_t node, Entry&& entry) {
    Effects effects;
    entry(nodes_[node]->scheduler, effects);
    nodes_[node]->call_at = std::min(nodes_[node]->call_at, effects.call_at);
    for (const auto& dispatch : effects.dispatched) {
      engines_[dispatch.slot].waiting.push_back(dispatch.id);
      start(dispatch.slot);
      most_sent[dispatch.slot] = std::max(most_sent[dispatch.slot], sent(dispatch.slot));
    }
    CHECK(effects.rejected.empty());
    for (const auto& placed : effects.placed) {
      Request& request = requests[placed.id];
      const bool moved = request.slot != kNoSlot;
      request.slot = placed.slot;
      if (!moved) continue;
      ++request.moves;
      after_move(placed.slot);
    }
  }

  void start(Slot slot) {
    Engine& engine = engines_[slot];
    if (engine.busy || engine.waiting.empty() || now < engine.paused_until) return;
    engine.busy = true;
    engine.running = engine.waiting.front();
    engine.waiting.pop_front();
    const Request& request = requests[engine.running];
    const std::uint32_t hit = slot < request.hit_tokens.size() ? request.hit_tokens[slot] : 0;
    engine.done = now + from_seconds((request.input - hit) * s_per_token);
  }

  void step() {
    now += std::chrono::milliseconds(1);
    for (Slot slot = 0; slot < engines_.size(); ++slot) {
      Engine& engine = engines_[slot];
      while (engine.busy && engine.done <= now) {
        engine.busy = false;
        Request& request = requests[engine.running];
        const RequestId id = engine.running;
        start(slot);
        if (request.lost) continue;
        request.first_token = now;
        served.push_back(id);
        call(request.node, [&](Scheduler& s, Effects& e) { s.first_token(id, now, e); });
        call(request.node, [&](Scheduler& s, Effects& e) { s.finished(id, {}, now, e); });
      }
      start(slot);
    }
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      Node& node = *nodes_[i];
      const bool tick = now.count() % 100'000'000 == 0;
      if (node.dead || (!tick && node.call_at > now)) continue;
      node.call_at = Effects::kNoCall;
      call(i, [&](Scheduler& s, Effects& e) { s.tick(now, e); });
    }
    if (now.count() % 10'000'000 == 0) talk();
    hear();
    for (Slot slot = 0; slot < engines_.size(); ++slot) {
      Engine& engine = engines_[slot];
      const bool idles = !engine.busy && engine.waiting.empty() && waits_for(slot);
      engine.idle = idles ? engine.idle + std::chrono::milliseconds(1) : Duration{};
      idle_with_work[slot] = std::max(idle_with_work[slot], engine.idle);
    }
  }

  void talk() {
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      Word word{now + delay_, i, {}};
      if (nodes_[i]->dead) continue;
      nodes_[i]->scheduler.take_load_changes(now, word.loads);
      if (!nodes_[i]->mute && !word.loads.empty()) words_.push_back(std::move(word));
    }
  }

  void hear() {
    bool news = false;
    for (; !words_.empty() && words_.front().at <= now; words_.pop_front()) {
      Node& speaker = *nodes_[words_.front().node];
      if (speaker.mute) continue;
      for (const auto& [slot, load] : words_.front().loads) speaker.column[slot] = {load, now};
      news = true;
    }
    if (news) show_all();
  }

  void show_all() {
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      if (!nodes_[i]->dead) show(i);
    }
  }

  // As the node's builder of views does it.
  void show(std::size_t listener) {
    auto view = std::make_shared<FleetView>(builder_.view);
    view->generation = ++generation_;
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      if (i == listener) continue;
      for (const auto& [slot, told] : nodes_[i]->column) {
        InstanceView& instance = view->instances[slot];
        instance.others += told.load;
        if (told.load.queued_requests > 0) ++instance.others_queueing;
        if (told.load.prefilling_requests > 0) {
          instance.others_busy_until =
              std::max(instance.others_busy_until,
                       told.heard + std::chrono::milliseconds(told.load.prefill_left_ms));
        }
        for (const WaitingReport& one : told.load.waiting) {
          instance.others_waiting.push_back(
              {told.heard + std::chrono::milliseconds(one.slack_ms), one.tokens});
        }
      }
    }
    for (InstanceView& instance : view->instances) {
      std::sort(instance.others_waiting.begin(), instance.others_waiting.end(),
                [](const Waiting& a, const Waiting& b) { return a.due < b.due; });
    }
    call(listener, [&](Scheduler& s, Effects& e) { s.set_view(view, now, e); });
  }

 public:
  double s_per_token = 0.00016;

 private:
  SchedulerSettings settings_;
  Duration delay_;
  FleetBuilder builder_;
  std::vector<Engine> engines_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::deque<Word> words_;
  std::uint64_t generation_ = 0;
};

}  // namespace dualmesh::policies
