// The kinds of load that bench_front_load makes, and what each found.
#pragma once

#include <netinet/in.h>

#include <map>
#include <string>
#include <vector>

#include "tests/bench/front/client.h"

namespace dualmesh::bench {

struct LoadOptions {
  std::vector<sockaddr_in> to;  // connections take turns
  std::size_t connections = 64;
  double warm_up_s = 0.5, seconds = 5;
  std::size_t body_bytes = 2048;
  std::size_t prompts = 64;  // as many different ones
  double rate = 0;           // requests a second, open loop, Poisson; 0: closed loop
  long events = 200;         // that a stream must have
  std::uint64_t seed = 1;    // of arrivals, and of what the mixed load does
};

struct Errors {
  long count = 0;
  std::map<std::string, long> by_text;
  void add(const std::string& text) {
    ++count;
    ++by_text[text];
  }
};

// Each says "begin" and "end" on standard output around what is to be measured, then one line of
// JSON.
void run_requests(const LoadOptions& options);  // plain requests, closed or open loop
void run_streams(const LoadOptions& options);   // one stream on each connection
void run_idle(const LoadOptions& options);   // one request on each, then nothing until input ends
void run_mixed(const LoadOptions& options);  // everything that clients do, well and badly

void say(const char* word);
std::string errors_json(const Errors& errors);
// "name":{"p50":..,"p99":..} in microseconds; reorders the values.
std::string percentiles_json(const char* name, std::vector<std::int32_t>& values);

}  // namespace dualmesh::bench
