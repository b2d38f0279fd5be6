#include "node/engine/engine_metrics.h"

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

class Writer {
 public:
  explicit Writer(std::string labels) : labels_(std::move(labels)) {}

  void head(const char* name, const char* type, const char* help) {
    out_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  // `name` as exposed; a counter's family has no _total.
  void value(const std::string& name, const char* type, const char* help, double value,
             const std::string& more_labels = {}) {
    head(name.c_str(), type, help);
    out_ += fmt::format("{}{{{}{}}} {}\n", name, labels_, more_labels, value);
  }
  void histogram(const std::string& name, const char* help, const Histogram& histogram) {
    head(name.c_str(), "histogram", help);
    std::uint64_t below = 0;
    for (std::size_t i = 0; i < histogram.counts().size(); ++i) {
      below += histogram.counts()[i];
      const std::string bound =
          i < histogram.bounds().size() ? fmt::format("{:.6g}", histogram.bounds()[i]) : "+Inf";
      out_ += fmt::format("{}_bucket{{{},le=\"{}\"}} {}\n", name, labels_, bound, below);
    }
    sum_and_count(name, histogram.sum(), histogram.count());
  }
  void sum_and_count(const std::string& name, double sum, std::uint64_t count) {
    out_ += fmt::format("{}_sum{{{}}} {}\n{}_count{{{}}} {}\n", name, labels_, sum, name, labels_,
                        count);
  }
  std::string take() { return std::move(out_); }

 private:
  std::string labels_;
  std::string out_;
};

void write_vllm(const EngineSnapshot& s, const EngineParameters& parameters, Writer& out) {
  const auto count = [](auto value) { return static_cast<double>(value); };
  const double usage = count(s.blocks_in_use) / count(s.blocks_total);
  out.value("vllm:num_requests_running", "gauge", "Requests in execution batches.",
            count(s.running));
  out.value("vllm:num_requests_waiting", "gauge", "Requests waiting to be processed.",
            count(s.waiting));
  out.value("vllm:kv_cache_usage_perc", "gauge", "KV blocks in use, 1 means all.", usage);
  out.value("vllm:gpu_cache_usage_perc", "gauge", "The older name of kv_cache_usage_perc.", usage);
  out.value("vllm:prefix_cache_queries_total", "counter", "Prompt tokens looked up in the cache.",
            count(s.counters.prompt_tokens));
  out.value("vllm:prefix_cache_hits_total", "counter", "Prompt tokens found in the cache.",
            count(s.counters.cached_tokens));
  out.value("vllm:prompt_tokens_total", "counter", "Prompt tokens processed.",
            count(s.counters.prompt_tokens));
  out.value("vllm:generation_tokens_total", "counter", "Tokens generated.",
            count(s.counters.generated_tokens));
  out.value("vllm:num_preemptions_total", "counter", "Requests that lost their KV to others.",
            count(s.counters.preemptions));
  out.value("vllm:request_success_total", "counter", "Finished requests.", count(s.succeeded),
            ",finished_reason=\"length\"");
  out.histogram("vllm:time_to_first_token_seconds", "Time to the first token.", s.ttft_s);
  out.histogram("vllm:e2e_request_latency_seconds", "Time to the last token.", s.e2e_s);
  out.value("vllm:cache_config_info", "gauge", "Cache configuration.", 1.0,
            fmt::format(",block_size=\"{}\",enable_prefix_caching=\"True\",num_gpu_blocks=\"{}\"",
                        parameters.block_tokens, s.blocks_total));
}

}  // namespace

std::string render_metrics(const EngineSnapshot& s, const EngineIdentity& identity,
                           const EngineParameters& parameters) {
  Writer out(fmt::format("engine=\"0\",model_name=\"{}\"", label_value(identity.model)));
  write_vllm(s, parameters, out);
  out.value("dualmesh_engine_info", "gauge", "The instance's name.", 1.0,
            fmt::format(",name=\"{}\"", label_value(identity.name)));
  out.value("dualmesh_engine_prefill_tokens_computed_total", "counter",
            "Prompt tokens computed, not found in the cache.",
            static_cast<double>(s.counters.prefill_tokens_computed));
  out.value("dualmesh_engine_recomputed_tokens_total", "counter",
            "Tokens computed again after a preemption.",
            static_cast<double>(s.counters.recomputed_tokens));
  out.value("dualmesh_engine_requests_cancelled_total", "counter",
            "Requests whose client went away.", static_cast<double>(s.counters.cancelled));
  out.value("dualmesh_engine_cached_blocks", "gauge", "Cached blocks that are not in use.",
            static_cast<double>(s.blocks_cached));
  out.value("dualmesh_engine_evictions_total", "counter", "Cached blocks evicted.",
            static_cast<double>(s.evictions));
  out.head("dualmesh_engine_iteration_seconds", "summary", "Planned iteration lengths, wall time.");
  out.sum_and_count("dualmesh_engine_iteration_seconds", s.iteration_s, s.counters.iterations);
  out.histogram("dualmesh_engine_timer_lateness_seconds",
                "How late iterations were ended, wall time.", s.lateness_s);
  out.value("dualmesh_engine_iteration_lateness_ratio_p99", "gauge",
            "p99 lateness over the mean iteration; beyond 0.05 measurements are void.",
            s.lateness_ratio_p99());
  return out.take();
}

}  // namespace dualmesh::node
