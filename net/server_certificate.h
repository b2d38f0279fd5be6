// ServerCertificate: what the HTTP listener shows its clients, ready for use.
//
// TLS 1.2 and 1.3; forward secrecy and authenticated encryption only; HTTP/1.1 by ALPN, and a
// client that offers others alone is refused. A client may resume by a ticket as long as this
// certificate is in use; the server keeps nothing for it. Clients show no certificate.
//
// Invariant: what loaded can serve: the key belongs to the certificate, which is for servers and
// valid now.
// Threads: immutable, shared by all; connections keep what they began with.
// Source: RFC 8446, RFC 7301; Mozilla's "intermediate" profile without DHE.
#pragma once

#include <cstdint>
#include <memory>

#include "net/certificate_files.h"
#include "net/error.h"

typedef struct ssl_ctx_st SSL_CTX;

namespace dualmesh::net {

class ServerCertificate {
 public:
  // `now_s` is Unix time; validity is judged by it. The CA of `files` is not looked at.
  static Result<std::shared_ptr<const ServerCertificate>> load(const CertificateFiles& files,
                                                               std::int64_t now_s);
  ~ServerCertificate();
  ServerCertificate(const ServerCertificate&) = delete;
  ServerCertificate& operator=(const ServerCertificate&) = delete;

  std::int64_t not_after_s() const { return not_after_s_; }
  SSL_CTX* context() const { return context_; }

 private:
  ServerCertificate(SSL_CTX* context, std::int64_t not_after_s)
      : context_(context), not_after_s_(not_after_s) {}

  SSL_CTX* context_;
  std::int64_t not_after_s_;
};

}  // namespace dualmesh::net
