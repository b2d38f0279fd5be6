// dualmeshd: a router node.
//
// Signals: SIGTERM and SIGINT drain, a second one exits at once; SIGUSR2 writes the state to the
// log (SIGUSR1 belongs to kj); SIGHUP opens the access log anew and looks at the tenants' file. All
// are blocked before any thread starts and waited for here.
#include <signal.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>

#include "net/descriptors.h"
#include "node/program/build_id.h"
#include "node/router/command_line.h"
#include "node/router/crash_handler.h"
#include "node/router/node.h"
#include "node/router/secret_arguments.h"

namespace {

using namespace dualmesh;

sigset_t block_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGUSR2, SIGHUP}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);  // a peer that closes is an error value, not a signal
  return signals;
}

bool set_up_log(const node::Config& config) {
  if (config.log_file.empty()) {
    spdlog::set_default_logger(spdlog::stderr_color_mt("dualmeshd"));
  } else {
    try {
      spdlog::set_default_logger(spdlog::basic_logger_mt("dualmeshd", config.log_file));
    } catch (const spdlog::spdlog_ex& error) {
      std::fprintf(stderr, "node.log_file: %s\n", error.what());
      return false;
    }
    spdlog::flush_every(std::chrono::seconds(1));
  }
  spdlog::set_level(spdlog::level::from_str(config.log_level));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v");
  return true;
}

int serve(node::Config config, const sigset_t& signals) {
  config.mesh.build = node::kBuildId;
  auto started = node::Node::start(std::move(config));
  if (started.has_error()) {
    spdlog::critical("{}", started.error().message);
    return 1;
  }
  const std::unique_ptr<node::Node> node = std::move(*started);
  bool draining = false;
  while (!node->wait_stopped(std::chrono::milliseconds(0))) {
    const timespec patience{0, 200'000'000};
    const int signal = sigtimedwait(&signals, nullptr, &patience);
    if (signal == SIGUSR2) {
      spdlog::info("state:\n{}", node->dump_state());
    } else if (signal == SIGHUP) {
      node->look_at_files();
    } else if (signal == SIGTERM || signal == SIGINT) {
      if (draining) {
        spdlog::warn("second signal: exiting at once");
        spdlog::default_logger()->flush();
        _exit(128 + signal);
      }
      draining = true;
      node->drain();
    }
  }
  spdlog::info("stopped");
  return node->exit_status();
}

}  // namespace

int main(int argc, char** argv) {
  node::install_crash_handler();
  const auto line = node::read_command_line(argc, argv);
  if (!line.run) return line.exit_status;
  if (line.run->print_only) {
    std::fputs(node::print_toml(line.run->config).c_str(), stdout);
    return 0;
  }
  if (line.run->check_only) {
    std::puts("configuration is good");
    return 0;
  }
  const std::vector<std::string> shown = node::blank_secret_arguments(argc, argv);
  if (!set_up_log(line.run->config)) return 1;
  for (const std::string& setting : shown) {
    spdlog::warn("{} was given as a flag, which others on this machine could read, and logs of "
                 "shells and units keep; use the configuration file",
                 setting);
  }
  net::raise_descriptor_limit();
  const sigset_t signals = block_signals();
  const int status = serve(line.run->config, signals);
  spdlog::shutdown();
  return status;
}
