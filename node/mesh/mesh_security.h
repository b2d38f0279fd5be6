// MeshSecurity: this node's certificate as configured (mesh.tls.*), and as renewed while it runs.
//
// The files are looked at every mesh.tls.check_interval_ms. New ones are taken as a whole or not at
// all: one that cannot be used is refused with the reason, once, and the certificate in use stays;
// it is tried again at each look, for it may only be too early, or descriptors were short.
// A new certificate is for new connections; established ones go on with what they began with.
//
// Threads: opened anywhere, then the mesh thread's. Unix time is a parameter.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "net/error.h"
#include "net/mesh_certificate.h"
#include "node/mesh/mesh_config.h"

namespace dualmesh::node {

class MeshSecurity {
 public:
  // Without mesh.tls.* in `config`, everything is plain.
  static net::Result<std::unique_ptr<MeshSecurity>> open(const MeshConfig& config,
                                                         std::int64_t now_s);

  // Null when everything is plain.
  const std::shared_ptr<const net::MeshCertificate>& certificate() const { return certificate_; }
  // Looks at the files; true when a new certificate has come into use.
  bool check(std::int64_t now_s);

 private:
  explicit MeshSecurity(const MeshConfig& config);
  net::Result<std::shared_ptr<const net::MeshCertificate>> load(std::int64_t now_s) const;
  std::string look() const;  // changes when a file does
  void warn_of_expiry(std::int64_t now_s);

  std::string node_name_;
  net::CertificateFiles files_;
  std::shared_ptr<const net::MeshCertificate> certificate_;
  std::string looked_;
  std::string why_not_;  // they cannot be used, as of the last look; empty: they can
  std::int64_t next_warning_s_ = 0;
};

}  // namespace dualmesh::node
