#include "net/mesh_tls_stream.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>

#include "net/pem_files.h"

namespace dualmesh::net {
namespace {

constexpr std::size_t kWriteStep = 64 * 1024;  // encrypted and sent before the next is encrypted

[[noreturn]] void fail(const std::string& why) {
  kj::throwFatalException(kj::Exception(kj::Exception::Type::FAILED, __FILE__, __LINE__,
                                        kj::str(kTlsFailure.data(), why.c_str())));
}

}  // namespace

TlsStream::TlsStream(kj::Own<kj::AsyncIoStream> inner,
                     std::shared_ptr<const MeshCertificate> certificate, Side side)
    : inner_(kj::mv(inner)),
      certificate_(std::move(certificate)),
      ssl_(SSL_new(certificate_->context())),
      received_(BIO_new(BIO_s_mem())),
      to_send_(BIO_new(BIO_s_mem())),
      sent_(kj::Promise<void>(kj::READY_NOW).fork()) {
  DUALMESH_CHECK(ssl_ != nullptr && received_ != nullptr && to_send_ != nullptr, "{}",
                 take_openssl_error());
  SSL_set_bio(ssl_, received_, to_send_);
  SSL_set_app_data(ssl_, this);
  SSL_set_verify(ssl_, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, verified);
  if (side == Side::dialling) {
    SSL_set_connect_state(ssl_);
  } else {
    SSL_set_accept_state(ssl_);
  }
}

TlsStream::~TlsStream() noexcept(false) { SSL_free(ssl_); }

// OpenSSL calls this for each certificate of the chain; it only listens.
int TlsStream::verified(int good, X509_STORE_CTX* verification) {
  if (good == 1) return 1;
  auto* ssl = static_cast<SSL*>(
      X509_STORE_CTX_get_ex_data(verification, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto& stream = *static_cast<TlsStream*>(SSL_get_app_data(ssl));
  stream.certificate_error_ = describe_refusal(verification);
  return 0;
}

kj::Promise<void> TlsStream::handshake() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_);
  const int error = SSL_get_error(ssl_, result);
  if (result == 1) {
    X509* theirs = SSL_get0_peer_certificate(ssl_);
    if (theirs == nullptr) fail("the other side showed no certificate");
    identity_ = identity_in(theirs);
    return flush();
  }
  if (error != SSL_ERROR_WANT_READ) {
    const std::string why = handshake_error(error, false);
    return flush().then([why]() { fail(why); });  // the other side is told by an alert
  }
  return flush().then([this]() { return fill(); }).then([this](bool more) {
    if (!more) fail(handshake_error(SSL_ERROR_ZERO_RETURN, true));
    return handshake();
  });
}

std::string TlsStream::handshake_error(int ssl_error, bool ended) const {
  if (!certificate_error_.empty()) return certificate_error_;
  if (ended || ssl_error == SSL_ERROR_ZERO_RETURN) {
    return "the other side ended the handshake; has it certificates of this mesh?";
  }
  const int reason = ERR_GET_REASON(ERR_peek_last_error());
  const std::string text = take_openssl_error();
  if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST) {
    return "the other side does not speak TLS (" + text + "); has it certificates of this mesh?";
  }
  if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
    return "the other side showed no certificate";
  }
  return "handshake: " + text;
}

kj::Promise<void> TlsStream::linger() {
  inner_->shutdownWrite();
  return forget();
}

kj::Promise<void> TlsStream::forget() {
  return inner_->tryRead(buffer_.data(), 1, buffer_.size()).then([this](size_t n) {
    return n == 0 ? kj::Promise<void>(kj::READY_NOW) : forget();
  });
}

kj::Promise<bool> TlsStream::fill() {
  return inner_->tryRead(buffer_.data(), 1, buffer_.size()).then([this](size_t n) {
    if (n > 0) BIO_write(received_, buffer_.data(), static_cast<int>(n));
    return n > 0;
  });
}

kj::Promise<void> TlsStream::flush() {
  const auto waiting = static_cast<std::size_t>(BIO_ctrl_pending(to_send_));
  if (waiting > 0) {
    auto bytes = kj::heapArray<kj::byte>(waiting);
    BIO_read(to_send_, bytes.begin(), static_cast<int>(waiting));
    sent_ = sent_.addBranch()
                .then([this, bytes = kj::mv(bytes)]() mutable {
                  auto written = inner_->write(bytes.begin(), bytes.size());
                  return written.attach(kj::mv(bytes));
                })
                .fork();
  }
  return sent_.addBranch();
}

kj::Promise<size_t> TlsStream::tryRead(void* buffer, size_t min_bytes, size_t max_bytes) {
  return read_on(static_cast<kj::byte*>(buffer), min_bytes, max_bytes, 0);
}

kj::Promise<size_t> TlsStream::read_on(kj::byte* buffer, size_t min_bytes, size_t max_bytes,
                                       size_t done) {
  while (done < max_bytes) {
    ERR_clear_error();
    std::size_t n = 0;
    const int result = SSL_read_ex(ssl_, buffer + done, max_bytes - done, &n);
    if (BIO_ctrl_pending(to_send_) > 0) {
      answering_ = flush().eagerlyEvaluate([](kj::Exception&&) {});  // the next write says it too
    }
    if (result == 1) {
      done += n;
      continue;
    }
    const int error = SSL_get_error(ssl_, result);
    if (error == SSL_ERROR_ZERO_RETURN || (error == SSL_ERROR_WANT_READ && done >= min_bytes))
      break;
    if (error != SSL_ERROR_WANT_READ) {
      fail("the other side ended it: " + take_openssl_error());
    }
    return fill().then([=, this](bool more) -> kj::Promise<size_t> {
      if (!more) return done;
      return read_on(buffer, min_bytes, max_bytes, done);
    });
  }
  return done;
}

void TlsStream::encrypt(const kj::byte* bytes, size_t size) {
  ERR_clear_error();
  std::size_t written = 0;
  if (size > 0 && SSL_write_ex(ssl_, bytes, size, &written) != 1) {
    fail("cannot send: " + take_openssl_error());
  }
}

kj::Promise<void> TlsStream::write(const void* buffer, size_t size) {
  const auto* bytes = static_cast<const kj::byte*>(buffer);
  const std::size_t step = std::min(size, kWriteStep);
  encrypt(bytes, step);
  if (step == size) return flush();
  return flush().then([=, this]() { return write(bytes + step, size - step); });
}

kj::Promise<void> TlsStream::write(kj::ArrayPtr<const kj::ArrayPtr<const kj::byte>> pieces) {
  // Small pieces (a message's segment table and first segment) share a record.
  std::array<kj::byte, 4096> together;
  std::size_t held = 0;
  while (pieces.size() > 0 && held + pieces[0].size() <= together.size()) {
    std::copy(pieces[0].begin(), pieces[0].end(), together.begin() + held);
    held += pieces[0].size();
    pieces = pieces.slice(1, pieces.size());
  }
  encrypt(together.data(), held);
  if (pieces.size() == 0) return flush();
  return write(pieces[0].begin(), pieces[0].size()).then([this, pieces]() -> kj::Promise<void> {
    if (pieces.size() == 1) return kj::READY_NOW;
    return write(pieces.slice(1, pieces.size()));
  });
}

void TlsStream::shutdownWrite() {
  ERR_clear_error();
  SSL_shutdown(ssl_);
  answering_ =
      flush().then([this]() { inner_->shutdownWrite(); }).eagerlyEvaluate([](kj::Exception&&) {});
}

}  // namespace dualmesh::net
