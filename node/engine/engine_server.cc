#include "node/engine/engine_server.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <nlohmann/json.hpp>

#include "net/prompt_reader.h"
#include "node/engine/engine_answers.h"
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

std::int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// A request being answered; lives on its I/O thread, held by the clock until its last emission.
struct Active {
  ExchangePtr exchange;
  Answer answer;
  bool stream = false;
  std::uint32_t sent = 0;  // tokens
  std::vector<std::uint64_t> embedding_seeds;
  EmbeddingOptions embedding;
  bool gone = false;
};

void deliver_stream(Active& active, const Emission& emission, std::uint32_t interval) {
  const std::uint32_t ready = emission.token + 1;
  std::string out;
  if (emission.token == 0) out = stream_open(active.answer);
  if (emission.token == 0 || emission.finished || ready - active.sent >= interval) {
    out += stream_piece(active.answer, active.sent, ready);
    active.sent = ready;
  }
  if (emission.finished) out += stream_close(active.answer);
  if (!out.empty()) active.exchange->write(out);
  if (emission.finished) active.exchange->end();
}

void deliver(Active& active, const Emission& emission, std::uint32_t interval) {
  if (active.gone) return;
  active.answer.cached_tokens = emission.cached_tokens;
  if (active.stream) {
    deliver_stream(active, emission, interval);
  } else if (emission.finished) {
    std::string body =
        active.answer.endpoint == Endpoint::embeddings
            ? embeddings_answer(active.answer, active.embedding_seeds, active.embedding)
            : whole_answer(active.answer);
    active.exchange->respond(json_response(200, std::move(body)));
  }
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

}  // namespace

class EngineServer::Requests {
 public:
  Requests(net::IoThreads& threads, EngineClock& clock, EngineServerOptions options)
      : options_(std::move(options)),
        instance_(clock, options_.parameters),
        readers_(threads.count()) {
    DUALMESH_CHECK(!options_.models.empty(), "{} serves no model", options_.name);
    DUALMESH_CHECK(options_.max_model_len <= options_.parameters.cache_tokens,
                   "max_model_len={} cache_tokens={}", options_.max_model_len,
                   options_.parameters.cache_tokens);
  }

  void handle(ExchangePtr exchange) {
    const net::HttpRequest& request = exchange->request();
    const std::string_view path = request.path();
    const Endpoint endpoint = net::endpoint_of(path);
    const bool post = endpoint != Endpoint::other || path == "/tokenize";
    const bool get =
        path == "/v1/models" || path == "/health" || path == "/version" || path == "/metrics";
    if (!post && !get) {
      return refuse(exchange, {.status = 404, .message = "Not Found", .type = "NotFoundError"});
    }
    if (request.method != (post ? "POST" : "GET")) {
      return refuse(exchange, {.status = 405, .message = "Method Not Allowed"});
    }
    if (endpoint != Endpoint::other) return generate(std::move(exchange), endpoint);
    if (path == "/tokenize") return tokenize(exchange);
    if (path == "/v1/models") return exchange->respond(json_response(200, models()));
    if (path == "/version") return exchange->respond(json_response(200, version()));
    net::HttpResponse response;
    if (path == "/metrics") {
      response.headers.set("content-type", "text/plain; version=0.0.4; charset=utf-8");
      response.body = render_metrics(instance_.snapshot(), {options_.name, options_.models.front()},
                                     options_.parameters);
    }
    exchange->respond(std::move(response));
  }

  const EngineServerOptions& options() const { return options_; }
  EngineSnapshot snapshot() const { return instance_.snapshot(); }

 private:
  bool serves(const std::string& model) const {
    return std::find(options_.models.begin(), options_.models.end(), model) !=
           options_.models.end();
  }

  void generate(ExchangePtr exchange, Endpoint endpoint) {
    const std::string& body = exchange->request().body;
    auto fields = readers_[exchange->thread().index()].read(endpoint, body);
    if (fields.has_error()) return refuse(exchange, fields.error());
    if (!serves(fields->model)) {
      return refuse(exchange, {.status = 404,
                               .message = "The model `" + fields->model + "` does not exist.",
                               .param = "model",
                               .code = "model_not_found"});
    }
    auto extra = read_engine_fields(endpoint, body);
    if (extra.has_error()) return refuse(exchange, extra.error());
    SimulatedPrompt prompt = tokenize_prompt(*fields, options_.parameters.block_tokens);
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
                          .blocks = std::move(prompt.blocks)};
    const std::uint32_t interval = options_.stream_interval;
    const RequestId id =
        instance_.submit(std::move(request), exchange.thread(),
                         [active, interval](const Emission& e) { deliver(*active, e, interval); });
    // The exchange holds this callback, so it must not hold the exchange.
    exchange.on_gone([this, id, watched = std::weak_ptr(active)] {
      if (auto still = watched.lock()) still->gone = true;
      instance_.cancel(id);
    });
  }

  void tokenize(const ExchangePtr& exchange) {
    auto request = tokenize_request(exchange->request().body, options_.models.front());
    if (request.has_error()) return refuse(exchange, request.error());
    auto fields = readers_[exchange->thread().index()].read(request->endpoint, request->body);
    if (fields.has_error()) return refuse(exchange, fields.error());
    const std::vector<std::uint32_t> tokens = token_ids(*fields);
    exchange->respond(json_response(200, json{{"count", tokens.size()},
                                              {"max_model_len", options_.max_model_len},
                                              {"tokens", tokens},
                                              {"token_strs", nullptr}}
                                             .dump()));
  }

  std::string models() const {
    json data = json::array();
    for (const std::string& model : options_.models) {
      data.push_back({{"id", model},
                      {"object", "model"},
                      {"created", started_s_},
                      {"owned_by", "vllm"},
                      {"root", options_.models.front()},
                      {"parent", model == options_.models.front() ? json(nullptr)
                                                                  : json(options_.models.front())},
                      {"max_model_len", options_.max_model_len},
                      {"permission", json::array()}});
    }
    return json{{"object", "list"}, {"data", std::move(data)}}.dump();
  }

  static std::string version() { return json{{"version", "dualmesh-engine"}}.dump(); }

  EngineServerOptions options_;
  EngineInstance instance_;
  std::vector<net::PromptReader> readers_;
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
