// A node's mesh half without its request path: the real MeshThread, driven by made-up changes.
//
//   bench_mesh_load --name n1 --listen 127.0.46.1:7000 --seeds A,B,... --instances 64
//
// Reads commands from standard input, one a line, and ends with it:
//   load RATE              that many load changes a second, each of an instance at random
//   place RATE COUNT       that many placements of new blocks a second, COUNT in all; each comes
//   with
//                          a load change, as a request brings both
//   mark                   counts from here
//   stats                  prints one JSON object of what happened since the mark
//
// CPU time of the mesh is that of the process without the thread that makes the changes.
// Threads: main makes the changes; the mesh has its own.
#include <poll.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <sstream>
#include <string_view>
#include <thread>

#include "node/mesh/mesh_thread.h"
#include "tests/node/fake_mesh_host.h"

namespace dualmesh {
namespace {

using Clock = std::chrono::steady_clock;

double cpu_s(int who) {
  rusage usage{};
  getrusage(who, &usage);
  const auto seconds = [](timeval time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

std::size_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::size_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

// So many a second, caught up with whenever it is asked.
class Pace {
 public:
  void set(double per_s, std::uint64_t limit) {
    per_s_ = per_s;
    since_ = Clock::now();
    done_ = 0;
    limit_ = limit;
  }
  std::uint64_t due() {
    const double elapsed_s = std::chrono::duration<double>(Clock::now() - since_).count();
    const auto wanted = std::min(static_cast<std::uint64_t>(elapsed_s * per_s_), limit_);
    const std::uint64_t due = wanted - std::min(wanted, done_);
    done_ += due;
    return due;
  }

 private:
  double per_s_ = 0.0;
  Clock::time_point since_ = Clock::now();
  std::uint64_t done_ = 0;
  std::uint64_t limit_ = 0;
};

class Driver {
 public:
  Driver(node::MeshThread& mesh, node::FakeMeshHost& host, std::size_t instances,
         std::uint64_t seed)
      : mesh_(mesh), host_(host), random_(seed), seed_(seed) {
    for (std::size_t i = 0; i < instances; ++i) {
      slots_.push_back(host.instance("i" + std::to_string(i + 1))->slot);
    }
    mark();
  }

  void run() {
    pollfd input{STDIN_FILENO, POLLIN, 0};
    while (true) {
      if (poll(&input, 1, 1) > 0) {
        char bytes[256];
        const ssize_t count = read(STDIN_FILENO, bytes, sizeof(bytes));
        if (count <= 0) return;
        obey_lines(std::string_view(bytes, static_cast<std::size_t>(count)));
      }
      for (std::uint64_t n = loads_.due(); n > 0; --n) change_load();
      for (std::uint64_t n = places_.due(); n > 0; --n) place();
    }
  }

 private:
  void obey_lines(std::string_view bytes) {
    for (const char byte : bytes) {
      if (byte != '\n') {
        line_ += byte;
      } else {
        obey(line_);
        line_.clear();
      }
    }
  }

  void obey(const std::string& line) {
    std::istringstream words(line);
    std::string command;
    double rate = 0.0;
    std::uint64_t count = 0;
    words >> command >> rate >> count;
    if (command == "load") {
      loads_.set(rate, UINT64_MAX);
    } else if (command == "place") {
      places_.set(rate, count);
    } else if (command == "mark") {
      mark();
    } else if (command == "stats") {
      print_stats();
    } else {
      std::fprintf(stderr, "bench_mesh_load: no command %s\n", command.c_str());
      std::exit(2);
    }
  }

  policies::Slot any_slot() { return slots_[random_() % slots_.size()]; }

  void change_load() {
    const policies::Slot slot = any_slot();
    policies::Load load;
    load.prefilling_requests = static_cast<std::uint32_t>(random_() % 8);
    load.prefilling_tokens = random_() % 100'000;
    load.decoding_requests = static_cast<std::uint32_t>(random_() % 64);
    load.decoding_tokens = random_() % 1'000'000;
    host_.say_load(slot, load);
    mesh_.wake();
    ++changes_;
    touched_.insert(slot);
  }

  void place() {
    change_load();
    host_.say_placement(any_slot(), {(seed_ << 40U) + ++blocks_});
    mesh_.wake();
    ++placements_;
  }

  void mark() {
    changes_ = placements_ = 0;
    touched_.clear();
    process_cpu_s_ = cpu_s(RUSAGE_SELF);
    driver_cpu_s_ = cpu_s(RUSAGE_THREAD);
    marked_ = Clock::now();
  }

  void print_stats() const {
    const double driver_cpu_s = cpu_s(RUSAGE_THREAD) - driver_cpu_s_;
    const nlohmann::json stats = {
        {"seconds", std::chrono::duration<double>(Clock::now() - marked_).count()},
        {"changes", changes_},
        {"placements", placements_},
        {"loads_touched", touched_.size()},
        {"mesh_cpu_s", cpu_s(RUSAGE_SELF) - process_cpu_s_ - driver_cpu_s},
        {"driver_cpu_s", driver_cpu_s},
        {"resident_bytes", resident_bytes()}};
    std::printf("%s\n", stats.dump().c_str());
    std::fflush(stdout);
  }

  node::MeshThread& mesh_;
  node::FakeMeshHost& host_;
  std::mt19937_64 random_;
  std::uint64_t seed_;
  std::vector<policies::Slot> slots_;
  std::string line_;  // of a command, as far as it has come
  Pace loads_, places_;
  std::uint64_t blocks_ = 0;
  std::uint64_t changes_ = 0, placements_ = 0;
  std::set<policies::Slot> touched_;
  double process_cpu_s_ = 0.0, driver_cpu_s_ = 0.0;
  Clock::time_point marked_;
};

}  // namespace
}  // namespace dualmesh

int main(int argc, char** argv) {
  using namespace dualmesh;
  CLI::App app{"A mesh node driven by made-up changes; commands on standard input"};
  node::MeshConfig config;
  std::size_t instances = 64;
  app.add_option("--name", config.node_name)->required();
  app.add_option("--listen", config.listen)->required();
  app.add_option("--seeds", config.seeds)->delimiter(',')->required();
  app.add_option("--instances", instances);
  app.add_flag("--insecure", config.insecure, "allow listening beyond loopback");
  CLI11_PARSE(app, argc, argv);
  for (std::size_t i = 0; i < instances; ++i) {
    const std::string number = std::to_string(i + 1);
    config.instances.push_back({"i" + number, "127.0.0.1:" + number, {"sim"}, 1.0});
  }

  spdlog::set_default_logger(spdlog::stderr_logger_mt("mesh"));  // standard output is for answers
  spdlog::set_level(spdlog::level::err);
  node::FakeMeshHost host;
  auto mesh = node::MeshThread::start(config, host, host);
  if (mesh.has_error()) {
    std::fprintf(stderr, "bench_mesh_load: %s\n", mesh.error().message.c_str());
    return 2;
  }
  while (!host.ready()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  std::puts("ready");
  std::fflush(stdout);
  Driver(**mesh, host, instances, std::hash<std::string>{}(config.node_name) & 0xffffff).run();
}
