// dualmesh-engine: simulated inference instances to test routers against.
#include <pthread.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "net/descriptors.h"
#include "net/destination.h"
#include "node/engine/engine_server.h"
#include "node/engine/kv_options.h"
#include "node/program/number_range.h"
#include "node/program/usage.h"

namespace {

using namespace dualmesh;
using nlohmann::json;

constexpr const char* kExamples = R"(
Every 4 bytes of prompt text count as one token. Time runs --speed times faster than the model's.

Examples:
  dualmesh-engine --listen 127.0.0.1:9001
  dualmesh-engine --listen 127.0.0.1:9001 --count 8 --name e --model sim --speed 4
  dualmesh-engine --listen 127.0.0.1:9001 --model base --model adapter --cache-tokens 200000
  dualmesh-engine --listen 127.0.0.1:9001 --kv-events tcp://127.0.0.1:5557 \
    --kv-replay tcp://127.0.0.1:6557
  dualmesh-engine --listen 127.0.0.1:9001 --count 4 --kv-events tcp://*:5557 --kv-ranks 2 \
    --kv-format sglang --kv-loss 0.01
  curl -s 127.0.0.1:9001/v1/chat/completions -H 'content-type: application/json' \
    -d '{"model":"sim","messages":[{"role":"user","content":"hello"}],"stream":true}'

Instance i (from 0) of R ranks has rank r publish at the port of --kv-events + i x R + r, and
replays at that of --kv-replay likewise. POST /reset_prefix_cache, or /flush_cache as SGLang,
empties the cache.

--config FILE takes the same names in TOML, for example: speed = 4.0)";

struct Settings {
  std::string listen = "127.0.0.1:9001";
  std::uint32_t count = 1;
  node::EngineServerOptions server;
  double speed = 1.0;
  double prefill_us_per_token = 160.0;
  double min_iteration_ms = 25.0;
  double decode_ms_per_sequence = 0.3;
  std::uint32_t max_model_len = 0;  // 0: not given
  std::uint32_t io_threads = 1;
  std::string json_stats;
  node::KvOptions kv;
  bool no_tokenize = false;
  std::uint32_t tokenize_delay_ms = 0;
  std::string host;
  std::uint16_t port = 0;
};

