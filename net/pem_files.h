// Certificates and keys out of PEM files, and into OpenSSL's contexts. Private to net/*.cc.
//
// What is wrong with a file is said with its name. Threads: functions.
#pragma once

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "net/error.h"

namespace dualmesh::net {

template <class T, void (*free)(T*)>
struct OpensslFree {
  void operator()(T* thing) const { free(thing); }
};
using OwnContext = std::unique_ptr<SSL_CTX, OpensslFree<SSL_CTX, SSL_CTX_free>>;
using OwnCertificate = std::unique_ptr<X509, OpensslFree<X509, X509_free>>;

// `what` is in the file, for messages.
Result<std::string> read_pem(const char* what, const std::string& path);
std::vector<OwnCertificate> read_certificates(const std::string& pem);
// Certificate, the chain above it and the key into the context; the certificate.
Result<OwnCertificate> present(SSL_CTX* context, const std::string& certificate_path,
                               const std::string& key_path);

std::int64_t unix_seconds(const ASN1_TIME* time);
std::string utc_date(const ASN1_TIME* time);
// The newest error of OpenSSL's queue of this thread, which is emptied.
std::string take_openssl_error();

}  // namespace dualmesh::net
