// ServerConnection: how it begins, what it waits for, and how it ends.
#include <poll.h>

#include "net/http_exchange.h"
#include "net/prompt_reader.h"
#include "net/server_connection.h"
#include "net/socket_options.h"

namespace dualmesh::net {
namespace {

// How long a client that has sent too much ahead may be gone before that is seen.
constexpr std::chrono::milliseconds look_interval{50};

// After a refusal the client may still be sending; closing at once would destroy our answer.
constexpr std::chrono::seconds linger_time{2};

}  // namespace

void ServerConnection::start() {
  set_socket_options(socket_.plain(), shared_->limits.write_timeout);
  deadline_.set(shared_->limits.idle_timeout, *this);
  read_more();
}

void ServerConnection::start_tls(const ServerCertificate& certificate) {
  set_socket_options(socket_.plain(), shared_->limits.write_timeout);
  phase_ = Phase::handshake;
  set_half_open(true);
  deadline_.set(shared_->limits.head_timeout, *this);
  socket_.async_handshake(certificate, [self = shared_from_this()](ClientSocket::Handshake end) {
    self->shaken_hands(end);
  });
}

void ServerConnection::shaken_hands(ClientSocket::Handshake end) {
  if (phase_ == Phase::closed) return;
  if (end == ClientSocket::Handshake::failed) return close();
  set_half_open(false);
  phase_ = Phase::head;
  if (end == ClientSocket::Handshake::plain_text) {
    ++shared_->refused_plain_text;
    return send_refusal({.message = "this port speaks TLS: use https://"});
  }
  ++(socket_.resumed() ? shared_->tls_resumed : shared_->tls_handshakes);
  deadline_.set(shared_->limits.idle_timeout, *this);
  read_more();
}

void ServerConnection::set_half_open(bool half_open) {
  if (half_open_ == half_open) return;
  half_open_ = half_open;
  half_open ? ++shared_->half_open_connections : --shared_->half_open_connections;
}

// A request may be on its way: not at once.
void ServerConnection::server_closing() {
  if (phase_ != Phase::head || head_started_) return;  // its answer will say that it is the last
  deadline_.set(HttpServer::closing_grace, *this);
}

void ServerConnection::answer_flushed() {
  held_.release();
  if (resets_ && is_cut_) return close();
  resets_ = false;
  if (!keep_alive_after_) return linger();
  phase_ = Phase::head;
  head_started_ = false;
  parser_ = RequestParser(HeadLimits{shared_->limits.head_bytes, shared_->limits.header_fields});
  deadline_.set(shared_->closing ? HttpServer::closing_grace : shared_->limits.idle_timeout, *this);
  process();
}

// Says "no more", then reads what still comes until the client has closed too.
void ServerConnection::linger() {
  phase_ = Phase::lingering;
  socket_.shutdown_send();
  deadline_.set(linger_time, *this);
  if (!reading_) in_.consume(in_.size());
  read_more();
}

void ServerConnection::close() {
  if (phase_ == Phase::closed) return;
  if (phase_ == Phase::head) socket_.say_goodbye();  // nothing is owed
  if (phase_ == Phase::handshake) ++shared_->tls_failed;
  phase_ = Phase::closed;
  set_half_open(false);
  deadline_.cancel();
  look_again_.reset();
  if (resets_) socket_.reset_on_close();
  socket_.close();
  held_.release();
  listener_.reset();
  if (const auto exchange = exchange_.lock()) exchange->client_gone();
}

void ServerConnection::expired() {
  switch (phase_) {
    case Phase::head:
      // Kept alive long enough. While the server closes, a request may cross our farewell.
      if (!head_started_) return shared_->closing ? linger() : close();
      return refuse(408, "the request head took too long");
    case Phase::body:
      return refuse(408, "the request body took too long");
    default:
      return close();  // a client that does not read, or lingers
  }
}

// The later of what was received would do and what the whole may take is never waited for.
void ServerConnection::set_body_deadline() {
  const ServerLimits& limits = shared_->limits;
  Deadline::Clock::duration left = limits.body_timeout;
  if (limits.min_body_rate_bytes_per_s > 0) {
    const std::chrono::duration<double> whole(
        static_cast<double>(wire_body_bytes_) /
        static_cast<double>(limits.min_body_rate_bytes_per_s));
    const auto until = body_began_ + limits.body_timeout +
                       std::chrono::duration_cast<Deadline::Clock::duration>(whole);
    left = std::min(left, until - Deadline::coarse_now());
  }
  deadline_.set(left, *this);
}

// A socket that is not read does not tell that its client has left, so the kernel is asked.
void ServerConnection::watch_for_leaving() {
  look_again_ = thread_.after(look_interval, [self = weak_from_this()] {
    const auto connection = self.lock();
    if (!connection || connection->phase_ == Phase::closed || connection->reading_) return;
    pollfd seen{connection->socket_.plain().native_handle(), POLLRDHUP, 0};
    if (::poll(&seen, 1, 0) > 0) return connection->close();
    connection->read_more();
  });
}

}  // namespace dualmesh::net
