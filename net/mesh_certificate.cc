#include "net/mesh_certificate.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <ctime>
#include <fstream>
#include <iterator>

namespace dualmesh::net {
namespace {

constexpr std::size_t kMaxFileBytes = 1 << 20;
constexpr std::size_t kMaxNames = 64;
constexpr int kMaxChain = 4;  // intermediate certificates

template <class T, void (*free)(T*)>
struct Freer {
  void operator()(T* thing) const { free(thing); }
};
using OwnContext = std::unique_ptr<SSL_CTX, Freer<SSL_CTX, SSL_CTX_free>>;
using OwnCertificate = std::unique_ptr<X509, Freer<X509, X509_free>>;
using OwnKey = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY, EVP_PKEY_free>>;
using OwnBio = std::unique_ptr<BIO, Freer<BIO, BIO_free_all>>;
using OwnVerification = std::unique_ptr<X509_STORE_CTX, Freer<X509_STORE_CTX, X509_STORE_CTX_free>>;

Result<std::string> read_file(const char* what, const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return Error{fmt::format("{}: {} cannot be read", path, what)};
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (text.empty() || text.size() > kMaxFileBytes) {
    return Error{fmt::format("{}: {} is {}", path, what, text.empty() ? "empty" : "too large")};
  }
  return Result<std::string>(boost::system::in_place_value, std::move(text));
}

OwnBio memory(const std::string& text) {
  return OwnBio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// An encrypted key has no one to type its password: refused, not asked for on a terminal.
int no_password(char*, int, int, void*) { return 0; }

std::vector<OwnCertificate> read_certificates(const std::string& pem) {
  std::vector<OwnCertificate> all;
  const OwnBio bio = memory(pem);
  while (X509* one = PEM_read_bio_X509(bio.get(), nullptr, no_password, nullptr)) {
    all.emplace_back(one);
  }
  ERR_clear_error();  // the end of the file
  return all;
}

std::int64_t unix_seconds(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return 0;
  return timegm(&parts);
}

std::string date(const ASN1_TIME* time) {
  const std::time_t seconds = unix_seconds(time);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text;
}

// The CA's certificates into the context's store.
Result<void> trust(SSL_CTX* context, const CertificateFiles& files) {
  auto pem = read_file("the CA", files.ca);
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

// Certificate, chain and key into the context; the certificate.
Result<OwnCertificate> present(SSL_CTX* context, const CertificateFiles& files) {
  auto pem = read_file("the certificate", files.certificate);
  if (!pem) return pem.error();
  auto chain = read_certificates(*pem);
  if (chain.empty()) {
    return Error{fmt::format("{}: holds no PEM certificate", files.certificate)};
  }
  auto key_pem = read_file("the key", files.key);
  if (!key_pem) return key_pem.error();
  const OwnKey key(PEM_read_bio_PrivateKey(memory(*key_pem).get(), nullptr, no_password, nullptr));
  OPENSSL_cleanse(key_pem->data(), key_pem->size());
  if (!key) {
    ERR_clear_error();
    return Error{fmt::format("{}: holds no PEM key without a password", files.key)};
  }
  if (SSL_CTX_use_certificate(context, chain[0].get()) != 1) {
    return Error{fmt::format("{}: {}", files.certificate, take_openssl_error())};
  }
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1) {
    ERR_clear_error();
    return Error{fmt::format("{}: this is not the key of the certificate in {}", files.key,
                             files.certificate)};
  }
  for (std::size_t i = 1; i < chain.size(); ++i) SSL_CTX_add1_chain_cert(context, chain[i].get());
  return std::move(chain[0]);
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

std::string take_openssl_error() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  return reason == nullptr ? "unknown error" : reason;
}

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
    return fmt::format("{} expired on {}", which, date(X509_get0_notAfter(at)));
  }
  if (at != nullptr && error == X509_V_ERR_CERT_NOT_YET_VALID) {
    return fmt::format("{} is not valid before {}", which, date(X509_get0_notBefore(at)));
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
  auto certificate = present(context.get(), files);
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
