#include "node/simulator/simulation.h"

#include <fmt/format.h>

#include <algorithm>

namespace dualmesh::node {

using policies::Duration;
using policies::Slot;
using policies::Time;
using policies::to_seconds;

namespace {

constexpr Duration kTick = std::chrono::milliseconds(100);
constexpr std::size_t kProgressEvery = 256;
constexpr const char* kModel = "model";

// splitmix64: block ids are small numbers; keys must be spread.
policies::BlockKey key_of(std::uint64_t block) {
  std::uint64_t z = block + 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

// Of each whole block of the prompt.
std::vector<policies::BlockKey> keys_of(const ReplayRequest& request) {
  std::vector<policies::BlockKey> keys(request.input_tokens / kBlockTokens);
  std::transform(request.blocks.begin(), request.blocks.begin() + std::ssize(keys), keys.begin(),
                 key_of);
  return keys;
}

EngineParameters at_speed(EngineParameters parameters, double speed) {
  const auto scale = [speed](Duration d) {
    return Duration(static_cast<Duration::rep>(static_cast<double>(d.count()) / speed));
  };
  parameters.min_iteration = scale(parameters.min_iteration);
  parameters.prefill_per_token = scale(parameters.prefill_per_token);
  parameters.decode_per_sequence = scale(parameters.decode_per_sequence);
  return parameters;
}

}  // namespace

Simulation::Simulation(const SimulationSettings& settings, const Workload& workload)
    : settings_(settings),
      workload_(workload),
      random_(settings.seed),
      cache_events_(settings.kv_delay),
      audit_(settings.instances, workload.requests.size()) {
  SimRouterSettings router;
  router.scheduler = settings_.scheduler;
  router.scheduler.block_tokens = kBlockTokens;
  const std::uint64_t assumed_tokens = settings_.assumed_cache_tokens > 0
                                           ? settings_.assumed_cache_tokens
                                           : settings_.engine.cache_tokens;
  router.scheduler.instance_cache_tokens = assumed_tokens;
  router.scheduler.decision_log_size = 1;
  router.residency.capacity_blocks =
      static_cast<std::uint32_t>(assumed_tokens / settings_.engine.block_tokens);
  router.residency.time_to_live = settings_.placement_ttl;
  router.caches = settings_.caches;
  router.events = &cache_events_;
  for (std::size_t i = 0; i < settings_.instances; ++i) {
    const double speed =
        settings_.speeds.empty() ? 1.0 : settings_.speeds[i % settings_.speeds.size()];
    instances_.emplace_back(at_speed(settings_.engine, speed));
    router.instances.push_back({fmt::format("e{:03}-{}", i, settings_.seed),
                                fmt::format("10.0.0.{}:80", i + 1),
                                {kModel},
                                1.0});
  }
  if (settings_.caches == CacheSight::exact) {
    for (std::size_t i = 0; i < instances_.size(); ++i) {
      instances_[i].reporter =
          std::make_unique<Reporter>(cache_events_, events_, static_cast<Slot>(i));
      instances_[i].engine.observe_cache(instances_[i].reporter.get());
    }
  }
  for (std::size_t i = 0; i < settings_.routers; ++i) {
    routers_.push_back({std::make_unique<SimRouter>(router, i, random_())});
  }
  for (const Router& one : routers_) {
    for (const Router& other : routers_) {
      if (&one != &other) one.node->met(other.node->self().node, other.node->member());
    }
  }
  for (std::uint32_t i = 0; i < settings_.changes.size(); ++i) {
    const FleetChange& change = settings_.changes[i];
    events_.push(change.at, {What::change, i});
    if (change.what != FleetChange::What::joins) continue;
    for (const Router& one : routers_) one.node->absent(change.index);
  }
  for (const Router& one : routers_) {
    effects_.clear();
    one.node->refresh_view(Time{}, effects_);
  }
  for (std::uint32_t i = 0; i < routers_.size(); ++i) flush_soon(i);
  requests_.resize(workload_.requests.size());
  at_.assign(requests_.size(), policies::kNoSlot);
  handed_by_.assign(requests_.size(), SimRequest::kNobody);
}

SimulationOutcome Simulation::run(const Progress& progress) {
  if (!requests_.empty()) events_.push(workload_.requests[0].arrival, {What::arrival, 0});
  std::size_t told = 0;
  const auto in_vain = [this] {
    return ended_ < arrived_ && events_.now() - eventful_ > settings_.patience;
  };
  while (ended_ < requests_.size() && !in_vain()) {
    handle(events_.pop());
    if (progress && ended_ >= told + kProgressEvery) progress(told = ended_);
  }
  return outcome();
}

void Simulation::handle(const Event& event) {
  const Time now = events_.now();
  switch (event.what) {
    case What::arrival:
      return arrive(event.a);
    case What::reaches: {
      if (requests_[event.a].failed) return;
      if (!is_hidden(event.a) && !routers_[requests_[event.a].router].alive) return;
      at_[event.a] = static_cast<Slot>(event.b);
      if (!instances_[event.b].alive || is_cut_off(requests_[event.a].router, event.b)) {
        return broken(event.a);
      }
      const ReplayRequest& request = workload_.requests[event.a];
      EngineRequest wanted;
      wanted.id = event.a;
      wanted.prompt_tokens = request.input_tokens;
      wanted.output_tokens = request.output_tokens;
      wanted.blocks = keys_of(request);
      const bool taken = instances_[event.b].engine.enqueue(std::move(wanted));
      DUALMESH_CHECK(taken, "request {} fits no instance", event.a);
      return wake(event.b);
    }
    case What::iteration: {
      Instance& instance = instances_[event.a];
      instance.start_due = false;
      if (instance.engine.iterating()) return;
      const auto iteration = instance.engine.start_iteration(now);
      if (iteration) events_.push(iteration->end, {What::iteration_ends, event.a, instance.life});
      return;
    }
    case What::iteration_ends:
      if (event.b == instances_[event.a].life) end_iteration(event.a);
      return;
    case What::answered: {
      answer(answers_[event.a].emissions);
      answers_[event.a].emissions.clear();
      free_answers_.push_back(event.a);
      return;
    }
    case What::flush:
      return flush(event.a);
    case What::delivery:
      return deliver(event.a, event.b);
    case What::refresh: {
      Router& router = routers_[event.a];
      router.refresh_due = false;
      if (!router.alive) return;
      effects_.clear();
      router.node->refresh_view(now, effects_);
      return carry_out(event.a);
    }
    case What::call: {
      if (routers_[event.a].call_at != now) return;  // an earlier one has come in between
      routers_[event.a].call_at = policies::Effects::kNoCall;
      effects_.clear();
      routers_[event.a].node->scheduler().tick(now, effects_);
      return carry_out(event.a);
    }
    case What::tick:
      return tick();
    case What::change:
      return change(settings_.changes[event.a]);
    case What::probed:
      return probed(event.a, event.b == 1);
    case What::cut_seen:
      return probed_by(event.a, event.b, false);
    case What::died:
      return died(event.a);
    case What::handed:
      return receive_hop(event.a, event.b);
    case What::handed_back:
      return hand_back(event.a);
    case What::hop_answered:
      return hop_answered(event.a, event.b == 1);
  }
}

policies::Arrival Simulation::arrival_of(std::uint32_t number) const {
  const ReplayRequest& request = workload_.requests[number];
  policies::Arrival arrival;
  arrival.id = number;
  arrival.model = kModel;
  arrival.block_tokens = kBlockTokens;
  arrival.input_tokens = request.input_tokens;
  arrival.chain.blocks = keys_of(request);
  arrival.chain.whole = key_of(request.blocks.back());
  arrival.chain.bytes = std::uint64_t{request.input_tokens} * kBytesPerToken;
  // A workload knows no roles: what a prompt begins with stands for its system prompt.
  arrival.system_key = key_of(request.blocks.front());
  arrival.client = policies::client_key(request.user);
  return arrival;
}

void Simulation::arrive(std::uint32_t number) {
  if (number + 1 < requests_.size()) {
    events_.push(workload_.requests[number + 1].arrival, {What::arrival, number + 1});
  }
  if (!ticking_) tick();
  SimRequest& request = requests_[number];
  request.arrival_s = to_seconds(events_.now());
  eventful_ = events_.now();
  ++arrived_;
  request.input_tokens = workload_.requests[number].input_tokens;
  request.output_tokens = workload_.requests[number].output_tokens;
  if (settings_.hidden_share > 0 && std::bernoulli_distribution(settings_.hidden_share)(random_)) {
    return go_past_routers(number);
  }
  auto router = static_cast<std::uint32_t>(random_() % routers_.size());
  while (!routers_[router].alive) {
    router = static_cast<std::uint32_t>(random_() % routers_.size());
  }
  submit(number, router, false);
}

void Simulation::go_past_routers(std::uint32_t number) {
  SimRequest& request = requests_[number];
  request.router = SimRequest::kNobody;
  request.instance = static_cast<Slot>(random_() % instances_.size());
  events_.push(events_.now() + settings_.instance_delay,
               {What::reaches, number, request.instance});
}

void Simulation::submit(std::uint32_t number, std::uint32_t router, bool handed) {
  hear_events();
  requests_[number].router = static_cast<std::uint16_t>(router);
  policies::Arrival arrival = arrival_of(number);
  arrival.handed = handed;
  routers_[router].node->look_up(arrival, events_.now());
  effects_.clear();
  routers_[router].node->scheduler().submit(std::move(arrival), events_.now(), effects_);
  carry_out(router);
}

void Simulation::carry_out(std::uint32_t number) {
  Router& router = routers_[number];
  const Time now = events_.now();
  bool news = effects_.load_changed;
  if (!effects_.placed.empty()) hear_events();
  for (const auto& placed : effects_.placed) {
    router.node->placed(placed.slot, keys_of(workload_.requests[placed.id]), now);
    audit_.placed(placed.id, placed.slot, now);
    news = true;
  }
  for (const auto& dispatch : effects_.dispatched) {
    requests_[dispatch.id].instance = dispatch.slot;
    audit_.sent(dispatch.id, dispatch.slot, now);
    events_.push(now + settings_.instance_delay,
                 {What::reaches, static_cast<std::uint32_t>(dispatch.id), dispatch.slot});
  }
  if (effects_.call_at < router.call_at) {
    router.call_at = effects_.call_at;
    events_.push(effects_.call_at, {What::call, number});
  }
  hand_over(number);
  for (const auto& one : effects_.rejected) refuse(static_cast<std::uint32_t>(one.id));
  if (news) flush_soon(number);
}

void Simulation::wake(std::uint32_t number) {
  Instance& instance = instances_[number];
  if (instance.start_due || instance.engine.iterating()) return;
  instance.start_due = true;
  // Whatever else reaches it in this moment is part of the same iteration.
  events_.push(events_.now(), {What::iteration, number});
}

void Simulation::end_iteration(std::uint32_t number) {
  emissions_.clear();
  instances_[number].engine.finish_iteration(emissions_);
  std::erase_if(emissions_, [](const Emission& e) { return e.token != 0 && !e.finished; });
  if (!emissions_.empty()) {
    std::uint32_t slot = static_cast<std::uint32_t>(answers_.size());
    if (free_answers_.empty()) {
      answers_.emplace_back();
    } else {
      slot = free_answers_.back();
      free_answers_.pop_back();
    }
    answers_[slot] = {number, emissions_};
    events_.push(events_.now() + settings_.instance_delay, {What::answered, slot});
  }
  wake(number);
}

void Simulation::answer(const std::vector<Emission>& emissions) {
  const Time now = events_.now();
  for (const Emission& emission : emissions) {
    SimRequest& request = requests_[emission.id];
    if (is_hidden(static_cast<std::uint32_t>(emission.id))) {
      answer_hidden(emission);
      continue;
    }
    if (request.failed || !routers_[request.router].alive) continue;
    const auto id = static_cast<std::uint32_t>(emission.id);
    const std::uint32_t router = request.router;
    eventful_ = now;
    policies::Scheduler& scheduler = routers_[router].node->scheduler();
    if (emission.token == 0) {
      request.ttft_s = to_seconds(now + way_back(id)) - request.arrival_s;
      request.cached_tokens = emission.cached_tokens;
      audit_.served(request.instance, now);
      effects_.clear();
      scheduler.first_token(emission.id, now, effects_);
      carry_out(router);
      if (is_away(id)) events_.push(now + way_back(id), {What::hop_answered, id, 0});
    }
    if (emission.finished) {
      request.e2e_s = to_seconds(now + way_back(id)) - request.arrival_s;
      at_[emission.id] = policies::kNoSlot;
      if (!is_away(id)) ++ended_;
      effects_.clear();
      scheduler.finished(emission.id,
                         {request.input_tokens, request.cached_tokens, request.output_tokens}, now,
                         effects_);
      carry_out(router);
      if (is_away(id)) events_.push(now + way_back(id), {What::hop_answered, id, 1});
    }
  }
}

void Simulation::answer_hidden(const Emission& emission) {
  SimRequest& request = requests_[emission.id];
  const double since_s = to_seconds(events_.now()) - request.arrival_s;
  eventful_ = events_.now();
  if (emission.token == 0) {
    request.ttft_s = since_s;
    request.cached_tokens = emission.cached_tokens;
  }
  if (!emission.finished) return;
  request.e2e_s = since_s;
  at_[emission.id] = policies::kNoSlot;
  ++ended_;
}

void Simulation::tick() {
  const Time now = events_.now();
  const bool resumed = !ticking_;
  for (std::uint32_t i = 0; i < routers_.size(); ++i) {
    if (!routers_[i].alive) continue;
    effects_.clear();
    routers_[i].node->scheduler().tick(now, effects_);
    routers_[i].node->housekeep(now);
    carry_out(i);
  }
  // Nothing has to be looked after until somebody comes, which may be years.
  ticking_ = resumed || ended_ < arrived_;
  if (ticking_) events_.push((now / kTick + 1) * kTick, {What::tick});
}

SimulationOutcome Simulation::outcome() const {
  SimulationOutcome result;
  result.requests = requests_;
  // An answer that has begun and never ends is none.
  for (SimRequest& request : result.requests) {
    if (request.e2e_s == SimRequest::kNever) request.ttft_s = SimRequest::kNever;
  }
  for (const Instance& instance : instances_) {
    result.instances.push_back(instance.earlier);
    result.instances.back() += instance.engine.counters();
  }
  for (const Router& router : routers_) {
    result.migrations += router.node->scheduler().totals().migrations;
    result.handed += router.node->scheduler().totals().handed;
    if (router.alive) result.held_at_end += router.node->scheduler().live_requests();
  }
  result.idle_waiting_s = audit_.idle_s(events_.now());
  result.most_running = audit_.most_running();
  result.overshoots = audit_.overshoots();
  result.virtual_s = to_seconds(events_.now());
  return result;
}

}  // namespace dualmesh::node
