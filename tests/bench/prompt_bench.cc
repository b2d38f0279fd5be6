// What a body's prompt costs until its chain of block keys is known: by the tree (PromptReader) and
// by the scan (PromptScan), of several kinds of text. Run both in one go, interleaved:
//   bench_prompt --benchmark_enable_random_interleaving --benchmark_repetitions=5
#include <benchmark/benchmark.h>

#include <string>

#include "net/prompt_reader.h"
#include "net/prompt_scan.h"
#include "policies/prompt_chain.h"

using namespace dualmesh;

namespace {

enum Kind { plain, lines, accents, tools_last, code };

// What bench_front_load sends: escapes every few bytes, as in programs.
std::string code_body(std::size_t bytes) {
  std::string body =
      R"({"stream":false,"model":"sim","messages":[{"role":"system","content":)"
      R"("You are a helpful assistant. Be brief."},{"role":"user","content":"9e3779b97f4a7c15 )";
  const std::string end = R"("}],"temperature":0.7,"max_tokens":200})";
  while (body.size() + end.size() < bytes) {
    body += R"(The quick brown fox said \"no\" and went on.\n )";
  }
  return body + end;
}

std::string body_of(std::size_t bytes, int kind) {
  if (kind == code) return code_body(bytes);
  const std::string words =
      "The quick brown fox jumps over the lazy dog while the scheduler waits, ";
  std::string body = R"({"messages":[{"role":"system","content":"Be brief."})";
  while (body.size() < bytes) {
    body += R"(,{"role":"user","content":")";
    for (int i = 0; i < 25 && body.size() < bytes; ++i) {
      body += words + (kind == accents ? "caf\u00e9 \u4f60\u597d\\n"
                       : kind == plain ? "and more."
                                       : "says\\n");
    }
    body += "\"}";
  }
  body += R"(],"model":"llama","max_tokens":100,"stream":true)";
  if (kind == tools_last) {
    body += R"(,"tools":[{"type":"function","function":{"name":"read_file","description":"Reads )"
            R"(a file","parameters":{"type":"object","properties":{"path":{"type":"string"}}}}}])";
  }
  return body + "}";
}

void by_tree(benchmark::State& state) {
  const std::string body =
      body_of(static_cast<std::size_t>(state.range(0)), static_cast<int>(state.range(1)));
  net::PromptReader reader;
  for (auto _ : state) {
    const auto fields = reader.read(net::Endpoint::chat, body);
    policies::PromptChainBuilder builder(policies::ChainParameters{});
    builder.update(fields->canonical);
    benchmark::DoNotOptimize(builder.finish(fields->model));
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * body.size()));
}

struct ChainSink final : net::PromptSink {
  void text(std::string_view piece) override { builder.update(piece); }
  void restart() override { builder.restart(); }
  policies::PromptChainBuilder builder{policies::ChainParameters{}};
};

// In pieces of 64 KB, as they come from a socket.
void by_scan(benchmark::State& state) {
  const std::string body =
      body_of(static_cast<std::size_t>(state.range(0)), static_cast<int>(state.range(1)));
  for (auto _ : state) {
    ChainSink sink;
    net::PromptScan scan(net::Endpoint::chat, net::Tokens::unwanted, sink);
    for (std::size_t end = 65'536; end < body.size(); end += 65'536) {
      scan.grown(std::string_view(body).substr(0, end));
    }
    const auto fields = scan.finish(body);
    if (!fields) state.SkipWithError("left to the reader");
    benchmark::DoNotOptimize(sink.builder.finish(fields->model));
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * body.size()));
}

void sizes_and_kinds(benchmark::internal::Benchmark* bench) {
  for (const int kind : {plain, lines, accents, tools_last, code}) {
    for (const int bytes : {2'048, 32'768, 1'000'000}) bench->Args({bytes, kind});
  }
  bench->ArgNames({"bytes", "kind"});
}
BENCHMARK(by_tree)->Apply(sizes_and_kinds);
BENCHMARK(by_scan)->Apply(sizes_and_kinds);

}  // namespace

BENCHMARK_MAIN();