void add_options(CLI::App& app, Settings& s) {
  auto& parameters = s.server.parameters;
  app.add_option("--listen", s.listen, "HOST:PORT; port 0 picks one")->capture_default_str();
  app.add_option("--count", s.count, "instances in this process, on consecutive ports")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--name", s.server.name, "instance name; NAME-1 ... NAME-N when --count > 1")
      ->capture_default_str();
  app.add_option("--model", s.server.models, "model served; repeatable")
      ->allow_extra_args(false)
      ->capture_default_str();
  app.add_option("--speed", s.speed, "divides all durations")
      ->check(node::number_in(0.001, 1000.0))
      ->capture_default_str();
  app.add_option("--prefill-us-per-token", s.prefill_us_per_token, "model time")
      ->check(node::number_in(0.0, 1e6))
      ->capture_default_str();
  app.add_option("--min-iteration-ms", s.min_iteration_ms, "model time")
      ->check(node::number_in(0.01, 1e5))
      ->capture_default_str();
  app.add_option("--decode-ms-per-sequence", s.decode_ms_per_sequence, "model time")
      ->check(node::number_in(0.0, 1e4))
      ->capture_default_str();
  app.add_option("--token-budget", parameters.token_budget, "tokens of one iteration")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  app.add_option("--max-running", parameters.max_running, "sequences in one iteration")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--cache-tokens", parameters.cache_tokens, "KV memory")
      ->check(CLI::Range(std::uint64_t{16}, std::uint64_t{1} << 40))
      ->capture_default_str();
  app.add_option("--block-tokens", parameters.block_tokens, "tokens of a KV block")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  app.add_option("--max-model-len", s.max_model_len,
                 "prompt and output together; by default 131072, or what the KV memory holds")
      ->check(CLI::Range(2, 1 << 28));
  app.add_option("--stream-interval", s.server.stream_interval, "tokens per streamed event")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--io-threads", s.io_threads, "threads that serve HTTP")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_flag("--no-tokenize", s.no_tokenize, "/tokenize is not found");
  app.add_option("--tokenize-delay-ms", s.tokenize_delay_ms, "wall time before /tokenize answers")
      ->check(CLI::Range(0, 600'000))
      ->capture_default_str();
  node::add_kv_options(app, s.kv);
  app.add_option("--json-stats", s.json_stats, "written on exit");
  app.set_config("--config", "", "settings as TOML");
  app.allow_config_extras(CLI::config_extras_mode::error);
  app.footer(kExamples);
}

std::string finish_settings(Settings& s) {
  net::HostPort listen;
  if (!net::split_destination(s.listen, listen, net::PortZero::allowed) ||
      (listen.port > 0 && listen.port + s.count - 1 > 65535)) {
    return "--listen must be HOST:PORT with room for --count below 65536, got " + s.listen;
  }
  s.host = listen.host;
  s.port = listen.port;
  auto& parameters = s.server.parameters;
  parameters.prefill_per_token = policies::from_seconds(s.prefill_us_per_token * 1e-6);
  parameters.min_iteration = policies::from_seconds(s.min_iteration_ms * 1e-3);
  parameters.decode_per_sequence = policies::from_seconds(s.decode_ms_per_sequence * 1e-3);
  // Whole blocks only: the last partial one holds nothing.
  const std::uint64_t usable =
      parameters.cache_tokens / parameters.block_tokens * parameters.block_tokens;
  if (s.max_model_len > usable) {
    return fmt::format("--max-model-len {} does not fit --cache-tokens {}", s.max_model_len,
                       parameters.cache_tokens);
  }
  if (std::string error = node::check(s.kv, s.count); !error.empty()) return error;
  s.server.as_sglang = node::is_sglang(s.kv.format);
  s.server.ranks = {.ranks = s.kv.ranks, .clears_first = s.server.as_sglang};
  s.server.tokenizes = !s.no_tokenize;
  s.server.tokenize_delay = std::chrono::milliseconds(s.tokenize_delay_ms);
  // vLLM's hashes differ between lives, SGLang's do not.
  if (!s.server.as_sglang) s.server.hash_seed = std::random_device()();
  s.server.max_model_len =
      s.max_model_len > 0
          ? s.max_model_len
          : static_cast<std::uint32_t>(std::min<std::uint64_t>(s.server.max_model_len, usable));
  return {};
}

std::string name_of(const Settings& s, std::uint32_t instance) {
  return s.count > 1 ? s.server.name + "-" + std::to_string(instance + 1) : s.server.name;
}

// Binds the streams of all instances and starts; null: none are asked for.
net::Result<std::unique_ptr<node::EventPublisher>> publisher_of(const Settings& s) {
  std::unique_ptr<node::EventPublisher> publisher;
  if (s.kv.events.empty()) return publisher;
  publisher = std::make_unique<node::EventPublisher>(std::random_device()());
  for (std::uint32_t i = 0; i < s.count * s.kv.ranks; ++i) {
    const auto bound = publisher->add(node::stream_settings(s.kv, s.server.parameters.block_tokens,
                                                            i / s.kv.ranks, i % s.kv.ranks));
    if (bound.has_error()) return bound.error();
    const std::string replays = bound->replay.empty() ? "" : ", replays at " + bound->replay;
    std::printf("%s rank %u publishes at %s%s\n", name_of(s, i / s.kv.ranks).c_str(),
                i % s.kv.ranks, bound->events.c_str(), replays.c_str());
  }
  publisher->start();
  return publisher;
}

json statistics(const node::EngineServer& server) {
  const node::EngineSnapshot s = server.snapshot();
  return {{"name", server.options().name},
          {"iterations", s.counters.iterations},
          {"finished", s.counters.finished},
          {"cancelled", s.counters.cancelled},
          {"prompt_tokens", s.counters.prompt_tokens},
          {"cached_tokens", s.counters.cached_tokens},
          {"prefill_tokens_computed", s.counters.prefill_tokens_computed},
          {"generated_tokens", s.counters.generated_tokens},
          {"preemptions", s.counters.preemptions},
          {"recomputed_tokens", s.counters.recomputed_tokens},
          {"busy_model_s", policies::to_seconds(s.counters.busy)},
          {"lateness_p50_s", s.lateness_s.quantile_at_most(0.5)},
          {"lateness_p99_s", s.lateness_s.quantile_at_most(0.99)},
          {"lateness_ratio_p99", s.lateness_ratio_p99()}};
}

int serve(const Settings& s) {
  // Before any thread starts, so that only sigwait below sees them.
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGINT);
  sigaddset(&ending, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &ending, nullptr);

  net::raise_descriptor_limit();
  auto publisher = publisher_of(s);
  if (publisher.has_error()) {
    std::fprintf(stderr, "dualmesh-engine: %s\n", publisher.error().message.c_str());
    return 1;
  }
  net::IoThreads threads(s.io_threads);
  node::EngineClock clock(s.speed);
  std::vector<std::unique_ptr<node::EngineServer>> servers;
  for (std::uint32_t i = 0; i < s.count; ++i) {
    node::EngineServerOptions options = s.server;
    options.name = name_of(s, i);
    options.ranks.publisher = publisher->get();
    options.ranks.first_stream = std::size_t{i} * s.kv.ranks;
    servers.push_back(std::make_unique<node::EngineServer>(threads, clock, options));
    const auto wanted = static_cast<std::uint16_t>(s.port == 0 ? 0 : s.port + i);
    const auto port = servers.back()->listen(s.host, wanted);
    if (port.has_error()) {
      std::fprintf(stderr, "dualmesh-engine: %s\n", port.error().message.c_str());
      threads.stop();
      return 1;
    }
    std::printf("%s listens on %s:%u\n", options.name.c_str(), s.host.c_str(), unsigned{*port});
  }
  std::fflush(stdout);
  int signal = 0;
  sigwait(&ending, &signal);
  threads.stop();
  if (s.json_stats.empty()) return 0;
  json all = json::array();
  for (const auto& server : servers) all.push_back(statistics(*server));
  std::ofstream file(s.json_stats);
  file << all.dump(2) << '\n';
  if (!file.flush()) {
    std::fprintf(stderr, "dualmesh-engine: %s cannot be written\n", s.json_stats.c_str());
    return 1;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("A simulated inference instance: OpenAI API, batching and prefix cache, no model.",
               "dualmesh-engine");
  Settings settings;
  add_options(app, settings);
  if (const auto status = node::parse(app, argc, argv)) return *status;
  if (const std::string error = finish_settings(settings); !error.empty()) {
    std::fprintf(stderr, "dualmesh-engine: %s\n", error.c_str());
    return node::kExitUsage;
  }
  return serve(settings);
}
