// ListenerCertificate: what this node shows its clients over TLS (http.tls.*), as configured and as
// renewed while it runs.
//
// Tickets of clients are sealed with keys that live as long as the loaded certificate; it is loaded
// anew twice a day even if its files stay, so that those keys do not live for ever.
//
// Threads: check() on one; the rest on any. Unix time is a parameter.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "net/certificate_renewal.h"
#include "net/server_certificate.h"

namespace dualmesh::node {

class ListenerCertificate {
 public:
  // Gets each certificate that comes into use.
  using Use = std::function<void(std::shared_ptr<const net::ServerCertificate>)>;

  // REQUIRES: a certificate and a key in `files`.
  static net::Result<std::unique_ptr<ListenerCertificate>> open(net::CertificateFiles files,
                                                                std::int64_t now_s, Use use);
  // Looks at the files.
  void check(std::int64_t now_s);

  std::int64_t not_after_s() const { return not_after_s_.load(); }
  bool files_refused() const { return files_refused_.load(); }  // as of the last look

 private:
  ListenerCertificate(net::CertificateFiles files, Use use);
  net::Result<std::int64_t> load(std::int64_t now_s);

  const net::CertificateFiles files_;
  const Use use_;
  net::CertificateRenewal renewal_;
  std::int64_t loaded_s_ = 0;
  std::atomic<std::int64_t> not_after_s_{0};
  std::atomic<bool> files_refused_{false};
};

}  // namespace dualmesh::node
