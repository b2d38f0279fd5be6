#include "net/http_exchange.h"
#include "net/prompt_reader.h"

namespace dualmesh::net {
namespace {

// A client slower than its instance: stop reading upstream above, go on below.
constexpr std::size_t pause_above_bytes = 256 * 1024;
constexpr std::size_t resume_below_bytes = 64 * 1024;

}  // namespace

void Relay::start(HttpClient& client, const std::string& destination, std::string head,
                  const ClientTimeouts& timeouts, Sending sending) {
  if (exchange_->is_gone()) {
    exchange_->thread().post([self = shared_from_this()] { self->client_gone(); });
    return;
  }
  const HttpRequest& request = exchange_->request();
  call_ = client.send(destination,
                      {std::move(head), request.body, exchange_, request.method == "HEAD", sending},
                      timeouts, shared_from_this());
}

void Relay::on_head(HttpResponse& head) {
  result_.status = head.status;
  const auto owner = owner_.lock();
  if (!owner || !owner->relay_head(head)) {
    if (call_) call_->cancel();
    return finish(RelayResult::End::not_started, ClientError::none);
  }
  if (finished_) return;
  if (is_event_stream(head.headers) && !head.headers.has("content-encoding")) framer_.emplace();
  held_head_ = std::move(head);
}

// Engines send the head of a stream before they have computed anything. It waits here for the first
// byte of the body, so that an instance that dies until then can still be replaced by another; and
// head and first piece leave in one write.
void Relay::begin() {
  if (started_) return;
  started_ = true;
  exchange_->begin(held_head_.status, held_head_.headers);
  held_head_ = {};
}

void Relay::on_body(std::string_view piece) {
  pass(framer_ ? framer_->feed(piece) : piece);
  // Nothing can be tried again from here on.
  if (started_ && !finished_ && !call_->holds_request()) exchange_->release_body();
}

void Relay::pass(std::string_view piece) {
  if (piece.empty()) return;
  begin();
  result_.body_bytes += piece.size();
  exchange_->write(piece);
  if (const auto owner = owner_.lock()) owner->relay_body(piece);
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

void Relay::on_done(ClientError error) {
  if (error == ClientError::none) {
    if (framer_) pass(framer_->rest());
    begin();
    exchange_->end();
    finish(RelayResult::End::complete, error);
  } else if (!started_) {
    finish(RelayResult::End::not_started, error);
  } else {
    exchange_->relay_ended();  // closing now is the relay's own doing
    tell({.status = 502,
          .message = "the instance failed while it was answering",
          .type = "server_error",
          .code = "upstream_failed"});
    exchange_->abort();
    finish(RelayResult::End::broken, error);
  }
}

// The client has part of an answer. That of an event stream ends with whole events, so it can be
// told in its own words; the connection is closed next, without the mark of a complete body.
void Relay::tell(const ApiError& why) {
  // Where a length was promised there is no room for a word of ours.
  if (started_ && framer_ && framer_->between_events() && !exchange_->has_length()) {
    exchange_->write("data: " + to_json(why) + "\n\n");
  }
}

void Relay::client_gone() {
  if (call_) call_->cancel();
  finish(RelayResult::End::client_gone, ClientError::none);
}

void Relay::call_off() {
  if (call_) call_->cancel();
  finish(RelayResult::End::not_started, ClientError::called_off);
}

// Whoever calls holds this: what is let go here may be all else that does.
void Relay::finish(RelayResult::End end, ClientError error) {
  if (finished_) return;
  finished_ = true;
  exchange_->relay_ended();
  result_.end = end;
  result_.error = error;
  if (const auto owner = owner_.lock()) owner->relay_done(result_);
  call_.reset();
}

}  // namespace dualmesh::net
