#include "node/engine/kv_options.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <map>
#include <optional>

#include "node/program/number_range.h"
#include "node/program/one_of.h"

namespace dualmesh::node {

namespace {

struct Endpoint {
  std::string prefix;  // up to the colon before the port
  std::uint32_t port = 0;
};

std::optional<Endpoint> read_endpoint(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  if (!text.starts_with("tcp://") || colon < 7) return std::nullopt;
  Endpoint endpoint{text.substr(0, colon + 1)};
  const char* const last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data() + colon + 1, last, endpoint.port);
  if (error != std::errc() || end != last || endpoint.port > 65535) return std::nullopt;
  return endpoint;
}

std::string numbered(const std::string& text, std::uint32_t by) {
  if (text.empty()) return {};
  const auto endpoint = read_endpoint(text);
  DUALMESH_CHECK(endpoint, "endpoint {}", text);
  return endpoint->prefix + std::to_string(endpoint->port == 0 ? 0 : endpoint->port + by);
}

}  // namespace

void add_kv_options(CLI::App& app, KvOptions& o) {
  static const std::map<std::string, KvFormat> formats{{"vllm", KvFormat::vllm},
                                                       {"vllm-arrays", KvFormat::vllm_arrays},
                                                       {"sglang", KvFormat::sglang},
                                                       {"sglang-arrays", KvFormat::sglang_arrays}};
  static const std::map<std::string, bool> hashes{{"int", false}, {"bytes", true}};
  app.add_option("--kv-events", o.events, "tcp://HOST:PORT where KV events are published (bound)");
  app.add_option("--kv-replay", o.replay, "tcp://HOST:PORT where recent ones are replayed (bound)");
  app.add_option("--kv-format", o.format,
                 "whose events, and whose API: vllm, vllm-arrays, sglang, sglang-arrays\n"
                 "(arrays: as older versions); vllm by default")
      ->transform(one_of(formats, true))
      ->type_name("NAME");
  app.add_option("--kv-hashes", o.hashes_as_bytes, "int or bytes (vLLM alone); int by default")
      ->transform(one_of(hashes, true))
      ->type_name("KIND");
  app.add_option("--kv-replay-frames", o.replay_frames,
                 "3: replayed batches carry the topic, as of vllm; 2: they do not")
      ->check(CLI::Range(2, 3));
  app.add_option("--kv-topic", o.topic, "first frame of every event");
  app.add_option("--kv-buffer-steps", o.buffer_steps, "batches kept for replay")
      ->check(CLI::Range(1, 10'000'000))
      ->capture_default_str();
  app.add_option("--kv-ranks", o.ranks,
                 "data-parallel ranks, each with --cache-tokens and events of its own")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_option("--kv-loss", o.loss, "probability that a live batch is not sent")
      ->check(number_in(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--kv-duplicate", o.duplicate, "probability that a live batch is sent twice")
      ->check(number_in(0.0, 1.0))
      ->capture_default_str();
}

std::string check(const KvOptions& options, std::uint32_t instances) {
  const std::uint32_t streams = instances * options.ranks;
  std::optional<Endpoint> read[2];
  const std::string* const texts[] = {&options.events, &options.replay};
  for (int i = 0; i < 2; ++i) {
    if (texts[i]->empty()) continue;
    read[i] = read_endpoint(*texts[i]);
    if (!read[i] || (read[i]->port > 0 && read[i]->port + streams - 1 > 65535)) {
      return fmt::format("{} must be tcp://HOST:PORT with room for {} ports below 65536, got {}",
                         i == 0 ? "--kv-events" : "--kv-replay", streams, *texts[i]);
    }
  }
  if (read[1] && !read[0]) return "--kv-replay needs --kv-events";
  if (read[1] && read[0]->port > 0 && read[1]->port > 0 &&
      std::max(read[0]->port, read[1]->port) - std::min(read[0]->port, read[1]->port) < streams) {
    return fmt::format("--kv-events and --kv-replay need {} ports each: {} and {} overlap", streams,
                       read[0]->port, read[1]->port);
  }
  if (options.hashes_as_bytes && is_sglang(options.format)) {
    return "--kv-hashes bytes is for vllm and vllm-arrays";
  }
  return {};
}

EventStreamSettings stream_settings(const KvOptions& o, std::uint32_t block_tokens,
                                    std::uint32_t instance, std::uint32_t rank) {
  const std::uint32_t by = instance * o.ranks + rank;
  const std::uint32_t frames = o.format == KvFormat::vllm ? 3 : 2;
  return {.events = numbered(o.events, by),
          .replay = numbered(o.replay, by),
          .topic = o.topic,
          .encoding = {o.format, o.hashes_as_bytes, block_tokens},
          .replay_frames = o.replay_frames > 0 ? o.replay_frames : frames,
          .buffer_steps = o.buffer_steps,
          .rank = rank,
          // SGLang leaves it out where there is but one.
          .says_rank = !is_sglang(o.format) || o.ranks > 1,
          .loss = o.loss,
          .duplicate = o.duplicate};
}

}  // namespace dualmesh::node
