// What one decision costs: 64 instances, prompts of 128 blocks, every queue full.
//
//   bench_scheduler [--benchmark_format=json]
//
//   decision/<policy>/<queue>  submit under steady load: each iteration one request arrives (timed)
//                              and one gets its first token and ends (timed apart, as `completion`)
//   look_up                    longest prefix over 64 instances, before the scheduler is entered
//   chain                      hashing a prompt of 128 blocks
//
// p50 and p99 are over the single decisions, in nanoseconds. Aim: p99 of dualmap <= 20 us.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <random>

#include "policies/residency_index.h"
#include "policies/scheduler.h"
#include "tests/policies/fleet_builder.h"

namespace dualmesh::policies {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kInstances = 64;
constexpr std::size_t kBlocks = 128;

class Percentiles {
 public:
  void add(Clock::duration d) {
    ns_.push_back(std::chrono::duration<double, std::nano>(d).count());
  }
  double at(double share) {
    const auto place = ns_.begin() + static_cast<std::ptrdiff_t>(share * (ns_.size() - 1));
    std::nth_element(ns_.begin(), place, ns_.end());
    return *place;
  }

 private:
  std::vector<double> ns_;
};

// Requests of many sessions that share their first block; a session holds 0 to 128 blocks
// somewhere.
class Traffic {
 public:
  Arrival next() {
    Arrival arrival;
    arrival.id = ++last_id_;
    arrival.model = "meta-llama/Llama-3.1-8B-Instruct";
    std::vector<std::uint64_t> blocks(kBlocks);
    const std::uint64_t session = random_() % 5'000;
    for (std::size_t i = 1; i < kBlocks; ++i) blocks[i] = session * 1'000 + i;
    arrival.chain = chain_of(blocks);
    arrival.input_tokens = kBlocks * 512;
    arrival.client = 1 + session;
    arrival.system_key = 1 + session % 50;
    arrival.hit_tokens.resize(kInstances);
    for (std::uint32_t& hit : arrival.hit_tokens) hit = (1 + random_() % kBlocks) * 512;
    return arrival;
  }

 private:
  std::mt19937 random_{1};
  RequestId last_id_ = 0;
};

void decision(benchmark::State& state, const std::string& policy, std::size_t queue_length) {
  FleetBuilder builder(kInstances, "meta-llama/Llama-3.1-8B-Instruct");
  builder.view.settings.policy = policy;
  SchedulerSettings settings;
  settings.learn_prefill_cost = false;
  Scheduler scheduler(settings);
  Effects effects;
  Time now{};
  scheduler.set_view(builder.build(), now, effects);

  Traffic traffic;
  std::deque<RequestId> running;
  const auto follow = [&] {
    for (const auto& dispatch : effects.dispatched) running.push_back(dispatch.id);
    effects.clear();
  };
  while (scheduler.live_requests() < kInstances * queue_length) {
    scheduler.submit(traffic.next(), now, effects);
    follow();
  }
  Percentiles decisions, completions;
  for (auto _ : state) {
    state.PauseTiming();
    now += std::chrono::milliseconds(1);
    Arrival arrival = traffic.next();
    const RequestId done = running.front();
    running.pop_front();
    state.ResumeTiming();

    const auto start = Clock::now();
    scheduler.submit(std::move(arrival), now, effects);
    const auto placed = Clock::now();
    scheduler.first_token(done, now, effects);
    scheduler.finished(done, {}, now, effects);
    const auto ended = Clock::now();
    decisions.add(placed - start);
    completions.add(ended - placed);
    follow();
  }
  state.counters["p50_ns"] = decisions.at(0.5);
  state.counters["p99_ns"] = decisions.at(0.99);
  state.counters["completion_p50_ns"] = completions.at(0.5);
  state.counters["completion_p99_ns"] = completions.at(0.99);
  state.counters["live"] = static_cast<double>(scheduler.live_requests());
  state.counters["migrations"] = static_cast<double>(scheduler.totals().migrations);
}

void look_up(benchmark::State& state) {
  ResidencyIndex index({});
  Traffic traffic;
  std::mt19937 random(2);
  for (std::size_t i = 0; i < 5'000; ++i) {
    index.touch(static_cast<Slot>(random() % kInstances), traffic.next().chain.blocks, Time{});
  }
  Percentiles times;
  std::vector<std::uint32_t> hits;
  for (auto _ : state) {
    state.PauseTiming();
    const Arrival arrival = traffic.next();
    state.ResumeTiming();
    const auto start = Clock::now();
    index.longest_prefix(arrival.chain.blocks, hits);
    times.add(Clock::now() - start);
    benchmark::DoNotOptimize(hits.data());
  }
  state.counters["p50_ns"] = times.at(0.5);
  state.counters["p99_ns"] = times.at(0.99);
  state.counters["placements"] = static_cast<double>(index.size());
}

void chain(benchmark::State& state) {
  const std::string text(kBlocks * ChainParameters{}.block_bytes, 'x');
  for (auto _ : state) {
    PromptChainBuilder builder(ChainParameters{});
    builder.update(text);
    benchmark::DoNotOptimize(builder.finish("m").whole);
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * text.size()));
}

BENCHMARK(look_up)->Iterations(20'000);
BENCHMARK(chain);

void add_decision(const std::string& policy, const std::string& queue, std::size_t queue_length) {
  benchmark::RegisterBenchmark(("decision/" + policy + "/" + queue).c_str(), decision, policy,
                               queue_length)
      ->Iterations(20'000);
}

}  // namespace

// Those that dispatch at once have as many under way as the others have waiting.
void add_decisions() {
  add_decision("dualmap", "idle", 1);
  add_decision("dualmap", "queue_16", 16);
  for (const std::string& policy : policy_names()) add_decision(policy, "queue_64", 64);
}

}  // namespace dualmesh::policies

int main(int argc, char** argv) {
  dualmesh::policies::add_decisions();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
}
