#include "node/mesh/mesh_security.h"

namespace dualmesh::node {

MeshSecurity::MeshSecurity(const MeshConfig& config)
    : node_name_(config.node_name),
      files_(config.tls),
      renewal_("mesh: " + node_name_, "other nodes refuse new connections", files_,
               [this](std::int64_t now_s) { return load(now_s); }) {}

net::Result<std::unique_ptr<MeshSecurity>> MeshSecurity::open(const MeshConfig& config,
                                                              std::int64_t now_s) {
  std::unique_ptr<MeshSecurity> security(new MeshSecurity(config));
  if (!config.tls.any()) return security;
  if (!config.tls.all()) {
    return net::Error{
        "mesh.tls.ca, mesh.tls.certificate and mesh.tls.key belong together: set all or none"};
  }
  if (auto begun = security->renewal_.begin(now_s); !begun) {
    return net::Error{"mesh.tls: " + begun.error().message};
  }
  return security;
}

net::Result<std::int64_t> MeshSecurity::load(std::int64_t now_s) {
  auto loaded = net::MeshCertificate::load(files_, now_s);
  if (!loaded) return loaded.error();
  const net::PeerIdentity& identity = (*loaded)->identity();
  if (!identity.is_node(node_name_)) {
    return net::Error{
        fmt::format("{}: is the certificate of {}; a node's bears its node.name, here "
                    "'{}', as a DNS name and may serve",
                    files_.certificate, identity.describe(), node_name_)};
  }
  certificate_ = std::move(*loaded);
  return certificate_->not_after_s();
}

}  // namespace dualmesh::node
