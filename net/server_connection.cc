#include "net/server_connection.h"

#include "net/http_exchange.h"
#include "net/http_writer.h"
#include "net/prompt_reader.h"

namespace dualmesh::net {
namespace {

constexpr std::size_t head_read_bytes = 4 * 1024;
constexpr std::size_t body_read_bytes = 64 * 1024;
// What a client may send ahead while its request is answered; then we stop reading.
constexpr std::size_t early_bytes = 64 * 1024;
// What a refused client may still send.
constexpr std::size_t linger_bytes = 64 * 1024 * 1024;
// The first byte of a client that speaks TLS where nobody does: it would wait for what never comes.
constexpr char tls_record = 0x16;

}  // namespace

ServerConnection::ServerConnection(asio::ip::tcp::socket socket, std::string peer,
                                   std::unique_ptr<AddressCounts::Place> place, IoThread& thread,
                                   std::shared_ptr<ServerShared> shared,
                                   std::shared_ptr<Siblings> siblings)
    : socket_(std::move(socket)),
      thread_(thread),
      shared_(std::move(shared)),
      siblings_(std::move(siblings)),
      place_(std::move(place)),
      deadline_(thread.impl().context),
      peer_(std::move(peer)),
      parser_(HeadLimits{shared_->limits.head_bytes, shared_->limits.header_fields}) {
  siblings_->insert(this);
}

ServerConnection::~ServerConnection() {
  siblings_->erase(this);
  set_half_open(false);
  --shared_->open_connections;
}

// ---- reading

void ServerConnection::read_more() {
  if (reading_ || phase_ == Phase::closed) return;
  if ((phase_ == Phase::answering || phase_ == Phase::flushing) && in_.size() >= early_bytes) {
    return watch_for_leaving();
  }
  if (reads_into_body()) return read_into_body();
  const std::size_t room =
      phase_ == Phase::body || phase_ == Phase::lingering ? body_read_bytes : head_read_bytes;
  reading_ = true;
  socket_.async_read_some(
      asio::buffer(in_.prepare(room), room),
      [self = shared_from_this()](const std::error_code& error, std::size_t count) {
        self->reading_ = false;
        self->received(error, count);
      });
}

void ServerConnection::received(const std::error_code& error, std::size_t count) {
  if (phase_ == Phase::closed) return;
  if (error) return close();
  in_.commit(count);
  if (phase_ == Phase::lingering) {
    in_.consume(in_.size());
    lingered_bytes_ += count;
    if (lingered_bytes_ > linger_bytes) return close();
    return read_more();
  }
  if (phase_ == Phase::body) wire_body_bytes_ += count;
  process();
}

// A long body of known length goes straight to where it will lie.
bool ServerConnection::reads_into_body() const {
  return phase_ == Phase::body && in_.empty() &&
         parser_.framing().kind == BodyFraming::Kind::length &&
         parser_.framing().length >= request_.body.size() + head_read_bytes;
}

void ServerConnection::read_into_body() {
  const std::size_t had = request_.body.size();
  const std::size_t room = std::min<std::size_t>(parser_.framing().length - had, body_read_bytes);
  char* const begin = request_.body.grow(room);
  reading_ = true;
  socket_.async_read_some(
      asio::buffer(begin, room),
      [self = shared_from_this(), had](const std::error_code& error, std::size_t count) {
        self->reading_ = false;
        self->body_received(had, error, count);
      });
}

void ServerConnection::body_received(std::size_t had, const std::error_code& error,
                                     std::size_t count) {
  abandoned_body_ = {};
  if (phase_ != Phase::body) return received(error, 0);  // refused meanwhile
  request_.body.cut(had + count);
  if (error) return close();
  wire_body_bytes_ += count;
  std::string_view arrived = std::string_view(request_.body).substr(had), piece;
  const Decoded step = body_.decode(arrived, piece);
  DUALMESH_CHECK(step == Decoded::piece && piece.size() == count, "{} of {}", piece.size(), count);
  if (!held_.add_bytes(count)) return refuse_overload();
  if (listener_) listener_->grown(request_.body);
  process();
}

void ServerConnection::process() {
  if (processing_) return;  // answered from inside the handler: the loop below goes on
  processing_ = true;
  for (bool more = true; more;) {
    switch (phase_) {
      case Phase::head:
        more = process_head();
        break;
      case Phase::body:
        more = process_body();
        break;
      default:
        more = false;
    }
  }
  processing_ = false;
  read_more();
}

bool ServerConnection::process_head() {
  if (in_.empty()) return false;
  if (!head_started_) {
    if (in_.data().front() == tls_record) {
      ++shared_->refused_tls;
      // In plain, which clients know for what it is: "wrong version number", or in so many words.
      send_refusal({.message = "this port speaks HTTP without TLS: use http://"});
      return false;
    }
    head_started_ = true;
  }
  switch (parser_.parse(in_.data(), request_)) {
    case Parsed::need_more:
      if (!half_open_) {  // most heads come whole
        set_half_open(true);
        deadline_.set(shared_->limits.head_timeout, *this);
      }
      return false;
    case Parsed::failed:
      refuse_head();
      return false;
    case Parsed::complete:
      break;
  }
  in_.consume(parser_.head_size());
  set_half_open(false);
  begin_body();
  return true;
}

void ServerConnection::begin_body() {
  const BodyFraming& framing = parser_.framing();
  ++shared_->requests;
  request_.peer = peer_;
  if (!ask_head_handler()) return;
  if (framing.length > shared_->limits.body_bytes) {
    return refuse_large();
  }
  if (!held_.acquire(shared_)) return refuse_overload();
  body_ = BodyReader(framing);
  phase_ = Phase::body;
  wire_body_bytes_ = in_.size();
  body_began_ = Deadline::coarse_now();
  if (framing.kind == BodyFraming::Kind::length) {
    request_.body.reserve(std::min<std::size_t>(framing.length, 1024 * 1024));
  }
  if (parser_.expects_continue() && framing.kind != BodyFraming::Kind::none && in_.empty()) {
    append("HTTP/1.1 100 Continue\r\n\r\n");
  }
}

bool ServerConnection::ask_head_handler() {
  if (!shared_->on_head) return true;
  HeadVerdict verdict = shared_->on_head(request_, thread_);
  listener_ = std::move(verdict.listener);
  if (!verdict.refusal) return true;
  // The connection goes on only where no body is left that nobody wants.
  send_refusal(std::move(*verdict.refusal),
               may_keep_alive() && parser_.framing().kind == BodyFraming::Kind::none);
  return false;
}

bool ServerConnection::process_body() {
  std::string_view input = in_.data();
  const std::size_t before = input.size();
  std::string_view piece;
  const Decoded step = body_.decode(input, piece);
  in_.consume(before - input.size());
  const std::size_t limit = shared_->limits.body_bytes;
  const std::size_t size = request_.body.size() + piece.size();
  if (size > limit || body_.promised_bytes() > limit - size) {
    refuse_large();
    return false;
  }
  switch (step) {
    case Decoded::need_more:
      set_body_deadline();
      return false;
    case Decoded::failed:
      refuse(400, "a malformed chunked body");
      return false;
    case Decoded::done:
      hand_over();
      return true;
    case Decoded::piece:
      break;
  }
  if (!held_.add_bytes(piece.size())) {
    refuse_overload();
    return false;
  }
  request_.body += piece;
  if (listener_) listener_->grown(request_.body);
  return true;
}

void ServerConnection::hand_over() {
  phase_ = Phase::answering;
  deadline_.clear();
  auto exchange = std::make_shared<HttpExchange>(shared_from_this(), std::move(request_),
                                                 std::move(listener_), std::move(held_));
  request_ = {};
  exchange_ = exchange;
  shared_->handler(std::move(exchange));
}

// ---- writing

std::string& ServerConnection::output() {
  flush_soon();
  return pending_.back.empty() ? pending_.front : pending_.back;
}

void ServerConnection::append(std::string_view bytes) {
  if (phase_ == Phase::closed) return;
  output().append(bytes);
}

void ServerConnection::append_owned(std::string bytes) {
  if (phase_ == Phase::closed) return;
  if (pending_.back.empty()) {
    pending_.back = std::move(bytes);
  } else {
    pending_.back += bytes;
  }
  flush_soon();
}

std::size_t ServerConnection::buffered_bytes() const {
  return pending_.size() + (writing_.size() - written_);
}

bool ServerConnection::may_keep_alive() const {
  const auto age = shared_->limits.max_connection_age;
  return parser_.keep_alive() && !shared_->closing &&
         (age.count() == 0 || Deadline::coarse_now() - opened_ < age);
}

void ServerConnection::flush_soon() {
  if (flush_posted_ || write_in_flight_) return;
  flush_posted_ = true;
  thread_.impl().at_turn_end(shared_from_this());
}

void ServerConnection::turn_ended() {
  flush_posted_ = false;
  flush();
}

void ServerConnection::flush() {
  while (phase_ != Phase::closed && !write_in_flight_) {
    if (written_ == writing_.size()) {
      writing_.front.clear();
      writing_.back.clear();
      written_ = 0;
      std::swap(writing_, pending_);
    }
    if (writing_.size() == 0) {
      if (phase_ == Phase::flushing) answer_flushed();
      return;
    }
    if (!write()) return;
  }
}

bool ServerConnection::write() {
  const std::size_t in_front = std::min(written_, writing_.front.size());
  const std::size_t in_back = written_ - in_front;
  const ClientSocket::Buffers buffers = {asio::buffer(writing_.front) + in_front,
                                         asio::buffer(writing_.back) + in_back};
  std::error_code error;
  if (const std::size_t count = socket_.write_now(buffers, error); count > 0) {
    written(count);
    return true;
  }
  if (error) {
    close();
    return false;
  }
  write_in_flight_ = true;
  if (phase_ != Phase::body) deadline_.set(shared_->limits.write_timeout, *this);
  socket_.async_write_some(
      buffers, [self = shared_from_this()](const std::error_code& failed, std::size_t count) {
        self->write_in_flight_ = false;
        if (self->phase_ == Phase::closed) return;
        if (failed) return self->close();
        self->written(count);
        self->flush();
      });
  return false;
}

void ServerConnection::written(std::size_t count) {
  written_ += count;
  if (phase_ == Phase::answering && buffered_bytes() == 0) deadline_.clear();
  if (const auto exchange = exchange_.lock()) exchange->drained();
}

void ServerConnection::finish_answer(bool keep_alive, HeldRequest held, Answer answer) {
  if (phase_ == Phase::closed) return;
  is_cut_ = answer == Answer::cut;
  held_ = std::move(held);
  exchange_.reset();
  keep_alive_after_ = keep_alive;
  phase_ = Phase::flushing;
  flush_soon();
}

}  // namespace dualmesh::net
