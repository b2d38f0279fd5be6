#include "net/server_certificate.h"

#include <openssl/x509v3.h>

#include <string_view>

#include "net/pem_files.h"

namespace dualmesh::net {
namespace {

constexpr unsigned char protocol[] = "\x08http/1.1";

int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* length,
                    const unsigned char* offered, unsigned int offered_length, void*) {
  unsigned char* found = nullptr;
  if (SSL_select_next_proto(&found, length, protocol, sizeof protocol - 1, offered,
                            offered_length) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *chosen = found;
  return SSL_TLSEXT_ERR_OK;
}

OwnContext new_context() {
  OwnContext context(SSL_CTX_new(TLS_server_method()));
  DUALMESH_CHECK(context != nullptr, "{}", take_openssl_error());
  SSL_CTX* const c = context.get();
  SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION);
  // Of TLS 1.2; those of 1.3 are good as they are.
  DUALMESH_CHECK(SSL_CTX_set_cipher_list(c, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1, "{}",
                 take_openssl_error());
  SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                             SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  // Tickets without a store of sessions. One is enough: few clients keep several.
  SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_set_num_tickets(c, 1);
  constexpr std::string_view id = "dualmesh";
  SSL_CTX_set_session_id_context(c, reinterpret_cast<const unsigned char*>(id.data()), id.size());
  SSL_CTX_set_alpn_select_cb(c, choose_protocol, nullptr);
  // Idle connections keep no buffers; a write may stop after a record, and go on from elsewhere;
  // a record and what follows it is read at once.
  // A read returns after a record that brought nothing, or a client could keep it for ever.
  SSL_CTX_clear_mode(c, SSL_MODE_AUTO_RETRY);
  SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                          SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN);
  SSL_CTX_set_read_ahead(c, 1);
  return context;
}

}  // namespace

ServerCertificate::~ServerCertificate() { SSL_CTX_free(context_); }

Result<std::shared_ptr<const ServerCertificate>> ServerCertificate::load(
    const CertificateFiles& files, std::int64_t now_s) {
  OwnContext context = new_context();
  auto certificate = present(context.get(), files.certificate, files.key);
  if (!certificate) return certificate.error();
  if (X509_check_purpose(certificate->get(), X509_PURPOSE_SSL_SERVER, 0) != 1) {
    return Error{fmt::format("{}: the certificate is not for servers (its key usage)",
                             files.certificate)};
  }
  const ASN1_TIME* const not_before = X509_get0_notBefore(certificate->get());
  const ASN1_TIME* const not_after = X509_get0_notAfter(certificate->get());
  if (unix_seconds(not_before) > now_s) {
    return Error{fmt::format("{}: the certificate is not valid before {}", files.certificate,
                             utc_date(not_before))};
  }
  if (unix_seconds(not_after) <= now_s) {
    return Error{
        fmt::format("{}: the certificate expired on {}", files.certificate, utc_date(not_after))};
  }
  return std::shared_ptr<const ServerCertificate>(
      new ServerCertificate(context.release(), unix_seconds(not_after)));
}

}  // namespace dualmesh::net
