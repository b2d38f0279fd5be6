#include "node/replay/simulation_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <map>

#include "node/program/number_range.h"
#include "node/program/one_of.h"
#include "node/replay/generators.h"
#include "node/replay/trace.h"
#include "node/simulator/presets.h"
#include "policies/policy_registry.h"

namespace dualmesh::node {
namespace {

constexpr std::uint32_t kMaxRequests = 10'000'000;
constexpr std::size_t kMaxInstances = 250;
constexpr std::size_t kMaxRouters = 128;

const std::map<std::string, CacheSight> kResidencies{{"exact", CacheSight::exact},
                                                     {"predicted", CacheSight::predicted},
                                                     {"blind", CacheSight::blind}};

std::string preset_names() {
  std::string names;
  for (const Preset& preset : presets()) names += " " + std::string(preset.name);
  return names;
}

void add_workload_options(CLI::App& app, SimulationOptions& o) {
  app.add_option("--trace", o.trace, "a Mooncake or multi-tenant trace (JSON lines)");
  app.add_option("--generate", o.generate, "NAME[:KNOB=NUMBER,...], see below");
  app.add_option("--requests", o.selection.requests, "how many; 0 is all of the trace")
      ->check(CLI::Range(0u, kMaxRequests))
      ->capture_default_str();
  app.add_option("--warmup", o.warmup, "the first N are not counted (default: one in 16)")
      ->check(CLI::Range(0u, kMaxRequests));
  app.add_option("--warmup-qps", o.selection.warmup_qps, "their rate; 0: that of the others")
      ->check(number_in(0.0, 1e6))
      ->capture_default_str();
  app.add_option("--max-input", o.selection.max_input,
                 "requests of so many input tokens and more are left out; 0 keeps all")
      ->capture_default_str();
}

void add_residency_options(CLI::App& app, SimulationCommand command, SimulationOptions& o) {
  CLI::Option* residency =
      app.add_option("--residency", o.residencies,
                     "what routers know of caches: exact (the engines' events), predicted (what "
                     "was placed where) or blind (nothing)")
          ->check(one_of(kResidencies, false))
          ->default_str("predicted");
  if (command == SimulationCommand::compare) {
    residency->delimiter(',');
  } else {
    residency->expected(1);
  }
  app.add_option("--kv-delay-ms", o.kv_delay_ms,
                 "until others know of placements, and all of engines' events")
      ->check(number_in(0.0, 1e6));
  app.add_option("--placement-ttl-s", o.placement_ttl_s, "routers forget placements after it")
      ->check(number_in(1.0, 1e6))
      ->capture_default_str();
  app.add_option("--cache-blocks", o.cache_blocks, "of 512 tokens, of one instance")
      ->check(CLI::Range(1u, 1u << 24));
  app.add_option("--hidden-share", o.fleet.hidden_share,
                 "of the requests, which go past the routers to any instance")
      ->check(number_in(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--assumed-cache-blocks", o.assumed_cache_blocks,
                 "as many do the routers think it has (default: as it has)")
      ->check(CLI::Range(1u, 1u << 24));
}

void add_fleet_options(CLI::App& app, SimulationOptions& o) {
  app.add_option("--preset", o.preset, "engine constants:" + preset_names())->capture_default_str();
  app.add_option("--instances", o.instances)->check(CLI::Range(std::size_t{1}, kMaxInstances));
  app.add_option("--routers", o.fleet.routers)
      ->check(CLI::Range(std::size_t{1}, kMaxRouters))
      ->capture_default_str();
  app.add_option("--speeds", o.fleet.speeds, "of the instances in turn, 1 is the preset's")
      ->delimiter(',')
      ->check(number_in(0.01, 100.0));
  app.add_option("--change", o.changes,
                 "KIND:NUMBER@SECONDS[,...] after the first counted arrival; KIND is join, drain, "
                 "fail, return (instances) or fail-router; or cut:ROUTER-INSTANCE@SECONDS")
      ->delimiter(',');
  app.add_option("--rtt-ms", o.rtt_ms, "round trip between router and instance")
      ->check(number_in(0.0, 1e6));
  app.add_option("--view-delay-ms", o.view_delay_ms, "until others know of load")
      ->check(number_in(0.0, 1e6));
  app.add_option("--prefill-us-per-token", o.prefill_us_per_token)->check(number_in(0.1, 1e6));
  app.add_option("--min-iteration-ms", o.min_iteration_ms)->check(number_in(0.001, 1e5));
  app.add_option("--decode-us-per-sequence", o.decode_us_per_sequence)->check(number_in(0.0, 1e6));
  app.add_option("--token-budget", o.token_budget, "tokens of one iteration")
      ->check(CLI::Range(1u, 1u << 24));
  app.add_option("--max-running", o.max_running, "sequences of one instance")
      ->check(CLI::Range(1u, 1u << 20));
}

void add_search_options(CLI::App& app, SimulationOptions& o) {
  app.add_option("--min-attainment", o.search.min_attainment, "share of requests within the SLO")
      ->check(number_in(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--ttft-max-s", o.search.ttft_max_s, "nobody waits longer; 0: no bound")
      ->check(number_in(0.0, 1e6))
      ->capture_default_str();
  app.add_option("--min-qps", o.low_qps, "the search begins here")->check(number_in(0.02, 1e6));
  app.add_option("--max-qps", o.high_qps, "and here")->check(number_in(0.02, 1e6));
  app.add_option("--resolution-qps", o.search.resolution_qps)
      ->check(number_in(0.001, 100.0))
      ->capture_default_str();
}

// Constants of the preset, then what was named.
void settle_engine(SimulationOptions& o, const Preset& preset) {
  EngineParameters& engine = o.fleet.engine;
  engine = engine_of(preset);
  const auto set = [](const std::optional<double>& value, double unit_ns, auto& place) {
    if (value) place = policies::Duration(std::llround(*value * unit_ns));
  };
  set(o.prefill_us_per_token, 1e3, engine.prefill_per_token);
  set(o.min_iteration_ms, 1e6, engine.min_iteration);
  set(o.decode_us_per_sequence, 1e3, engine.decode_per_sequence);
  engine.token_budget = o.token_budget.value_or(engine.token_budget);
  engine.max_running = o.max_running.value_or(engine.max_running);
  if (o.cache_blocks) engine.cache_tokens = std::uint64_t{*o.cache_blocks} * kBlockTokens;
  o.fleet.instances = o.instances.value_or(preset.instances);
  o.fleet.instance_delay = policies::from_seconds(o.rtt_ms / 2 * 1e-3);
  o.fleet.view_delay = policies::from_seconds(o.view_delay_ms * 1e-3);
  o.fleet.kv_delay = policies::from_seconds(o.kv_delay_ms * 1e-3);
  o.fleet.assumed_cache_tokens = std::uint64_t{o.assumed_cache_blocks.value_or(0)} * kBlockTokens;
  o.fleet.placement_ttl = policies::from_seconds(o.placement_ttl_s);
  o.fleet.scheduler.prefill_s_per_token = policies::to_seconds(engine.prefill_per_token);
}

// What --help says at its end.
std::string footer() {
  std::string text = "\nGenerators and their knobs:\n";
  for (const std::string& name : generator_names()) {
    text += "  " + name + "\n";
    for (const policies::Parameter& knob : generator_parameters(name)) {
      text += fmt::format("    {}={:g}  {} ({:g} to {:g})\n", knob.name, knob.initial, knob.meaning,
                          knob.least, knob.most);
    }
  }
  text += "Presets and where their constants are from:\n";
  for (const Preset& preset : presets()) {
    text += fmt::format("  {}\n    {}\n", preset.name, preset.sources);
  }
  return text;
}

// In order of time, as a fleet could live them.
std::string settle_changes(SimulationOptions& o) {
  o.fleet.changes.clear();
  for (const std::string& text : o.changes) {
    const auto change = parse_change(text);
    if (change.has_error()) return change.error().message;
    o.fleet.changes.push_back(*change);
  }
  std::stable_sort(o.fleet.changes.begin(), o.fleet.changes.end(),
                   [](const FleetChange& a, const FleetChange& b) { return a.at < b.at; });
  return check_changes(o.fleet.changes, o.fleet.instances, o.fleet.routers);
}

}  // namespace

void add_simulation_options(CLI::App& app, SimulationCommand command, SimulationOptions& o) {
  add_workload_options(app, o);
  if (command == SimulationCommand::compare) {
    app.add_option("--policies", o.policies,
                   "POLICY[@ORDER],..., each as --policy of simulate; see policies/README.md")
        ->delimiter(',')
        ->required();
    app.add_option("--jobs", o.jobs, "policies that run at the same time")
        ->check(CLI::Range(1, 256))
        ->capture_default_str();
  } else {
    app.add_option("--policy", o.policy,
                   "NAME[:PARAMETER=NUMBER,...][@ORDER]; see policies/README.md")
        ->capture_default_str();
    app.add_option("--queue", o.queue,
                   "order of the routers' queues, where POLICY names none (default: its own)");
  }
  if (command != SimulationCommand::capacity) {
    app.add_option("--qps", o.selection.qps,
                   command == SimulationCommand::compare
                       ? "rate of arrivals; without it, each policy at its own capacity"
                       : "rate of arrivals; without it, as recorded or generated")
        ->check(number_in(0.001, 1e6));
  }
  add_fleet_options(app, o);
  add_residency_options(app, command, o);
  app.add_option("--slo-ttft", o.fleet.scheduler.slo_ttft_s, "seconds")
      ->check(number_in(0.001, 1e6))
      ->capture_default_str();
  app.add_option("--overload-wait-s", o.fleet.scheduler.overload_wait_s,
                 "a head that waited so long makes its instance overloaded")
      ->check(number_in(0.0, 1e6))
      ->capture_default_str();
  app.add_option("--client-weights", o.client_weights,
                 "NAME=WEIGHT,...; for the orders that share service out, who is not named has 1")
      ->delimiter(',');
  app.add_option("--prefill-limit", o.fleet.scheduler.prefill_limit,
                 "requests without a first token per instance and router")
      ->check(CLI::Range(1u, 1u << 20))
      ->capture_default_str();
  if (command != SimulationCommand::simulate) add_search_options(app, o);
  app.add_option("--seed", o.seed)->capture_default_str();
  app.add_option("--seeds", o.seeds, "average of so many, from --seed on")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--json", o.json_file, "one JSON object, to the file or to standard output")
      ->expected(0, 1);
  app.add_option("--csv", o.csv_file, "a row of figures per policy and seed");
  app.add_option("--plot", o.plot_dir, "directory for figures (SVG)");
  app.footer(footer);
}

std::string settle(SimulationOptions& o, SimulationCommand command) {
  if (o.trace.empty() == o.generate.empty()) {
    return fmt::format("either --trace FILE or --generate NAME is required; generators: {}",
                       fmt::join(generator_names(), " "));
  }
  if (!o.generate.empty()) {
    if (const std::string problem = check_generator(o.generate); !problem.empty()) {
      return "--generate: " + problem;
    }
    if (o.selection.requests == 0) return "--requests: a generator makes 1 or more";
  }
  const Preset* preset = find_preset(o.preset);
  if (preset == nullptr) {
    return fmt::format("--preset: there is no '{}'; allowed:{}", o.preset, preset_names());
  }
  settle_engine(o, *preset);
  if (o.fleet.speeds.size() > o.fleet.instances) {
    return fmt::format("--speeds: {} for {} instances; allowed: as many or fewer",
                       o.fleet.speeds.size(), o.fleet.instances);
  }
  if (const std::string problem = settle_changes(o); !problem.empty()) {
    return "--change: " + problem;
  }
  if (const std::string problem = o.fleet.scheduler.client_weights.read(o.client_weights);
      !problem.empty()) {
    return "--client-weights: " + problem;
  }
  if (o.low_qps && o.high_qps && *o.low_qps >= *o.high_qps) {
    return fmt::format("--min-qps {} must be less than --max-qps {}", *o.low_qps, *o.high_qps);
  }
  if (command != SimulationCommand::compare) {
    if (const std::string problem = policies::check_policy(o.policy); !problem.empty()) {
      return "--policy: " + problem;
    }
    if (o.queue.empty()) return {};
    if (policies::split_routing(o.policy).names_order) {
      return fmt::format("--queue {}: --policy {} names an order already; allowed: one of the two",
                         o.queue, o.policy);
    }
    const std::string problem = policies::check_queue_order(o.queue);
    return problem.empty() ? "" : "--queue: " + problem;
  }
  o.policies = split_policies(o.policies);
  for (const std::string& spec : o.policies) {
    if (const std::string problem = policies::check_policy(spec); !problem.empty()) {
      return "--policies: " + problem;
    }
  }
  return {};
}

CacheSight cache_sight_of(const std::string& residency) {
  return residency.empty() ? CacheSight::predicted : kResidencies.at(residency);
}

net::Result<Workload> load_workload(const SimulationOptions& o, std::uint64_t seed) {
  if (!o.trace.empty()) {
    auto loaded = load_trace_file(o.trace);
    if (loaded.has_error()) return net::Error{"--trace " + loaded.error().message};
    return loaded;
  }
  GeneratedSize size{.requests = o.selection.requests, .seed = seed};
  if (o.selection.qps > 0) size.qps = o.selection.qps;
  return generate(o.generate, size);
}

std::string check_workload(const SimulationOptions& o, const Workload& selected) {
  if (selected.requests.empty()) {
    return fmt::format("--max-input {} leaves no request of the workload", o.selection.max_input);
  }
  if (o.warmup && *o.warmup >= selected.requests.size()) {
    return fmt::format("--warmup is {}, allowed are 0 to {}: the workload has {} requests",
                       *o.warmup, selected.requests.size() - 1, selected.requests.size());
  }
  for (const ReplayRequest& request : selected.requests) {
    const std::uint64_t tokens = std::uint64_t{request.input_tokens} + request.output_tokens;
    if (tokens > o.fleet.engine.cache_tokens) {
      return fmt::format(
          "--cache-blocks {} hold {} tokens, but a request has {} with its output; allowed: {} "
          "blocks or more, or a smaller --max-input",
          o.fleet.engine.cache_tokens / kBlockTokens, o.fleet.engine.cache_tokens, tokens,
          (tokens + kBlockTokens - 1) / kBlockTokens);
    }
  }
  return {};
}

std::vector<std::string> split_policies(const std::vector<std::string>& pieces) {
  std::vector<std::string> specs;
  for (const std::string& piece : pieces) {
    const bool belongs = piece.find('=') < piece.find(':') && !specs.empty();
    if (belongs) {
      specs.back() += "," + piece;
    } else {
      specs.push_back(piece);
    }
  }
  return specs;
}

}  // namespace dualmesh::node
