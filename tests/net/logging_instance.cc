#include "tests/net/logging_instance.h"

#include <algorithm>

namespace dualmesh::net::testing {
namespace {

std::string in_lower_case(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

}  // namespace

std::size_t LoggedRequest::count(const std::string& name) const {
  const std::string fields = in_lower_case(head), wanted = in_lower_case("\r\n" + name + ":");
  std::size_t found = 0;
  for (std::size_t at = 0; (at = fields.find(wanted, at)) != std::string::npos; ++at) ++found;
  return found;
}

bool LoggedRequest::is_plain() const {
  for (std::size_t i = 0; i < head.size(); ++i) {
    if (head[i] == '\0') return false;
    if (head[i] == '\r' && head[i + 1] != '\n') return false;
    if (head[i] == '\n' && head[i - 1] != '\r') return false;
  }
  return count("host") == 1 && count("transfer-encoding") == 0 && count("content-length") <= 1 &&
         head.find(" HTTP/1.1\r\n") == head.find("\r\n") - 9 &&
         head.find("\r\n ") == std::string::npos && head.find("\r\n\t") == std::string::npos;
}

void LoggingInstance::accept_all() {
  while (!stopping_) {
    if (!listener_.has_waiting(patience_ms / 10)) continue;  // all of them may be kept alive
    threads_.emplace_back(
        [this, peer = std::make_shared<RawPeer>(listener_.accept())] { serve(std::move(*peer)); });
  }
}

void LoggingInstance::serve(RawPeer peer) {
  for (;;) {
    LoggedRequest request{peer.receive_until("\r\n\r\n"), ""};
    if (!request.head.ends_with("\r\n\r\n")) return;
    const std::string fields = in_lower_case(request.head);
    const std::size_t length = fields.find("\r\ncontent-length: ");
    if (length != std::string::npos) {
      request.body = peer.receive_bytes(std::stoul(fields.substr(length + 18)));
    }
    const bool asks_head = request.head.starts_with("HEAD ");
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(std::move(request));
    }
    peer.send(std::string("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n") +
              (asks_head ? "" : "ok"));
  }
}

// One request on its way; keeps itself until it is done.
struct RelayingServer::Relaying final : RelayOwner {
  explicit Relaying(std::shared_ptr<Exchange> of) : exchange(std::move(of)) {}
  bool relay_head(HttpResponse&) override { return true; }
  void relay_body(std::string_view) override {}
  void relay_done(const RelayResult& result) override {
    const auto keep = std::move(self);
    const auto ours = std::move(exchange);
    if (result.end != RelayResult::End::not_started) return;
    HttpResponse bad_gateway;
    bad_gateway.status = 502;
    ours->respond(std::move(bad_gateway));
  }
  std::shared_ptr<Exchange> exchange;
  std::shared_ptr<Relaying> self;
};

RelayingServer::RelayingServer() {
  // Less than the patience of the instance, which waits for requests on connections that are kept.
  HttpClient::Limits limits;
  limits.idle_time = std::chrono::milliseconds(patience_ms / 5);
  client_ = std::make_unique<HttpClient>(threads_.at(0), limits);
  server_ = std::make_unique<HttpServer>(
      threads_, ServerLimits{}, [this](std::shared_ptr<Exchange> exchange) {
        std::string head;
        const HttpRequest& request = exchange->request();
        append_request_head(head, request, instance_.destination(), request.body.size());
        const auto owner = std::make_shared<Relaying>(exchange);
        owner->self = owner;
        exchange->relay(*client_, instance_.destination(), std::move(head), {}, owner);
      });
  port_ = *server_->listen("127.0.0.1", 0);
}

RelayingServer::~RelayingServer() {
  CHECK(becomes_true([&] { return server_->stats().held_requests == 0; }));
  CHECK(server_->stats().held_body_bytes == 0);
}

}  // namespace dualmesh::net::testing
