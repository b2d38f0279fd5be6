// MeshCertificate: one certificate with its key and the CA that the mesh trusts, ready for use.
//
// Everything is checked when it is loaded, so that a bad file is refused with its name and what is
// wrong, and whatever was in use before stays in use: the key belongs to the certificate, the CA
// signed it, it is valid now. Only this CA is trusted, in both directions; the system's store is
// not. TLS 1.3 alone is spoken, because both ends are always programs of this project; there are no
// tickets and no resumption, so every connection verifies the certificates of the day.
//
// Threads: immutable; each connection keeps the one that it began with.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/certificate_files.h"
#include "net/error.h"
#include "net/mesh_identity.h"

typedef struct ssl_ctx_st SSL_CTX;
typedef struct x509_st X509;
typedef struct x509_store_ctx_st X509_STORE_CTX;

namespace dualmesh::net {

class MeshCertificate {
 public:
  // `now_s` is Unix time; validity is judged by it. REQUIRES: files.all().
  static Result<std::shared_ptr<const MeshCertificate>> load(const CertificateFiles& files,
                                                             std::int64_t now_s);
  ~MeshCertificate();
  MeshCertificate(const MeshCertificate&) = delete;
  MeshCertificate& operator=(const MeshCertificate&) = delete;

  const PeerIdentity& identity() const { return identity_; }
  std::int64_t not_after_s() const { return not_after_s_; }
  SSL_CTX* context() const { return context_; }

 private:
  explicit MeshCertificate(SSL_CTX* context) : context_(context) {}

  SSL_CTX* context_;
  PeerIdentity identity_;
  std::int64_t not_after_s_ = 0;
};

PeerIdentity identity_in(X509* certificate);
// Why a verification failed: "the certificate of 'r1' expired on 2026-11-20 12:00:00 UTC".
std::string describe_refusal(X509_STORE_CTX* verification);

}  // namespace dualmesh::net
