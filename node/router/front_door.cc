#include "node/router/front_door.h"

#include <spdlog/fmt/fmt.h>

#include <nlohmann/json.hpp>

#include "node/router/api_error.h"
#include "node/router/incoming_request.h"
#include "node/router/request_flow.h"

namespace dualmesh::node {
namespace {

constexpr std::string_view kModelsPath = "/v1/models";

bool is_own_path(std::string_view path) {
  return path == "/health" || path == "/ready" || path == "/metrics";
}

bool is_read(const net::HttpRequest& request) {
  return request.method == "GET" || request.method == "HEAD";
}

// The key of "Bearer KEY"; empty when there is none.
std::string_view bearer_key(const net::HttpRequest& request) {
  constexpr std::string_view kScheme = "Bearer ";
  const std::string_view field = request.headers.find("Authorization");
  if (!net::equals_ignoring_case(field.substr(0, kScheme.size()), kScheme)) return {};
  return field.substr(kScheme.size());
}

net::HttpResponse text_response(int status, std::string body, std::string_view type) {
  net::HttpResponse response;
  response.status = status;
  response.headers.add("Content-Type", type);
  response.body = std::move(body);
  return response;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? net::hex_digit(text[i + 1]) : -1;
    const int low = high >= 0 ? net::hex_digit(text[i + 2]) : -1;
    if (low >= 0) {
      out += static_cast<char>(high * 16 + low);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool is_compressed(const net::HttpRequest& request) {
  const std::string_view coding = request.headers.find("Content-Encoding");
  return !coding.empty() && !net::equals_ignoring_case(coding, "identity");
}

net::HttpResponse method_not_allowed(const net::HttpRequest& request) {
  net::HttpResponse response = error_response(
      {405, "Not allowed here: " + request.method + ".", "invalid_request_error", "", ""});
  response.headers.add("Allow", "GET, HEAD");
  return response;
}

}  // namespace

FrontDoor::FrontDoor(RequestFlow& flow, const Tenants& tenants, Settings settings, Answers answers)
    : flow_(flow),
      tenants_(tenants),
      metrics_token_(settings.metrics_token.empty()
                         ? std::nullopt
                         : std::optional(digest_of_setting(settings.metrics_token))),
      access_(std::move(settings.access)),
      answers_(std::move(answers)),
      answers_of_nobody_(settings.answers_of_nobody) {
  for (std::size_t i = 0; i < settings.threads; ++i) random_.emplace_back(settings.seed());
}

void FrontDoor::append_answers(MetricsText& out) const {
  out.family("dualmesh_answers_total", MetricType::counter,
             "Requests below /v1/ that have ended, by tenant (empty: of none, or unauthorized) and "
             "class of the status; none: the client left first.");
  const auto append = [&](const std::string& tenant, const AnswerCounts& counts) {
    for (std::size_t i = 0; i < counts.by_class.size(); ++i) {
      const std::uint64_t count = counts.by_class[i].load(std::memory_order_relaxed);
      if (count == 0) continue;
      out.sample({{"tenant", tenant}, {"status", AnswerCounts::kClasses[i]}},
                 static_cast<double>(count));
    }
  };
  append("", answers_of_nobody_);
  for (const auto& [name, counts] : tenants_.directory()->answers()) append(name, *counts);
}

// Paths that are nobody's are answered without a key: 404, as they are to everybody.
bool FrontDoor::may_ask(const net::HttpRequest& head, Asker& asker) const {
  const std::string_view path = head.path();
  const std::string_view key = bearer_key(head);
  if (path == "/metrics") {
    return !metrics_token_ || equal_in_constant_time(digest_of(key), *metrics_token_);
  }
  if (!path.starts_with("/v1/")) return true;
  asker.answers = &answers_of_nobody_;
  if (!tenants_.needs_key()) {
    asker.client = policies::client_key(key);
    return true;
  }
  asker.tenant = tenants_.directory()->find(key);
  if (!asker.tenant) return false;
  asker.client = asker.tenant->client;
  if (asker.tenant->answers) asker.answers = asker.tenant->answers.get();
  return true;
}

net::HeadVerdict FrontDoor::head(const net::HttpRequest& head, net::IoThread& thread) {
  net::HeadVerdict verdict;
  auto incoming =
      std::make_unique<IncomingRequest>(head, random_[thread.index()], access_, thread.index());
  if (!may_ask(head, incoming->asker)) {
    flow_.stats().unauthorized.fetch_add(1, std::memory_order_relaxed);
    verdict.refusal = unauthorized(head);
    incoming->sign(*verdict.refusal, RequestEnd::refused);
    return verdict;
  }
  flow_.begin(head, thread, *incoming);
  if (incoming->prompt && is_compressed(head)) {
    flow_.stats().bad_requests.fetch_add(1, std::memory_order_relaxed);
    verdict.refusal = error_response({415, "the body must come without Content-Encoding",
                                      "invalid_request_error", "", "unsupported_content_encoding"});
    incoming->sign(*verdict.refusal, RequestEnd::refused);
    return verdict;
  }
  verdict.listener = std::move(incoming);
  return verdict;
}

net::HttpResponse FrontDoor::unauthorized(const net::HttpRequest& head) const {
  const bool metrics = head.path() == "/metrics";
  const std::string_view what = metrics ? "token" : "key";
  std::string message;
  if (head.headers.find("Authorization").empty()) {
    message = fmt::format("No {} came: send it as `Authorization: Bearer ...`.", what);
  } else if (bearer_key(head).empty()) {
    message = fmt::format("The Authorization field is not `Bearer` and then a {}.", what);
  } else {
    message = metrics ? "This token is not that of http.metrics_token."
                      : "This key is not known here: ask whoever runs this service for one.";
  }
  net::HttpResponse answer =
      error_response({401, std::move(message), "invalid_request_error", "", "invalid_api_key"});
  answer.headers.add("WWW-Authenticate", "Bearer");
  return answer;
}

// What is no success is a refusal here: no instance has been asked.
void FrontDoor::respond(net::Exchange& exchange, IncomingRequest& incoming,
                        net::HttpResponse answer) {
  incoming.sign(answer, answer.status < 400 ? RequestEnd::complete : RequestEnd::refused);
  exchange.respond(std::move(answer));
}

void FrontDoor::handle(std::shared_ptr<net::Exchange> exchange) {
  std::unique_ptr<IncomingRequest> incoming(
      static_cast<IncomingRequest*>(exchange->take_listener().release()));
  DUALMESH_CHECK(incoming, "nobody has judged {}", exchange->request().target);
  const net::HttpRequest& request = exchange->request();
  const std::string_view path = request.path();
  if (is_own_path(path)) {
    return respond(*exchange, *incoming,
                   is_read(request) ? answer_own(path) : method_not_allowed(request));
  }
  if (path.starts_with("/v1/")) return answer_api(std::move(exchange), std::move(incoming));
  respond(
      *exchange, *incoming,
      error_response({404, "Unknown request URL: " + request.method + " " + std::string(path) + ".",
                      "invalid_request_error", "", "unknown_url"}));
}

void FrontDoor::answer_api(std::shared_ptr<net::Exchange> exchange,
                           std::unique_ptr<IncomingRequest> incoming) {
  const net::HttpRequest& request = exchange->request();
  const std::string_view path = request.path();
  if (is_read(request) && path == kModelsPath) {
    return respond(*exchange, *incoming, json_response(200, models_json(answers_.models())));
  }
  if (is_read(request) && path.starts_with(kModelsPath) && path[kModelsPath.size()] == '/') {
    return respond(*exchange, *incoming, answer_model(path.substr(kModelsPath.size() + 1)));
  }
  flow_.handle(std::move(exchange), std::move(incoming));
}

net::HttpResponse FrontDoor::answer_model(std::string_view encoded_id) const {
  const std::string id = percent_decoded(encoded_id);
  for (ListedModel& model : answers_.models()) {
    if (model.id == id) return json_response(200, std::move(model.json));
  }
  return unknown_model(id);
}

net::HttpResponse FrontDoor::answer_own(std::string_view path) const {
  if (path == "/metrics") {
    return text_response(200, answers_.metrics(), "text/plain; version=0.0.4; charset=utf-8");
  }
  if (path == "/health") return json_response(200, R"({"status":"ok"})");
  const Readiness ready = answers_.ready();
  nlohmann::ordered_json json = {{"ready", ready.why_not.empty()}};
  if (!ready.why_not.empty()) json["why_not"] = ready.why_not;
  json["instances"] = {{"active", ready.instances_active}, {"healthy", ready.instances_healthy}};
  // Names of other nodes are whatever they call themselves.
  std::string text = json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  return json_response(ready.why_not.empty() ? 200 : 503, text + '\n');
}

}  // namespace dualmesh::node
