#include "node/engine/engine_server.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <unordered_map>

#include "net/prompt_reader.h"
#include "node/engine/engine_delivery.h"
#include "node/engine/engine_metrics.h"
#include "node/engine/engine_request.h"

namespace dualmesh::node {

using net::ApiError;
using net::Endpoint;
using net::Exchange;
using net::json_response;
using nlohmann::json;

namespace {

using ExchangePtr = std::shared_ptr<Exchange>;

void refuse(const ExchangePtr& exchange, const ApiError& error) {
  exchange->respond(json_response(error.status, net::to_json(error)));
}

const ApiError kNotFound{.status = 404, .message = "Not Found", .type = "NotFoundError"};

ApiError no_such_model(const std::string& model) {
  return {.status = 404,
          .message = "The model `" + model + "` does not exist.",
          .param = "model",
          .code = "model_not_found"};
}

std::int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

const char* id_prefix(Endpoint endpoint) {
  switch (endpoint) {
    case Endpoint::chat:
      return "chatcmpl-";
    case Endpoint::completions:
      return "cmpl-";
    case Endpoint::responses:
      return "resp_";
    default:
      return "embd-";
  }
}

// The rank that the client wants, by vLLM's header.
std::optional<std::size_t> wanted_rank(const net::HttpRequest& request, std::size_t count) {
  const std::string_view text = request.headers.find("x-data-parallel-rank");
  std::size_t rank = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), rank);
  if (text.empty() || error != std::errc() || rank >= count) return std::nullopt;
  return rank;
}

enum class Passes : std::uint8_t { any, as_vllm, as_sglang };  // for the engine it passes for

}  // namespace

class EngineServer::Requests {
 public:
  Requests(net::IoThreads& threads, EngineClock& clock, EngineServerOptions options)
      : options_(std::move(options)),
        ranks_(clock, options_.parameters, options_.ranks),
        readers_(threads.count()),
        delayed_(threads.count()) {
    DUALMESH_CHECK(!options_.models.empty(), "{} serves no model", options_.name);
    DUALMESH_CHECK(options_.max_model_len <= options_.parameters.cache_tokens,
                   "max_model_len={} cache_tokens={}", options_.max_model_len,
                   options_.parameters.cache_tokens);
  }

  void handle(ExchangePtr exchange) {
    const net::HttpRequest& request = exchange->request();
    const std::string_view path = request.path();
    const Endpoint endpoint = net::endpoint_of(path);
    if (endpoint != Endpoint::other) {
      if (request.method != "POST") return wrong_method(exchange);
      return generate(std::move(exchange), endpoint);
    }
    const Passes self = options_.as_sglang ? Passes::as_sglang : Passes::as_vllm;
    for (const Route& route : routes()) {
      if (route.path != path || (route.passes != Passes::any && route.passes != self)) continue;
      if (route.methods.find(request.method) == std::string_view::npos) {
        return wrong_method(exchange);
      }
      return (this->*route.serve)(exchange);
    }
    refuse(exchange, kNotFound);
  }

  const EngineServerOptions& options() const { return options_; }
  EngineSnapshot snapshot() const {
    EngineSnapshot sum;
    for (const EngineSnapshot& one : ranks_.snapshots()) sum += one;
    return sum;
  }

 private:
  struct Route {
    std::string_view path, methods;
    Passes passes;
    void (Requests::*serve)(const ExchangePtr&);
  };
  static std::span<const Route> routes() {
    static const Route all[] = {
        {"/v1/models", "GET", Passes::any, &Requests::models},
        {"/health", "GET", Passes::any, &Requests::health},
        {"/metrics", "GET", Passes::any, &Requests::metrics},
        {"/tokenize", "POST", Passes::any, &Requests::tokenize},
        {"/version", "GET", Passes::as_vllm, &Requests::version},
        {"/reset_prefix_cache", "POST", Passes::as_vllm, &Requests::reset_caches},
        {"/v1/tokenize", "POST", Passes::as_sglang, &Requests::tokenize},
        {"/flush_cache", "GET POST", Passes::as_sglang, &Requests::reset_caches},
    };
    return all;
  }

