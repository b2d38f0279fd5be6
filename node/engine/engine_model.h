// EngineModel: when an inference instance computes what, in virtual time.
//
// Iterations with continuous batching and chunked prefill. An iteration gives each sequence that is
// past its prefill one token of the budget; what is left of the budget goes to unfinished prefills,
// then to waiting requests, first come first served. Its length is
//   max(min_iteration, prefill tokens x prefill_per_token) + decoding sequences x
//   decode_per_sequence
// At its end each decoding sequence emits a token, and a sequence whose prefill it finished its
// first. A request is admitted when the KV blocks of its prompt fit beside those in use; else it
// waits and everything behind it with it. Generated text takes its blocks one by one; when none is
// free, the sequence admitted last is preempted: its blocks go, it is the next to be admitted (not
// in the same iteration), and it computes prompt and generated text again. Whole leading prompt
// blocks found in the cache are not computed again, except that the last token always is. Prompt
// blocks can be hit from the moment their computation is planned; blocks of generated text are not
// cached.
//
// Invariant: blocks in use are those of the running sequences; queued = waiting + running. The
// sequence admitted first is never preempted, so every iteration makes progress.
// Threads: none; time is an argument, so simulators and servers share the class.
// Source: the batching and preemption by recomputation of vLLM's V1 scheduler, which takes prompt
// blocks by chunk; timing constants as measured for DualMap (7B).
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "node/engine/prefix_cache.h"
#include "policies/time.h"

namespace dualmesh::node {

struct EngineParameters {
  policies::Duration min_iteration = std::chrono::milliseconds(25);
  policies::Duration prefill_per_token = std::chrono::microseconds(160);
  policies::Duration decode_per_sequence = std::chrono::microseconds(300);
  std::uint32_t token_budget = 8192;
  std::uint32_t max_running = 1024;
  std::uint32_t block_tokens = 16;
  std::uint64_t cache_tokens = 1'198'080;
};

using RequestId = std::uint64_t;

struct KvPrompt;  // kv_event_log.h

struct EngineRequest {
  RequestId id = 0;  // unique among those in the model
  std::uint32_t prompt_tokens = 1;
  std::uint32_t output_tokens = 1;         // 0: prefill only (embeddings)
  std::vector<policies::BlockKey> blocks;  // one per whole prompt block
  std::shared_ptr<const KvPrompt> prompt;  // for events alone; may be null
};

// What one iteration did for one request.
struct Emission {
  RequestId id = 0;
  std::uint32_t token = 0;  // number of the token that was emitted, from 0
  bool emitted = false;     // false for prefill-only requests
  bool finished = false;
  std::uint32_t cached_tokens = 0;  // of the prompt, when it was first admitted
};

struct Iteration {
  policies::Time start{};
  policies::Time end{};
  std::uint32_t prefill_tokens = 0;
  std::uint32_t decoding = 0;
};

struct EngineCounters {
  std::uint64_t iterations = 0;
  std::uint64_t admitted = 0;
  std::uint64_t finished = 0;
  std::uint64_t cancelled = 0;
  std::uint64_t prompt_tokens = 0;  // of admitted requests
  std::uint64_t cached_tokens = 0;  // of them found in the cache
  std::uint64_t prefill_tokens_computed = 0;
  std::uint64_t generated_tokens = 0;
  std::uint64_t preemptions = 0;
  std::uint64_t recomputed_tokens = 0;  // had been in KV and were lost to a preemption
  policies::Duration busy{};            // sum of iteration lengths

  EngineCounters& operator+=(const EngineCounters& more);
};

class EngineModel {
 public:
  explicit EngineModel(const EngineParameters& parameters);

  // False when the request could not fit an empty instance; it is then not taken.
  bool enqueue(EngineRequest request);
  // Takes the request out at once, waiting or running; its computed prompt blocks stay in the
  // cache.
  bool cancel(RequestId id);

  // Plans the next iteration from `now`; nullopt when there is nothing to do. Must not be called
  // while one is running.
  std::optional<Iteration> start_iteration(policies::Time now);
  // Ends the running iteration and appends what it produced.
  void finish_iteration(std::vector<Emission>& out);

  bool iterating() const { return current_.has_value(); }
  std::size_t waiting() const { return waiting_.size(); }
  std::size_t running() const { return running_.size(); }
  const PrefixCache& cache() const { return cache_; }
  // The block that is being stored: for observers of the cache, within stored().
  struct Storing {
    const EngineRequest* request = nullptr;
    std::size_t block = 0;
  };
  Storing storing() const { return storing_; }
  bool clear_cache() { return cache_.clear(); }  // see PrefixCache
  void observe_cache(CacheObserver* observer) { cache_.set_observer(observer); }
  const EngineCounters& counters() const { return counters_; }
  const EngineParameters& parameters() const { return parameters_; }

 private:
  struct Sequence {
    EngineRequest request;
    std::uint32_t cached = 0;    // prompt tokens found in the cache at the first admission
    std::uint32_t prefill = 0;   // tokens it computes before it decodes; 0: never admitted
    std::uint32_t computed = 0;  // of these in KV, cached ones included
    std::uint32_t lost = 0;      // tokens in KV when it was preempted last
    std::uint32_t emitted = 0;
    std::uint32_t planned = 0;  // prefill tokens of the running iteration
    bool decoding = false;      // in the running iteration
    std::size_t shared = 0;     // leading blocks held in the cache under their key
    std::size_t private_blocks = 0;

    std::uint32_t tokens() const { return request.prompt_tokens + emitted; }
    bool prefilled() const { return computed == prefill; }
  };
  std::size_t blocks_for(std::uint64_t tokens) const;
  bool admit(Sequence& sequence);
  std::uint32_t plan_prefill(Sequence& sequence, std::uint32_t budget);
  std::uint32_t plan_decoding();
  bool make_room(std::size_t at);
  void preempt_last();
  void release(const Sequence& sequence);

  EngineParameters parameters_;
  PrefixCache cache_;
  std::deque<Sequence> waiting_;   // in the order in which they are admitted
  std::vector<Sequence> running_;  // in the order of admission
  std::optional<Iteration> current_;
  EngineCounters counters_;
  Storing storing_;
};

}  // namespace dualmesh::node
