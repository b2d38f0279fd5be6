#include <cstring>

#include "net/http_exchange.h"
#include "net/prompt_reader.h"

namespace dualmesh::net {
namespace {

// A client slower than its instance: stop reading upstream above, go on below.
constexpr std::size_t pause_above_bytes = 256 * 1024;
constexpr std::size_t resume_below_bytes = 64 * 1024;

}  // namespace

void Relay::start(HttpClient& client, const std::string& destination, const HttpRequest& head,
                  const ClientTimeouts& timeouts) {
  if (exchange_->is_gone()) {
    exchange_->thread().post([self = shared_from_this()] { self->client_gone(); });
    return;
  }
  ClientHandler handler;
  handler.on_head = [self = shared_from_this()](const HttpResponse& head) { self->head(head); };
  handler.on_body = [self = shared_from_this()](std::string_view piece) { self->body(piece); };
  handler.on_done = [self = shared_from_this()](ClientError error) { self->done(error); };
  call_ = client.send(destination, head, {exchange_->request().body, exchange_}, timeouts,
                      std::move(handler));
}

void Relay::head(const HttpResponse& upstream) {
  HttpResponse head = upstream;
  result_.status = upstream.status;
  if (handler_.on_head && !handler_.on_head(head)) {
    if (call_) call_->cancel();
    return finish(RelayResult::End::not_started, ClientError::none);
  }
  if (finished_) return;
  event_stream_ = is_event_stream(head.headers);
  held_head_ = std::move(head);
}

// Engines send the head of a stream before they have computed anything. It waits here for the first
// byte of the body, so that an instance that dies until then can still be replaced by another; and
// head and first piece leave in one write.
void Relay::begin() {
  if (started_) return;
  started_ = true;
  exchange_->begin(held_head_.status, std::move(held_head_.headers));
}

void Relay::body(std::string_view piece) {
  begin();
  result_.body_bytes += piece.size();
  const std::size_t tail = std::min(piece.size(), sizeof last_bytes_);
  std::memmove(last_bytes_, last_bytes_ + tail, sizeof last_bytes_ - tail);
  std::memcpy(last_bytes_ + sizeof last_bytes_ - tail, piece.data() + piece.size() - tail, tail);
  exchange_->write(piece);
  if (handler_.on_body) handler_.on_body(piece);
  if (!finished_ && exchange_->buffered_bytes() > pause_above_bytes) {
    paused_ = true;
    call_->pause();
  }
}

void Relay::drained() {
  if (!paused_ || exchange_->buffered_bytes() >= resume_below_bytes) return;
  paused_ = false;
  call_->resume();
}

void Relay::done(ClientError error) {
  if (error == ClientError::none) {
    begin();
    exchange_->end();
    finish(RelayResult::End::complete, error);
  } else if (!started_) {
    finish(RelayResult::End::not_started, error);
  } else {
    exchange_->relay_ended();  // closing now is the relay's own doing
    tell_broken();
    finish(RelayResult::End::broken, error);
  }
}

// The client has part of an answer. Between two events of a stream it can be told in its own words;
// then the connection closes without the mark of a complete body.
void Relay::tell_broken() {
  const std::string_view last(last_bytes_, sizeof last_bytes_);
  if (event_stream_ && (last.ends_with("\n\n") || last.ends_with("\n\r\n"))) {
    exchange_->write("data: " +
                     to_json({.status = 502,
                              .message = "the instance failed while it was answering",
                              .type = "server_error",
                              .code = "upstream_failed"}) +
                     "\n\n");
  }
  exchange_->abort();
}

void Relay::client_gone() {
  if (call_) call_->cancel();
  finish(RelayResult::End::client_gone, ClientError::none);
}

void Relay::call_off() {
  if (call_) call_->cancel();
  finish(RelayResult::End::not_started, ClientError::called_off);
}

void Relay::finish(RelayResult::End end, ClientError error) {
  if (finished_) return;
  finished_ = true;
  const auto self = shared_from_this();
  exchange_->relay_ended();
  result_.end = end;
  result_.error = error;
  const auto handler = std::move(handler_);
  handler_ = {};
  if (handler.on_done) handler.on_done(result_);
  call_.reset();
}

}  // namespace dualmesh::net
