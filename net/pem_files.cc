#include "net/pem_files.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include <ctime>
#include <fstream>
#include <iterator>

namespace dualmesh::net {
namespace {

constexpr std::size_t kMaxFileBytes = 1 << 20;

using OwnKey = std::unique_ptr<EVP_PKEY, OpensslFree<EVP_PKEY, EVP_PKEY_free>>;
using OwnBio = std::unique_ptr<BIO, OpensslFree<BIO, BIO_free_all>>;

OwnBio memory(const std::string& text) {
  return OwnBio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// An encrypted key has no one to type its password: refused, not asked for on a terminal.
int no_password(char*, int, int, void*) { return 0; }

}  // namespace

Result<std::string> read_pem(const char* what, const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return Error{fmt::format("{}: {} cannot be read", path, what)};
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (text.empty() || text.size() > kMaxFileBytes) {
    return Error{fmt::format("{}: {} is {}", path, what, text.empty() ? "empty" : "too large")};
  }
  return Result<std::string>(boost::system::in_place_value, std::move(text));
}

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

std::string utc_date(const ASN1_TIME* time) {
  const std::time_t seconds = unix_seconds(time);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text;
}

Result<OwnCertificate> present(SSL_CTX* context, const std::string& certificate_path,
                               const std::string& key_path) {
  auto pem = read_pem("the certificate", certificate_path);
  if (!pem) return pem.error();
  auto chain = read_certificates(*pem);
  if (chain.empty()) {
    return Error{fmt::format("{}: holds no PEM certificate", certificate_path)};
  }
  auto key_pem = read_pem("the key", key_path);
  if (!key_pem) return key_pem.error();
  const OwnKey key(PEM_read_bio_PrivateKey(memory(*key_pem).get(), nullptr, no_password, nullptr));
  OPENSSL_cleanse(key_pem->data(), key_pem->size());
  if (!key) {
    ERR_clear_error();
    return Error{fmt::format("{}: holds no PEM key without a password", key_path)};
  }
  if (SSL_CTX_use_certificate(context, chain[0].get()) != 1) {
    return Error{fmt::format("{}: {}", certificate_path, take_openssl_error())};
  }
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1) {
    ERR_clear_error();
    return Error{fmt::format("{}: this is not the key of the certificate in {}", key_path,
                             certificate_path)};
  }
  for (std::size_t i = 1; i < chain.size(); ++i) SSL_CTX_add1_chain_cert(context, chain[i].get());
  return std::move(chain[0]);
}

std::string take_openssl_error() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  return reason == nullptr ? "unknown error" : reason;
}

}  // namespace dualmesh::net
