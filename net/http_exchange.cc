#include "net/http_exchange.h"

#include <charconv>

#include "net/http_writer.h"

namespace dualmesh::net {

HttpExchange::HttpExchange(std::shared_ptr<ServerConnection> connection, HttpRequest request,
                           std::unique_ptr<BodyListener> listener, HeldRequest held)
    : connection_(std::move(connection)),
      thread_(connection_->thread()),
      request_(std::move(request)),
      listener_(std::move(listener)),
      held_(std::move(held)) {}

HttpExchange::~HttpExchange() {
  if (!connection_) return;
  // Nobody will answer, or the answer stopped half-way.
  if (thread_.is_current() || thread_.impl().context.stopped()) {
    connection_->close();
  } else {
    thread_.post([connection = std::move(connection_)] { connection->close(); });
  }
}

void HttpExchange::on_gone(std::function<void()> gone) {
  on_gone_ = std::move(gone);
  if (!gone_ || told_gone_ || !on_gone_) return;
  told_gone_ = true;
  thread_.post(std::move(on_gone_));
  on_gone_ = nullptr;
}

void HttpExchange::client_gone() {
  gone_ = true;
  const auto connection = std::move(connection_);
  connection_.reset();
  if (const auto relay = relay_) {
    told_gone_ = true;
    return relay->client_gone();
  }
  if (!on_gone_ || told_gone_) return;
  told_gone_ = true;
  const auto gone = std::move(on_gone_);
  on_gone_ = nullptr;
  gone();
}

void HttpExchange::drained() {
  if (const auto relay = relay_) relay->drained();
}

std::size_t HttpExchange::buffered_bytes() const {
  return connection_ ? connection_->buffered_bytes() : 0;
}

void HttpExchange::respond(HttpResponse response) {
  DUALMESH_CHECK(!answered_, "{} {}", request_.method, request_.target);
  answered_ = true;
  on_gone_ = nullptr;
  const auto connection = std::move(connection_);
  connection_.reset();
  if (!connection) return;
  const bool keep_alive = connection->may_keep_alive();
  ResponseFraming framing;
  const bool bodiless = response.status == 204 || response.status == 304;
  if (!bodiless) framing.length = response.body.size();
  framing.close = !keep_alive;
  framing.keep_alive_10 = keep_alive && connection->minor_version() == 0;
  append_response_head(connection->output(), response.status, response.headers, framing);
  if (!bodiless && request_.method != "HEAD" && !response.body.empty()) {
    connection->append_owned(std::move(response.body));
  }
  connection->finish_answer(keep_alive, std::move(held_));
}

void HttpExchange::begin(int status, const Headers& headers) {
  DUALMESH_CHECK(!answered_, "{} {}", request_.method, request_.target);
  answered_ = true;
  if (!connection_) return;
  ResponseFraming framing;
  if (status == 204 || status == 304) {
    without_body_ = true;
  } else if (const std::string_view length = headers.find("content-length"); !length.empty()) {
    std::uint64_t bytes = 0;
    std::from_chars(length.data(), length.data() + length.size(), bytes);
    framing.length = length_left_ = bytes;
  } else if (connection_->minor_version() == 1) {
    framing.chunked = chunked_ = true;
  } else {
    close_after_ = true;  // an HTTP/1.0 client
    if (request_.method != "HEAD") connection_->answer_ends_with_connection();
  }
  if (request_.method == "HEAD") without_body_ = true;
  close_after_ = close_after_ || !connection_->may_keep_alive();
  framing.close = close_after_;
  framing.keep_alive_10 = !close_after_ && connection_->minor_version() == 0;
  append_response_head(connection_->output(), status, headers, framing);
}

void HttpExchange::write(std::string_view piece) {
  DUALMESH_CHECK(answered_, "write before begin");
  if (!connection_ || without_body_ || piece.empty()) return;
  if (length_left_) {
    DUALMESH_CHECK(piece.size() <= *length_left_, "{} over {}", piece.size(), *length_left_);
    *length_left_ -= piece.size();
  }
  if (chunked_) connection_->append(chunk_head(piece.size()));
  connection_->append(piece);
  if (chunked_) connection_->append(chunk_tail);
}

void HttpExchange::end() {
  DUALMESH_CHECK(answered_, "end before begin");
  on_gone_ = nullptr;
  const auto connection = std::move(connection_);
  connection_.reset();
  if (!connection) return;
  if (!without_body_) {
    DUALMESH_CHECK(length_left_.value_or(0) == 0, "{} bytes missing", *length_left_);
    if (chunked_) connection->append(last_chunk);
  }
  connection->finish_answer(!close_after_, std::move(held_));
}

void HttpExchange::abort() {
  answered_ = true;
  on_gone_ = nullptr;
  const auto connection = std::move(connection_);
  connection_.reset();
  if (connection) connection->finish_answer(false, std::move(held_), ServerConnection::Answer::cut);
  if (const auto relay = relay_) relay->client_gone();  // the instance need not go on
}

void HttpExchange::break_off(const ApiError& why) {
  if (const auto relay = relay_) relay->tell(why);
  abort();
}

void HttpExchange::release_body() {
  request_.body = {};
  held_.release_bytes();
}

void HttpExchange::relay(HttpClient& client, const std::string& destination,
                         std::string upstream_head, const ClientTimeouts& timeouts,
                         std::weak_ptr<RelayOwner> owner, Sending sending) {
  DUALMESH_CHECK(!answered_ && !relay_, "{} {}", request_.method, request_.target);
  auto relay = std::make_shared<Relay>(shared_from_this(), std::move(owner));
  relay_ = relay;
  relay->start(client, destination, std::move(upstream_head), timeouts, sending);
}

bool HttpExchange::call_off() {
  const auto relay = relay_;
  if (!relay || answered_ || gone_) return false;
  relay->call_off();
  return true;
}

}  // namespace dualmesh::net
