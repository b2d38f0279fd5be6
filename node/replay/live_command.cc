#include "node/replay/live_command.h"

#include <pthread.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "net/descriptors.h"
#include "net/destination.h"
#include "net/http_client.h"
#include "node/program/number_range.h"
#include "node/replay/generators.h"
#include "node/replay/load_generator.h"
#include "node/replay/progress.h"
#include "node/replay/report.h"
#include "node/replay/trace.h"
#include "node/replay/workload.h"

namespace dualmesh::node {

namespace {

constexpr std::uint32_t kMaxRequests = 10'000'000;

constexpr const char* kExamples = R"(
Times are model seconds: wall time x --speed. Give the instances the same --speed.

Examples:
  dualmesh-replay live --target 127.0.0.1:8080 --generate multi-turn --requests 500 --qps 4
  dualmesh-replay live --dns llm.mesh:8080 --trace conversation_trace.jsonl --requests 2000 \
    --warmup 200 --qps 7 --speed 4 --scrape 127.0.0.1:9001,127.0.0.1:9002 --json out.json)";

struct LiveSettings {
  LoadOptions load;
  std::string dns;
  std::string trace;
  std::string generate;
  std::string json_file;
  Selection selection;
  std::uint64_t seed = 1;
  double slo_ttft_s = 5.0;
  std::vector<std::string> scrape;
};

void add_options(CLI::App& app, LiveSettings& s) {
  auto* target =
      app.add_option("--target", s.load.targets, "HOST:PORT[,...], taken in turn")->delimiter(',');
  auto* dns = app.add_option("--dns", s.dns, "NAME:PORT whose addresses are taken in turn");
  target->excludes(dns);
  auto* trace = app.add_option("--trace", s.trace, "a Mooncake or multi-tenant trace (JSON lines)");
  app.add_option("--generate", s.generate, "NAME[:KNOB=NUMBER,...], a built-in workload")
      ->check([](const std::string& spec) { return check_generator(spec); })
      ->excludes(trace);
  app.add_option("--requests", s.selection.requests, "how many; 0 is all of the trace, or 2000")
      ->check(CLI::Range(0u, kMaxRequests));
  app.add_option("--warmup", s.selection.warmup, "the first N are sent but not counted")
      ->check(CLI::Range(0u, kMaxRequests));
  app.add_option("--warmup-qps", s.selection.warmup_qps, "rate of the warm-up (default: --qps)")
      ->check(number_in(0.0, 1e6));
  app.add_option("--qps", s.selection.qps, "rescales the gaps between arrivals to this mean rate")
      ->check(number_in(0.0, 1e6));
  app.add_option("--speed", s.load.speed, "divides all waiting")
      ->check(number_in(0.001, 1000.0))
      ->capture_default_str();
  app.add_option("--slo-ttft", s.slo_ttft_s, "seconds")
      ->check(number_in(0.001, 1e6))
      ->capture_default_str();
  app.add_option("--max-input", s.selection.max_input,
                 "requests of so many input tokens and more are left out; 0 keeps all")
      ->capture_default_str();
  app.add_option("--scrape", s.scrape, "HOST:PORT[,...] of the instances' metrics")->delimiter(',');
  app.add_option("--model", s.load.model)->capture_default_str();
  app.add_option("--seed", s.seed, "of the generator")->capture_default_str();
  app.add_option("--timeout", s.load.timeout_s, "wall seconds without a byte")
      ->check(number_in(0.001, 1e6))
      ->capture_default_str();
  app.add_option("--json", s.json_file, "results as one JSON object");
  app.footer(kExamples);
}

std::string check(LiveSettings& s) {
  net::HostPort parts;
  for (const auto* list : {&s.load.targets, &s.scrape}) {
    for (const std::string& address : *list) {
      if (!net::split_destination(address, parts)) {
        return fmt::format("'{}' is not HOST:PORT with a port from 1 to 65535", address);
      }
    }
  }
  if (!s.dns.empty()) {
    if (!net::split_destination(s.dns, parts)) {
      return fmt::format("--dns '{}' is not NAME:PORT with a port from 1 to 65535", s.dns);
    }
    s.load.dns_host = parts.host;
    s.load.dns_port = parts.port;
  } else if (s.load.targets.empty()) {
    return "one of --target and --dns is required";
  }
  if (s.trace.empty() == s.generate.empty()) return "one of --trace and --generate is required";
  return {};
}

net::Result<Workload> make_workload(LiveSettings& s) {
  Workload workload;
  if (s.trace.empty()) {
    GeneratedSize size{.seed = s.seed};
    if (s.selection.requests > 0) size.requests = s.selection.requests;
    if (s.selection.qps > 0.0) size.qps = s.selection.qps;
    workload = generate(s.generate, size);
  } else {
    auto loaded = load_trace_file(s.trace);
    if (loaded.has_error()) return net::Error{"--trace " + loaded.error().message};
    workload = std::move(*loaded);
  }
  select(workload, s.selection);
  if (workload.requests.empty()) {
    return net::Error{
        fmt::format("--max-input {} leaves no request of the workload", s.selection.max_input)};
  }
  if (s.selection.warmup >= workload.requests.size()) {
    return net::Error{
        fmt::format("--warmup is {}, allowed are 0 to {}: the workload has {} requests",
                    s.selection.warmup, workload.requests.size() - 1, workload.requests.size())};
  }
  s.load.warmup = s.selection.warmup;
  return workload;
}

// Reads the metrics of all instances; on the IoThread.
class Scraper {
 public:
  using Samples = std::map<std::string, EngineSample>;
  explicit Scraper(net::IoThread& thread) : client_(thread, {}) {}

