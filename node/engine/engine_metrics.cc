#include "node/engine/engine_metrics.h"

#include <vector>

#include "net/error.h"

namespace dualmesh::node {

namespace {

std::string label_value(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

// One family at a time, with a series per rank.
class Writer {
 public:
  Writer(std::span<const EngineSnapshot> ranks, const std::string& model) : ranks_(ranks) {
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
      labels_.push_back(fmt::format("engine=\"{}\",model_name=\"{}\"", rank, label_value(model)));
    }
  }

  // `name` as exposed; a counter's family has no _total.
  template <class ValueOf>
  void value(const char* name, const char* type, const char* help, ValueOf value_of,
             const std::string& more_labels = {}) {
    head(name, type, help);
    for (std::size_t i = 0; i < ranks_.size(); ++i) {
      out_ += fmt::format("{}{{{}{}}} {}\n", name, labels_[i], more_labels,
                          static_cast<double>(value_of(ranks_[i])));
    }
  }
  void histogram(const char* name, const char* help, Histogram EngineSnapshot::*member) {
    head(name, "histogram", help);
    for (std::size_t i = 0; i < ranks_.size(); ++i) {
      const Histogram& histogram = ranks_[i].*member;
      std::uint64_t below = 0;
      for (std::size_t k = 0; k < histogram.counts().size(); ++k) {
        below += histogram.counts()[k];
        const std::string bound =
            k < histogram.bounds().size() ? fmt::format("{:.6g}", histogram.bounds()[k]) : "+Inf";
        out_ += fmt::format("{}_bucket{{{},le=\"{}\"}} {}\n", name, labels_[i], bound, below);
      }
      sum_and_count(name, i, histogram.sum(), histogram.count());
    }
  }
  void iterations(const char* name, const char* help) {
    head(name, "summary", help);
    for (std::size_t i = 0; i < ranks_.size(); ++i) {
      sum_and_count(name, i, ranks_[i].iteration_s, ranks_[i].counters.iterations);
    }
  }
  std::string take() { return std::move(out_); }

 private:
  void head(const char* name, const char* type, const char* help) {
    out_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  void sum_and_count(const char* name, std::size_t rank, double sum, std::uint64_t count) {
    out_ += fmt::format("{}_sum{{{}}} {}\n{}_count{{{}}} {}\n", name, labels_[rank], sum, name,
                        labels_[rank], count);
  }

  std::span<const EngineSnapshot> ranks_;
  std::vector<std::string> labels_;
  std::string out_;
};

using Snapshot = const EngineSnapshot&;

double usage(Snapshot s) {
  return static_cast<double>(s.blocks_in_use) / static_cast<double>(s.blocks_total);
}

void write_vllm(Writer& out, const EngineSnapshot& first, const EngineParameters& parameters) {
  out.value("vllm:num_requests_running", "gauge", "Requests in execution batches.",
            [](Snapshot s) { return s.running; });
  out.value("vllm:num_requests_waiting", "gauge", "Requests waiting to be processed.",
            [](Snapshot s) { return s.waiting; });
  out.value("vllm:kv_cache_usage_perc", "gauge", "KV blocks in use, 1 means all.", usage);
  out.value("vllm:gpu_cache_usage_perc", "gauge", "The older name of kv_cache_usage_perc.", usage);
  out.value("vllm:prefix_cache_queries_total", "counter", "Prompt tokens looked up in the cache.",
            [](Snapshot s) { return s.counters.prompt_tokens; });
  out.value("vllm:prefix_cache_hits_total", "counter", "Prompt tokens found in the cache.",
            [](Snapshot s) { return s.counters.cached_tokens; });
  out.value("vllm:prompt_tokens_total", "counter", "Prompt tokens processed.",
            [](Snapshot s) { return s.counters.prompt_tokens; });
  out.value("vllm:generation_tokens_total", "counter", "Tokens generated.",
            [](Snapshot s) { return s.counters.generated_tokens; });
  out.value("vllm:num_preemptions_total", "counter", "Requests that lost their KV to others.",
            [](Snapshot s) { return s.counters.preemptions; });
  out.value(
      "vllm:request_success_total", "counter", "Finished requests.",
      [](Snapshot s) { return s.succeeded; }, ",finished_reason=\"length\"");
  out.histogram("vllm:time_to_first_token_seconds", "Time to the first token.",
                &EngineSnapshot::ttft_s);
  out.histogram("vllm:e2e_request_latency_seconds", "Time to the last token.",
                &EngineSnapshot::e2e_s);
  out.value(
      "vllm:cache_config_info", "gauge", "Cache configuration.", [](Snapshot) { return 1; },
      fmt::format(",block_size=\"{}\",enable_prefix_caching=\"True\",num_gpu_blocks=\"{}\"",
                  parameters.block_tokens, first.blocks_total));
}

void write_own(Writer& out, const std::string& name) {
  out.value(
      "dualmesh_engine_info", "gauge", "The instance's name.", [](Snapshot) { return 1; },
      fmt::format(",name=\"{}\"", label_value(name)));
  out.value("dualmesh_engine_prefill_tokens_computed_total", "counter",
            "Prompt tokens computed, not found in the cache.",
            [](Snapshot s) { return s.counters.prefill_tokens_computed; });
  out.value("dualmesh_engine_recomputed_tokens_total", "counter",
            "Tokens computed again after a preemption.",
            [](Snapshot s) { return s.counters.recomputed_tokens; });
  out.value("dualmesh_engine_requests_cancelled_total", "counter",
            "Requests whose client went away.", [](Snapshot s) { return s.counters.cancelled; });
  out.value("dualmesh_engine_cached_blocks", "gauge", "Cached blocks that are not in use.",
            [](Snapshot s) { return s.blocks_cached; });
  out.value("dualmesh_engine_evictions_total", "counter", "Cached blocks evicted.",
            [](Snapshot s) { return s.evictions; });
  out.iterations("dualmesh_engine_iteration_seconds", "Planned iteration lengths, wall time.");
  out.histogram("dualmesh_engine_timer_lateness_seconds",
                "How late iterations were ended, wall time.", &EngineSnapshot::lateness_s);
  out.value("dualmesh_engine_iteration_lateness_ratio_p99", "gauge",
            "p99 lateness over the mean iteration; beyond 0.05 measurements are void.",
            [](Snapshot s) { return s.lateness_ratio_p99(); });
}

}  // namespace

std::string render_metrics(std::span<const EngineSnapshot> ranks, const EngineIdentity& identity,
                           const EngineParameters& parameters) {
  Writer out(ranks, identity.model);
  write_vllm(out, ranks.front(), parameters);
  write_own(out, identity.name);
  return out.take();
}

}  // namespace dualmesh::node
