// TlsStream: TLS 1.3 over any kj stream, by OpenSSL over memory buffers.
//
// kj's own TlsContext verifies a server only against a host name that is known when dialling, and
// says nothing about a certificate it refused. A mesh dials addresses and learns names in the
// handshake that follows, so here the chain is verified by TLS, the name by whoever reads
// identity(), and a refusal says whose certificate it was and what is wrong with it.
//
// An end of the stream without TLS's farewell counts as its end: Cap'n Proto's framing notices a
// message that was cut.
//
// Invariant: at most one read and one write at a time, as kj's streams require; nothing of the
// inner stream is read ahead of TLS's own buffer of 16 KiB.
// Threads: kj; one thread.
#pragma once

#include <kj/async-io.h>

#include <array>
#include <memory>
#include <string>

#include "net/mesh_certificate.h"
#include "net/mesh_identity.h"
#include "net/mesh_refusals.h"

typedef struct ssl_st SSL;
typedef struct bio_st BIO;

namespace dualmesh::net {

// What every failure of a TlsStream begins with; a link's owner can tell it from a lost connection.
inline constexpr std::string_view kTlsFailure = "TLS: ";

class TlsStream final : public IdentifiedStream {
 public:
  enum class Side : std::uint8_t { dialling, accepting };
  TlsStream(kj::Own<kj::AsyncIoStream> inner, std::shared_ptr<const MeshCertificate> certificate,
            Side side);
  ~TlsStream() noexcept(false);
  KJ_DISALLOW_COPY(TlsStream);

  // First of all. Rejects with a reason for people; refusal() then says of which kind it was.
  kj::Promise<void> handshake();
  Refusal refusal() const {
    return certificate_error_.empty() ? Refusal::tls : Refusal::certificate;
  }
  // After a handshake that failed: reads and forgets until the other side has closed.
  kj::Promise<void> linger();
  const PeerIdentity& identity() const override { return identity_; }  // after the handshake

  kj::Promise<size_t> tryRead(void* buffer, size_t min_bytes, size_t max_bytes) override;
  kj::Promise<void> write(const void* buffer, size_t size) override;
  kj::Promise<void> write(kj::ArrayPtr<const kj::ArrayPtr<const kj::byte>> pieces) override;
  kj::Promise<void> whenWriteDisconnected() override { return inner_->whenWriteDisconnected(); }
  void shutdownWrite() override;
  void abortRead() override { inner_->abortRead(); }
  void getsockopt(int level, int option, void* value, kj::uint* length) override {
    inner_->getsockopt(level, option, value, length);
  }
  void setsockopt(int level, int option, const void* value, kj::uint length) override {
    inner_->setsockopt(level, option, value, length);
  }
  void getsockname(struct sockaddr* address, kj::uint* length) override {
    inner_->getsockname(address, length);
  }
  void getpeername(struct sockaddr* address, kj::uint* length) override {
    inner_->getpeername(address, length);
  }

 private:
  static int verified(int good, X509_STORE_CTX* verification);
  kj::Promise<void> forget();
  kj::Promise<bool> fill();   // from the inner stream; false at its end
  kj::Promise<void> flush();  // what TLS has to send, after what is being sent
  kj::Promise<size_t> read_on(kj::byte* buffer, size_t min_bytes, size_t max_bytes, size_t done);
  void encrypt(const kj::byte* bytes, size_t size);
  std::string handshake_error(int ssl_error, bool ended) const;

  kj::Own<kj::AsyncIoStream> inner_;
  std::shared_ptr<const MeshCertificate> certificate_;
  SSL* ssl_;
  BIO* received_;  // both belong to ssl_
  BIO* to_send_;
  PeerIdentity identity_;
  std::string certificate_error_;
  std::array<kj::byte, 16 * 1024> buffer_;
  kj::ForkedPromise<void> sent_;           // the newest write to the inner stream
  kj::Promise<void> answering_ = nullptr;  // TLS's own answers, sent while reading
};

}  // namespace dualmesh::net
