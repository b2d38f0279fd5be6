// EngineServer: one simulated inference instance behind an OpenAI-compatible HTTP port.
//
// Serves chat/completions, completions, embeddings, responses, /tokenize, /v1/models, /health and
// /metrics; as vLLM /version and /reset_prefix_cache, as SGLang /v1/tokenize and /flush_cache. The
// tokenizer is simulated: every 4 bytes of the canonical prompt text are one token. Model names
// other than the first are adapters of the first; each has a cache of its own, as has each
// `cache_salt`. An answer has exactly the number of tokens asked for (default 16 for completions,
// 64 for chat and responses). A client that goes away is taken out of the model at once.
//
// Threads: create and destroy on one thread; requests run on the I/O threads. Stop the I/O threads
// before destroying it.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "net/error.h"
#include "net/http_server.h"
#include "net/io_threads.h"
#include "node/engine/engine_ranks.h"

namespace dualmesh::node {

struct EngineServerOptions {
  std::string name = "engine";
  std::vector<std::string> models{"sim"};  // at least one
  EngineParameters parameters;
  std::uint32_t max_model_len = 131'072;  // prompt and output; at most parameters.cache_tokens
  std::uint32_t stream_interval = 1;      // tokens per event; the first is sent by itself
  bool as_sglang = false;                 // the engine it passes for, else vLLM
  EngineRanksSettings ranks;
  std::uint64_t hash_seed = 0;  // of its block hashes
  bool tokenizes = true;        // else 404
  std::chrono::milliseconds tokenize_delay{0};
};

class EngineServer {
 public:
  EngineServer(net::IoThreads& threads, EngineClock& clock, EngineServerOptions options);
  ~EngineServer();

  net::Result<std::uint16_t> listen(const std::string& address, std::uint16_t port);
  EngineSnapshot snapshot() const;  // of all ranks
  const EngineServerOptions& options() const;

 private:
  class Requests;
  std::unique_ptr<Requests> requests_;
  net::HttpServer http_;
};

}  // namespace dualmesh::node
