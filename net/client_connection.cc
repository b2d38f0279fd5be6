#include "net/client_connection.h"

#include <array>
#include <asio/connect.hpp>
#include <asio/post.hpp>
#include <asio/write.hpp>

#include "net/client_socket.h"
#include "net/destination.h"
#include "net/error.h"
#include "net/socket_options.h"

namespace dualmesh::net {
namespace {

constexpr std::size_t read_bytes = 16 * 1024;
constexpr std::chrono::seconds unacknowledged{30};

// Out of descriptors, ports or memory here: nobody else's fault. Asio says operation_aborted where
// no socket could be opened.
bool is_local_shortage(const std::error_code& error) {
  if (error == asio::error::operation_aborted) return true;
  for (const std::errc shortage :
       {std::errc::too_many_files_open, std::errc::too_many_files_open_in_system,
        std::errc::address_not_available, std::errc::no_buffer_space,
        std::errc::not_enough_memory}) {
    if (error == shortage) return true;
  }
  return false;
}

}  // namespace

void PendingCall::cancel() {
  if (finished) return;
  drop();
  if (auto held = connection.lock()) held->close();
}

void PendingCall::drop() {
  finished = true;
  listener.reset();
}

void PendingCall::forget_request() { request = {.asks_head = request.asks_head}; }

void PendingCall::deliver_head(HttpResponse& head) {
  if (listener) listener->on_head(head);
}

void PendingCall::deliver_body(std::string_view piece) {
  if (listener) listener->on_body(piece);
}

void PendingCall::pause() { paused = true; }

void PendingCall::resume() {
  if (!paused) return;
  paused = false;
  if (auto held = connection.lock()) held->resume();
}

void PendingCall::finish(ClientError error) {
  if (finished) return;
  finished = true;
  if (const auto hears = std::move(listener)) hears->on_done(error);
}

ClientConnection::ClientConnection(IoThread& thread, std::weak_ptr<ConnectionOwner> owner,
                                   std::string destination, std::size_t response_head_bytes)
    : thread_(thread),
      socket_(thread.impl().context),
      resolver_(thread.impl().context),
      deadline_(thread.impl().context),
      owner_(std::move(owner)),
      destination_(std::move(destination)),
      response_head_bytes_(response_head_bytes),
      parser_(new_parser()) {}

ResponseParser ClientConnection::new_parser() const {
  return ResponseParser(HeadLimits{response_head_bytes_, 200}, call_ && call_->request.asks_head);
}

void ClientConnection::connect_and_send(std::shared_ptr<PendingCall> call) {
  using asio::ip::tcp;
  call_ = std::move(call);
  call_->connection = weak_from_this();
  connecting_ = true;
  deadline_.set(call_->timeouts.connect, *this);
  HostPort to;
  const bool well_formed = split_destination(destination_, to);
  std::error_code not_an_address;
  const auto address = asio::ip::make_address(to.host, not_an_address);
  if (!well_formed) {
    asio::post(socket_.get_executor(),
               [self = shared_from_this()] { self->fail(ClientError::resolve); });
  } else if (!not_an_address) {
    connect(tcp::resolver::results_type::create(tcp::endpoint(address, to.port), to.host, ""));
  } else {
    resolver_.async_resolve(
        to.host, std::to_string(to.port), tcp::resolver::numeric_service,
        [self = shared_from_this()](const std::error_code& error,
                                    const tcp::resolver::results_type& found) {
          if (self->closed_) return;
          if (error || found.empty()) {
            return self->fail(is_local_shortage(error) ? ClientError::local : ClientError::resolve);
          }
          self->connect(found);
        });
  }
}

void ClientConnection::connect(const asio::ip::tcp::resolver::results_type& addresses) {
  asio::async_connect(
      socket_, addresses,
      [self = shared_from_this()](const std::error_code& error, const asio::ip::tcp::endpoint&) {
        self->connected(error);
      });
}

void ClientConnection::connected(const std::error_code& error) {
  if (closed_) {
    std::error_code ignored;
    socket_.close(ignored);  // the connect may have opened it again after close()
    return;
  }
  if (error) return fail(is_local_shortage(error) ? ClientError::local : ClientError::connect);
  connecting_ = false;
  set_socket_options(socket_, unacknowledged);
  begin_request();
  write_request();
  read_more();
}

void ClientConnection::send(std::shared_ptr<PendingCall> call) {
  DUALMESH_CHECK(!call_ && !closed_, "destination={}", destination_);
  call_ = std::move(call);
  call_->connection = weak_from_this();
  reused_ = true;
  begin_request();
  // Written at the end of this turn of the loop, with the requests of others: one after the other
  // they find their servers awake, where each alone would have to wake one.
  thread_.impl().at_turn_end(shared_from_this());
  read_more();
}

void ClientConnection::turn_ended() {
  if (!closed_ && call_ && !asked_) write_request();
}

void ClientConnection::begin_request() {
  answer_seen_ = in_body_ = body_seen_ = asked_ = false;
  parser_ = new_parser();
  response_ = {};
  deadline_.set(call_->timeouts.first_byte, *this);
  writing_ = call_;
}

void ClientConnection::write_request() {
  asked_ = true;
  using Buffers = std::array<asio::const_buffer, 2>;
  const std::string_view head = writing_->request.head, body = writing_->request.body;
  std::error_code error;
  const std::size_t count =
      write_at_once(socket_, Buffers{asio::buffer(head), asio::buffer(body)}, error);
  if (error || count == head.size() + body.size()) return written();
  const std::size_t of_head = std::min(count, head.size());
  asio::async_write(
      socket_, Buffers{asio::buffer(head) + of_head, asio::buffer(body) + (count - of_head)},
      [self = shared_from_this()](const std::error_code&, std::size_t) { self->written(); });
}

// A failed write is not told from here: the answer may have come before it, and if not, the read
// side sees how the connection ended.
void ClientConnection::written() {
  const auto call = std::move(writing_);
  if (closed_ || call != call_) return;
  if (answer_seen_) {
    call->forget_request();
  } else {
    deadline_.set(call->timeouts.first_byte, *this);
  }
}

void ClientConnection::read_more() {
  if (reading_ || closed_ || (call_ && call_->paused)) return;
  reading_ = true;
  socket_.async_read_some(
      asio::buffer(in_.prepare(read_bytes), read_bytes),
      [self = shared_from_this()](const std::error_code& error, std::size_t count) {
        self->reading_ = false;
        self->received(error, count);
      });
}

void ClientConnection::received(const std::error_code& error, std::size_t count) {
  if (closed_) return;
  if (error) return stream_ended(error == asio::error::eof);
  in_.commit(count);
  // A server that talks before it is asked is of no use, and what it says is no answer.
  if (!call_) return close();
  if (!asked_) return stream_ended(false);
  answer_seen_ = true;
  if (!writing_) call_->forget_request();
  if (body_seen_) deadline_.set(call_->timeouts.idle, *this);
  process();
}

void ClientConnection::process() {
  if (processing_) return;  // resumed from inside a callback: the loop below goes on by itself
  processing_ = true;
  // The callbacks may cancel, which lets go of both.
  const auto call = call_;
  const auto listener = call ? call->listener : nullptr;
  while (!closed_ && call_ && !call_->paused && (in_body_ ? process_body() : process_head())) {
  }
  processing_ = false;
  read_more();
}

bool ClientConnection::process_head() {
  if (in_.empty()) return false;
  switch (parser_.parse(in_.data(), response_)) {
    case Parsed::need_more:
      return false;
    case Parsed::failed:
      fail(ClientError::malformed);
      return false;
    case Parsed::complete:
      break;
  }
  in_.consume(parser_.head_size());
  if (response_.status < 200) {  // interim
    parser_ = new_parser();
    response_ = {};
    return true;
  }
  keep_alive_ = parser_.keep_alive();
  body_ = BodyReader(parser_.framing());
  in_body_ = true;  // its first byte is still due by the deadline of the head
  call_->deliver_head(response_);
  return true;
}

bool ClientConnection::process_body() {
  std::string_view input = in_.data();
  const std::size_t before = input.size();
  std::string_view piece;
  const Decoded step = body_.decode(input, piece);
  in_.consume(before - input.size());
  switch (step) {
    case Decoded::need_more:
      return false;
    case Decoded::failed:
      fail(ClientError::malformed);
      return false;
    case Decoded::done:
      complete();
      return false;
    case Decoded::piece:
      break;
  }
  if (!body_seen_) {
    body_seen_ = true;
    deadline_.set(call_->timeouts.idle, *this);
  }
  call_->deliver_body(piece);
  return true;
}

void ClientConnection::complete() {
  const auto call = std::move(call_);
  call_.reset();
  deadline_.clear();
  if (keep_alive_ && !writing_ && in_.empty()) {
    if (auto owner = owner_.lock()) {
      owner->became_idle(shared_from_this());
    } else {
      close();
    }
  } else {
    close();
  }
  call->finish(ClientError::none);
}

void ClientConnection::stream_ended(bool cleanly) {
  if (!call_) return close();
  if (in_body_) {
    if (cleanly && body_.ends_with_connection()) return complete();
    return fail(ClientError::truncated);
  }
  if (reused_ && !answer_seen_ && !call_->retried) {
    const auto call = std::move(call_);
    call_.reset();
    close();
    call->retried = true;
    auto owner = owner_.lock();
    return owner ? owner->retry_stale(call) : call->finish(ClientError::send);
  }
  fail(ClientError::send);
}

void ClientConnection::fail(ClientError error) {
  const auto call = std::move(call_);
  call_.reset();
  close();
  if (call) call->finish(error);
}

void ClientConnection::resume() {
  if (closed_ || connecting_) return;
  if (call_) {
    deadline_.set(body_seen_ ? call_->timeouts.idle : call_->timeouts.first_byte, *this);
  }
  process();
}

void ClientConnection::expired() {
  if (closed_) return;
  if (!call_) return close();  // idle for long enough
  if (connecting_) return fail(ClientError::connect);
  if (call_->paused) return;  // it is we who do not read
  fail(ClientError::timeout);
}

void ClientConnection::idle_until(std::chrono::milliseconds idle_time) {
  deadline_.set(idle_time, *this);
  read_more();
}

void ClientConnection::close() {
  if (closed_) return;
  closed_ = true;
  deadline_.cancel();
  resolver_.cancel();
  std::error_code ignored;
  socket_.close(ignored);
  if (call_) call_->drop();
  call_.reset();
  if (auto owner = owner_.lock()) owner->closed(shared_from_this());
}

}  // namespace dualmesh::net
