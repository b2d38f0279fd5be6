#include "net/tls_session.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "net/error.h"
#include "net/server_certificate.h"

namespace dualmesh::net {
namespace {

constexpr std::size_t record_bytes = SSL3_RT_MAX_PLAIN_LENGTH;
// Written in one go; then others have their turn.
constexpr std::size_t write_bytes = 16 * record_bytes;

// ---- OpenSSL's view of the socket. Its own would be killed by SIGPIPE.

int socket_of(BIO* bio) {
  return static_cast<int>(reinterpret_cast<std::intptr_t>(BIO_get_data(bio)));
}

int send_some(BIO* bio, const char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  const auto sent =
      ::send(socket_of(bio), bytes, static_cast<std::size_t>(size), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_write(bio);
  return static_cast<int>(sent);
}

int receive_some(BIO* bio, char* into, int size) {
  BIO_clear_retry_flags(bio);
  const auto received = ::recv(socket_of(bio), into, static_cast<std::size_t>(size), MSG_DONTWAIT);
  if (received < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_read(bio);
  return static_cast<int>(received);
}

long control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

const BIO_METHOD* socket_method() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    DUALMESH_CHECK(made != nullptr, "BIO_meth_new");
    BIO_meth_set_write(made, send_some);
    BIO_meth_set_read(made, receive_some);
    BIO_meth_set_ctrl(made, control);
    return made;
  }();
  return method;
}

}  // namespace

TlsSession::TlsSession(const ServerCertificate& certificate, int socket)
    : ssl_(SSL_new(certificate.context())) {
  BIO* const bio = BIO_new(socket_method());
  DUALMESH_CHECK(ssl_ != nullptr && bio != nullptr, "out of memory");
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<std::intptr_t>(socket)));
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_, bio, bio);
  SSL_set_accept_state(ssl_);
}

TlsSession::~TlsSession() { SSL_free(ssl_); }

TlsSession::Step TlsSession::outcome(int result) {
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_READ:
      return Step::want_read;
    case SSL_ERROR_WANT_WRITE:
      return Step::want_write;
    case SSL_ERROR_ZERO_RETURN:
      return Step::ended;
    default:
      failed_ = true;
      ERR_clear_error();
      return Step::failed;
  }
}

TlsSession::Step TlsSession::handshake() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_);
  return result == 1 ? Step::done : outcome(result);
}

bool TlsSession::resumed() const { return SSL_session_reused(ssl_) == 1; }

TlsSession::Step TlsSession::read(char* into, std::size_t size, std::size_t& count) {
  count = 0;
  if (failed_) return Step::failed;
  more_inside_ = true;
  while (count < size) {
    ERR_clear_error();
    std::size_t got = 0;
    const int result = SSL_read_ex(ssl_, into + count, size - count, &got);
    count += got;
    if (result == 1) continue;
    const Step step = outcome(result);
    more_inside_ = step != Step::want_read && step != Step::want_write;
    // What came before the end is taken first; the next read finds the end again.
    return count > 0 ? Step::done : step;
  }
  return Step::done;
}

TlsSession::Step TlsSession::write(std::string_view front, std::string_view back,
                                   std::size_t& count) {
  count = 0;
  if (failed_) return Step::failed;
  const std::size_t total = front.size() + back.size();
  while (count < total && count < write_bytes) {
    std::string_view piece =
        count < front.size() ? front.substr(count) : back.substr(count - front.size());
    std::array<char, record_bytes> joined;
    if (piece.size() < record_bytes && count < front.size() && !back.empty()) {
      // A short head and its body go in one record.
      const std::size_t more = std::min(record_bytes - piece.size(), back.size());
      std::memcpy(joined.data(), piece.data(), piece.size());
      std::memcpy(joined.data() + piece.size(), back.data(), more);
      piece = {joined.data(), piece.size() + more};
    }
    ERR_clear_error();
    std::size_t taken = 0;
    const int result =
        SSL_write_ex(ssl_, piece.data(), std::min(piece.size(), record_bytes), &taken);
    count += taken;
    if (result == 1) continue;
    const Step step = outcome(result);
    return count > 0 && step != Step::failed ? Step::done : step;
  }
  return Step::done;
}

void TlsSession::say_goodbye() {
  if (failed_ || !SSL_is_init_finished(ssl_)) return;
  ERR_clear_error();
  SSL_shutdown(ssl_);
  ERR_clear_error();
}

}  // namespace dualmesh::net
