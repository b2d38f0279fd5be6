// The load of the front door's bench: one thread, epoll, no latency of its own beyond microseconds.
//
//   bench_front_load requests --to 127.0.0.1:8080 --connections 64 --rate 1000
//   bench_front_load streams|idle|mixed ...
#include "tests/bench/front/load.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

namespace dualmesh::bench {

void say(const char* word) {
  std::puts(word);
  std::fflush(stdout);
}

std::string errors_json(const Errors& errors) {
  std::string text = "\"errors\":" + std::to_string(errors.count) + ",\"error_texts\":{";
  for (const auto& [why, count] : errors.by_text) {
    text += (text.ends_with('{') ? "\"" : ",\"") + why + "\":" + std::to_string(count);
  }
  return text + "}";
}

std::string percentiles_json(const char* name, std::vector<std::int32_t>& values) {
  std::string text = "\"" + std::string(name) + "\":{\"count\":" + std::to_string(values.size());
  std::sort(values.begin(), values.end());
  for (const auto& [label, share] : {std::pair{"p50", 0.5}, {"p99", 0.99}}) {
    const auto at = static_cast<std::size_t>(share * static_cast<double>(values.size()));
    if (values.empty()) continue;
    text += ",\"" + std::string(label) +
            "\":" + std::to_string(values[std::min(at, values.size() - 1)]);
  }
  return text + "}";
}

}  // namespace dualmesh::bench

int main(int argc, char** argv) {
  using namespace dualmesh::bench;
  LoadOptions options;
  std::vector<std::string> to;
  CLI::App app("The load of the front door's bench");
  app.require_subcommand(1);
  app.fallthrough();
  app.add_option("--to", to, "HOST:PORT,...; connections take turns")->required()->delimiter(',');
  app.add_option("--connections", options.connections, "How many")->check(CLI::PositiveNumber);
  app.add_option("--warm-up", options.warm_up_s, "Seconds before what is measured");
  app.add_option("--seconds", options.seconds, "That are measured")->check(CLI::PositiveNumber);
  app.add_option("--body", options.body_bytes, "Bytes of a request's body");
  app.add_option("--prompts", options.prompts, "Different ones")->check(CLI::PositiveNumber);
  app.add_option("--rate", options.rate, "Requests a second; 0: as fast as answers come");
  app.add_option("--events", options.events, "That a stream must have");
  app.add_option("--seed", options.seed, "Of arrivals, and of what the mixed load does");
  const std::pair<const char*, void (*)(const LoadOptions&)> kinds[] = {{"requests", run_requests},
                                                                        {"streams", run_streams},
                                                                        {"idle", run_idle},
                                                                        {"mixed", run_mixed}};
  for (const auto& kind : kinds) app.add_subcommand(kind.first);
  CLI11_PARSE(app, argc, argv);
  try {
    for (const std::string& text : to) options.to.push_back(parse_address(text));
    raise_file_limit();
    for (const auto& kind : kinds) {
      if (app.got_subcommand(kind.first)) kind.second(options);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_front_load: %s\n", error.what());
    return 1;
  }
  return 0;
}