  static void wrong_method(const ExchangePtr& exchange) {
    refuse(exchange, {.status = 405, .message = "Method Not Allowed"});
  }
  void health(const ExchangePtr& exchange) { exchange->respond({}); }
  void metrics(const ExchangePtr& exchange) {
    net::HttpResponse response;
    response.headers.set("content-type", "text/plain; version=0.0.4; charset=utf-8");
    response.body = render_metrics(ranks_.snapshots(), {options_.name, options_.models.front()},
                                   options_.parameters);
    exchange->respond(std::move(response));
  }
  void version(const ExchangePtr& exchange) {
    exchange->respond(json_response(200, json{{"version", "dualmesh-engine"}}.dump()));
  }
  void models(const ExchangePtr& exchange) {
    exchange->respond(json_response(200, listed_models()));
  }
  void reset_caches(const ExchangePtr& exchange) {
    if (ranks_.reset_caches()) return exchange->respond({});
    refuse(exchange, {.message = "Requests are running: the cache is in use."});
  }

  bool serves(const std::string& model) const {
    return std::find(options_.models.begin(), options_.models.end(), model) !=
           options_.models.end();
  }

  void generate(ExchangePtr exchange, Endpoint endpoint) {
    const std::string_view body = exchange->request().body;
    auto fields = readers_[exchange->thread().index()].read(endpoint, body);
    if (fields.has_error()) return refuse(exchange, fields.error());
    if (!serves(fields->model)) return refuse(exchange, no_such_model(fields->model));
    auto extra = read_engine_fields(endpoint, body);
    if (extra.has_error()) return refuse(exchange, extra.error());
    SimulatedPrompt prompt = tokenize_prompt(*fields, cache_space(fields->model, extra->cache_salt),
                                             options_.parameters.block_tokens);
    std::uint32_t output = 0;
    if (endpoint != Endpoint::embeddings) {
      output = fields->max_tokens > 0 ? fields->max_tokens
                                      : (endpoint == Endpoint::completions ? 16 : 64);
    }
    const std::uint64_t total = std::uint64_t{prompt.tokens} + output;
    if (total > options_.max_model_len) {
      return refuse(exchange,
                    {.message = fmt::format("This model's maximum context length is {} tokens, but "
                                            "{} were requested ({} in the prompt, {} to generate).",
                                            options_.max_model_len, total, prompt.tokens, output),
                     .code = "context_length_exceeded"});
    }
    auto active = std::make_shared<Active>();
    active->exchange = std::move(exchange);
    active->stream = fields->stream && endpoint != Endpoint::embeddings;
    active->embedding_seeds = std::move(extra->input_seeds);
    active->embedding = extra->embedding;
    active->answer = {
        .endpoint = endpoint,
        .id = fmt::format("{}{:016x}{:08x}", id_prefix(endpoint), prompt.seed, ++served_),
        .model = std::move(fields->model),
        .created_s = unix_seconds(),
        .seed = prompt.seed,
        .include_usage = fields->include_usage,
        .cut_at_limit = fields->max_tokens > 0,
        .prompt_tokens = prompt.tokens,
        .output_tokens = output};
    submit(active, std::move(prompt));
  }

  void submit(const std::shared_ptr<Active>& active, SimulatedPrompt prompt) {
    Exchange& exchange = *active->exchange;
    if (active->stream) {
      net::Headers headers;
      headers.set("content-type", "text/event-stream; charset=utf-8");
      headers.set("cache-control", "no-cache");
      exchange.begin(200, std::move(headers));
    }
    EngineRequest request{.prompt_tokens = prompt.tokens,
                          .output_tokens = active->answer.output_tokens,
                          .blocks = std::move(prompt.blocks),
                          .prompt = std::move(prompt.text)};
    const std::uint32_t interval = options_.stream_interval;
    const EngineRanks::Place place = ranks_.submit(
        std::move(request), wanted_rank(exchange.request(), ranks_.count()), exchange.thread(),
        [active, interval](const Emission& e) { deliver(*active, e, interval); });
    // The exchange holds this callback, so it must not hold the exchange.
    exchange.on_gone([this, place, watched = std::weak_ptr(active)] {
      if (auto still = watched.lock()) still->gone = true;
      ranks_.cancel(place);
    });
  }