  void scrape(const std::vector<std::string>& addresses, std::function<void(Samples)> done) {
    struct Round {
      Samples samples;
      std::size_t left;
      std::function<void(Samples)> done;
    };
    auto round = std::make_shared<Round>(Round{{}, addresses.size(), std::move(done)});
    if (addresses.empty()) return round->done({});
    for (const std::string& address : addresses) {
      const net::HttpRequest request{.method = "GET", .target = "/metrics"};
      client_.fetch(address, request, std::chrono::seconds(5), 16 << 20,
                    [round, address](net::ClientError error, const net::HttpResponse& response) {
                      if (error == net::ClientError::none && response.status == 200) {
                        round->samples[address] = parse_engine_metrics(response.body);
                      }
                      if (--round->left == 0) round->done(std::move(round->samples));
                    });
    }
  }

 private:
  net::HttpClient client_;
};

// Waits for `finished`, drawing progress; SIGINT and SIGTERM stop the generator. Both are blocked
// in every thread and taken here, so no handler runs anywhere. A second one gives up at once.
bool wait_for(const std::atomic<bool>& finished, LoadGenerator& generator, Progress& progress) {
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGINT);
  sigaddset(&ending, SIGTERM);
  bool interrupted = false;
  while (!finished) {
    const timespec tick{0, 50'000'000};
    if (sigtimedwait(&ending, nullptr, &tick) > 0) {
      if (interrupted) std::_Exit(130);
      interrupted = true;
      generator.stop();
    }
    progress.show(generator.progress());
  }
  progress.finish(generator.progress());
  return interrupted;
}

void block_signals() {
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGINT);
  sigaddset(&ending, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &ending, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

ReplayOutcome replay(const LiveSettings& s, const Workload& workload) {
  block_signals();
  net::raise_descriptor_limit();
  net::IoThreads threads(1);
  net::IoThread& thread = threads.at(0);
  LoadGenerator generator(thread, workload, s.load);
  Scraper scraper(thread);
  Scraper::Samples before;
  Scraper::Samples after;
  std::atomic<bool> finished = false;
  const auto started = std::chrono::steady_clock::now();
  LoadGenerator::Callbacks callbacks;
  // What is still in flight of a warm-up is counted by the instances from here on, though not by
  // us.
  if (s.load.warmup > 0) {
    callbacks.measuring = [&] {
      scraper.scrape(s.scrape, [&](auto samples) { before = samples; });
    };
  }
  callbacks.done = [&] {
    scraper.scrape(s.scrape, [&](auto samples) {
      after = samples;
      finished = true;
    });
  };
  thread.post([&] {
    scraper.scrape(s.scrape, [&](auto samples) {
      before = samples;
      generator.start(callbacks);
    });
  });
  Progress progress(stderr, workload.requests.size());
  ReplayOutcome outcome;
  outcome.interrupted = wait_for(finished, generator, progress);
  outcome.wall_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  threads.stop();
  outcome.results = generator.results();
  outcome.planned = workload.requests.size();
  outcome.notes = workload.notes;
  for (const std::string& address : s.scrape) {
    if (before.count(address) > 0 && after.count(address) > 0) {
      outcome.engines[address] = difference(after[address], before[address]);
    } else {
      outcome.unscraped.push_back(address);
    }
  }
  return outcome;
}

int run_live(LiveSettings& s) {
  if (const std::string error = check(s); !error.empty()) {
    std::cerr << "dualmesh-replay: " << error << "\n";
    return 2;
  }
  auto workload = make_workload(s);
  if (workload.has_error()) {
    std::cerr << "dualmesh-replay: " << workload.error().message << "\n";
    return 2;
  }
  if (!s.json_file.empty() && !can_be_written(s.json_file)) {
    std::cerr << fmt::format("dualmesh-replay: --json {}: {}\n", s.json_file, kNotWritable);
    return 2;
  }
  std::cerr << fmt::format("{} requests at {:.2f} per second, {:.0f} s at speed {}\n",
                           workload->requests.size(), mean_qps(*workload),
                           policies::to_seconds(workload->requests.back().arrival), s.load.speed);
  const ReplayOutcome outcome = replay(s, *workload);
  const nlohmann::json report =
      make_report(outcome, {.slo_ttft_s = s.slo_ttft_s, .speed = s.load.speed});
  std::cout << format_report(report) << std::flush;
  if (!s.json_file.empty()) {
    // Answers of others may be quoted in it, whatever bytes they are.
    const std::string text =
        report.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    if (auto written = write_atomically(s.json_file, text); written.has_error()) {
      std::cerr << "dualmesh-replay: " << written.error().message << "\n";
      return 1;
    }
  }
  return exit_status(report);
}

}  // namespace

void add_live_command(CLI::App& app, std::function<int()>& chosen) {
  auto settings = std::make_shared<LiveSettings>();
  CLI::App* live = app.add_subcommand("live", "Load real nodes over HTTP and measure");
  add_options(*live, *settings);
  live->callback([settings, &chosen] { chosen = [settings] { return run_live(*settings); }; });
}

}  // namespace dualmesh::node
