// MeshSecurity: this node's certificate as configured (mesh.tls.*), and as renewed while it runs.
//
// The files are looked at every mesh.tls.check_interval_ms. A new certificate is for new
// connections; established ones go on with what they began with.
//
// Threads: opened anywhere, then the mesh thread's. Unix time is a parameter.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "net/certificate_renewal.h"
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
  bool check(std::int64_t now_s) { return certificate_ && renewal_.check(now_s); }

 private:
  explicit MeshSecurity(const MeshConfig& config);
  net::Result<std::int64_t> load(std::int64_t now_s);

  std::string node_name_;
  net::CertificateFiles files_;
  std::shared_ptr<const net::MeshCertificate> certificate_;
  net::CertificateRenewal renewal_;
};

}  // namespace dualmesh::node
