#include "net/mesh_certificate.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "net/pem_files.h"

namespace dualmesh::net {
namespace {

constexpr std::size_t kMaxNames = 64;
constexpr int kMaxChain = 4;  // intermediate certificates

using OwnVerification =
    std::unique_ptr<X509_STORE_CTX, OpensslFree<X509_STORE_CTX, X509_STORE_CTX_free>>;

// The CA's certificates into the context's store.
Result<void> trust(SSL_CTX* context, const CertificateFiles& files) {
  auto pem = read_pem("the CA", files.ca);
  if (!pem) return pem.error();
  const auto authorities = read_certificates(*pem);
  if (authorities.empty()) {
    return Error{fmt::format("{}: holds no PEM certificate", files.ca)};
  }
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  for (const auto& authority : authorities) {
    if (X509_STORE_add_cert(store, authority.get()) != 1) {
      return Error{fmt::format("{}: {}", files.ca, take_openssl_error())};
    }
    SSL_CTX_add_client_CA(context, authority.get());
  }
  return {};
}

// As a peer will: up to the CA, valid at `now_s`.
Result<void> verify(SSL_CTX* context, X509* certificate, const CertificateFiles& files,
                    std::int64_t now_s) {
  STACK_OF(X509)* chain = nullptr;
  SSL_CTX_get0_chain_certs(context, &chain);
  const OwnVerification verification(X509_STORE_CTX_new());
  X509_STORE_CTX_init(verification.get(), SSL_CTX_get_cert_store(context), certificate, chain);
  X509_STORE_CTX_set_time(verification.get(), 0, now_s);
  X509_STORE_CTX_set_flags(verification.get(), X509_V_FLAG_PARTIAL_CHAIN);
  X509_STORE_CTX_set_purpose(verification.get(), X509_PURPOSE_SSL_CLIENT);
  if (X509_verify_cert(verification.get()) == 1) return {};
  ERR_clear_error();
  return Error{fmt::format("{}: {}; the CA is that of {}", files.certificate,
                           describe_refusal(verification.get()), files.ca)};
}

OwnContext new_context() {
  OwnContext context(SSL_CTX_new(TLS_method()));
  DUALMESH_CHECK(context != nullptr, "{}", take_openssl_error());
  SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context.get(), 0);
  // The other side has the CA; sending it would only have it called self-signed.
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
  SSL_CTX_set_verify_depth(context.get(), kMaxChain);
  // A mesh's CA is often signed by an organisation's root that is not trusted here.
  X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context.get()), X509_V_FLAG_PARTIAL_CHAIN);
  return context;
}

}  // namespace

PeerIdentity identity_in(X509* certificate) {
  PeerIdentity identity;
  identity.may_serve = X509_check_purpose(certificate, X509_PURPOSE_SSL_SERVER, 0) == 1;
  auto* names = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type != GEN_DNS || identity.names.size() >= kMaxNames) continue;
    identity.names.emplace_back(
        reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
        static_cast<std::size_t>(ASN1_STRING_length(name->d.dNSName)));
  }
  GENERAL_NAMES_free(names);
  return identity;
}

std::string describe_refusal(X509_STORE_CTX* verification) {
  const int error = X509_STORE_CTX_get_error(verification);
  X509* leaf = X509_STORE_CTX_get0_cert(verification);
  X509* at = X509_STORE_CTX_get_current_cert(verification);
  if (leaf == nullptr) return X509_verify_cert_error_string(error);
  const std::string who = identity_in(leaf).describe();
  const std::string whose = "the certificate of " + who;
  const std::string which =
      at == nullptr || at == leaf ? whose : "the CA's certificate above that of " + who;
  if (at != nullptr && error == X509_V_ERR_CERT_HAS_EXPIRED) {
    return fmt::format("{} expired on {}", which, utc_date(X509_get0_notAfter(at)));
  }
  if (at != nullptr && error == X509_V_ERR_CERT_NOT_YET_VALID) {
    return fmt::format("{} is not valid before {}", which, utc_date(X509_get0_notBefore(at)));
  }
  if (error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
      error == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE ||
      error == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT ||
      error == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN) {
    return whose + " is not signed by the CA of this mesh";
  }
  return fmt::format("{}: {}", which, X509_verify_cert_error_string(error));
}

MeshCertificate::~MeshCertificate() { SSL_CTX_free(context_); }

Result<std::shared_ptr<const MeshCertificate>> MeshCertificate::load(const CertificateFiles& files,
                                                                     std::int64_t now_s) {
  DUALMESH_CHECK(files.all(), "ca={} certificate={} key={}", files.ca, files.certificate,
                 files.key);
  OwnContext context = new_context();
  if (auto trusted = trust(context.get(), files); !trusted) return trusted.error();
  auto certificate = present(context.get(), files.certificate, files.key);
  if (!certificate) return certificate.error();
  if (auto good = verify(context.get(), certificate->get(), files, now_s); !good) {
    return good.error();
  }
  std::shared_ptr<MeshCertificate> loaded(new MeshCertificate(context.release()));
  loaded->identity_ = identity_in(certificate->get());
  loaded->not_after_s_ = unix_seconds(X509_get0_notAfter(certificate->get()));
  return std::shared_ptr<const MeshCertificate>(std::move(loaded));
}

}  // namespace dualmesh::net