  CacheSpace cache_space(const std::string& model, std::string salt) const {
    const auto at = std::ranges::find(options_.models, model) - options_.models.begin();
    CacheSpace space{.hash_seed = options_.hash_seed, .salt = std::move(salt)};
    if (at > 0) {
      space.lora = model;
      space.lora_number = static_cast<std::uint32_t>(at);
    }
    return space;
  }

  void tokenize(const ExchangePtr& exchange) {
    if (!options_.tokenizes) return refuse(exchange, kNotFound);
    if (options_.tokenize_delay.count() == 0) return tokenize_now(exchange);
    auto& waiting = delayed_[exchange->thread().index()];
    const std::uint64_t number = waiting.next++;
    waiting.timers[number] =
        exchange->thread().after(options_.tokenize_delay, [this, exchange, &waiting, number] {
          tokenize_now(exchange);
          waiting.timers.erase(number);
        });
  }

  void tokenize_now(const ExchangePtr& exchange) {
    auto request =
        tokenize_request(exchange->request().body, options_.models.front(), !options_.as_sglang);
    if (request.has_error()) return refuse(exchange, request.error());
    auto fields = readers_[exchange->thread().index()].read(request->endpoint, request->body);
    if (fields.has_error()) return refuse(exchange, fields.error());
    if (!serves(fields->model)) return refuse(exchange, no_such_model(fields->model));
    const std::vector<policies::TokenId> tokens = token_ids(*fields);
    json answer = {
        {"count", tokens.size()}, {"max_model_len", options_.max_model_len}, {"tokens", tokens}};
    if (!options_.as_sglang) answer["token_strs"] = nullptr;
    exchange->respond(json_response(200, answer.dump()));
  }

  std::string listed_models() const {
    json data = json::array();
    for (const std::string& model : options_.models) {
      data.push_back({{"id", model},
                      {"object", "model"},
                      {"created", started_s_},
                      {"owned_by", options_.as_sglang ? "sglang" : "vllm"},
                      {"root", options_.models.front()},
                      {"parent", model == options_.models.front() ? json(nullptr)
                                                                  : json(options_.models.front())},
                      {"max_model_len", options_.max_model_len},
                      {"permission", json::array()}});
    }
    return json{{"object", "list"}, {"data", std::move(data)}}.dump();
  }

  EngineServerOptions options_;
  EngineRanks ranks_;
  struct Delayed {
    std::uint64_t next = 0;
    std::unordered_map<std::uint64_t, net::IoThread::Timer> timers;
  };
  std::vector<net::PromptReader> readers_;  // per I/O thread, as are the next
  std::vector<Delayed> delayed_;
  std::atomic<std::uint32_t> served_{0};
  const std::int64_t started_s_ = unix_seconds();
};

EngineServer::EngineServer(net::IoThreads& threads, EngineClock& clock, EngineServerOptions options)
    : requests_(std::make_unique<Requests>(threads, clock, std::move(options))),
      http_(threads, {}, [requests = requests_.get()](ExchangePtr exchange) {
        requests->handle(std::move(exchange));
      }) {}

EngineServer::~EngineServer() = default;

net::Result<std::uint16_t> EngineServer::listen(const std::string& address, std::uint16_t port) {
  return http_.listen(address, port);
}

EngineSnapshot EngineServer::snapshot() const { return requests_->snapshot(); }
const EngineServerOptions& EngineServer::options() const { return requests_->options(); }

}  // namespace dualmesh::node
