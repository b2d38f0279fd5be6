#include "node/mesh/mesh_security.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

namespace dualmesh::node {
namespace {

constexpr std::int64_t kDay_s = 86'400;
constexpr std::int64_t kWarnBefore_s = 14 * kDay_s;

}  // namespace

MeshSecurity::MeshSecurity(const MeshConfig& config)
    : node_name_(config.node_name), files_(config.tls) {}

net::Result<std::unique_ptr<MeshSecurity>> MeshSecurity::open(const MeshConfig& config,
                                                              std::int64_t now_s) {
  std::unique_ptr<MeshSecurity> security(new MeshSecurity(config));
  if (!config.tls.any()) return security;
  if (!config.tls.all()) {
    return net::Error{
        "mesh.tls.ca, mesh.tls.certificate and mesh.tls.key belong together: set all or none"};
  }
  security->looked_ = security->look();
  auto loaded = security->load(now_s);
  if (!loaded) return net::Error{"mesh.tls: " + loaded.error().message};
  security->certificate_ = std::move(*loaded);
  return security;
}

net::Result<std::shared_ptr<const net::MeshCertificate>> MeshSecurity::load(
    std::int64_t now_s) const {
  auto loaded = net::MeshCertificate::load(files_, now_s);
  if (!loaded) return loaded;
  const net::PeerIdentity& identity = (*loaded)->identity();
  if (!identity.is_node(node_name_)) {
    return net::Error{
        fmt::format("{}: is the certificate of {}; a node's bears its node.name, here "
                    "'{}', as a DNS name and may serve",
                    files_.certificate, identity.describe(), node_name_)};
  }
  return loaded;
}

std::string MeshSecurity::look() const {
  std::string seen;
  for (const std::string* path : {&files_.ca, &files_.certificate, &files_.key}) {
    struct stat file {};
    if (::stat(path->c_str(), &file) != 0) {
      seen += "absent;";
      continue;
    }
    seen += fmt::format("{} {} {} {}.{};", file.st_dev, file.st_ino, file.st_size,
                        file.st_mtim.tv_sec, file.st_mtim.tv_nsec);
  }
  return seen;
}

bool MeshSecurity::check(std::int64_t now_s) {
  if (!certificate_) return false;
  warn_of_expiry(now_s);
  std::string seen = look();
  if (seen == looked_ && why_not_.empty()) return false;
  looked_ = std::move(seen);
  auto loaded = load(now_s);
  if (!loaded) {
    if (why_not_ != loaded.error().message) {
      spdlog::error("mesh: {}: the new certificate is not taken, the old one stays: {}", node_name_,
                    loaded.error().message);
    }
    why_not_ = loaded.error().message;
    return false;
  }
  why_not_.clear();
  certificate_ = std::move(*loaded);
  next_warning_s_ = 0;
  spdlog::info("mesh: {}: a new certificate is in use, valid for {} days", node_name_,
               (certificate_->not_after_s() - now_s) / kDay_s);
  return true;
}

void MeshSecurity::warn_of_expiry(std::int64_t now_s) {
  const std::int64_t left_s = certificate_->not_after_s() - now_s;
  if (left_s > kWarnBefore_s || now_s < next_warning_s_) return;
  next_warning_s_ = now_s + kDay_s / 24;
  if (left_s > 0) {
    next_warning_s_ = now_s + kDay_s;
    spdlog::warn("mesh: {}: {} expires in {:.1f} days", node_name_, files_.certificate,
                 static_cast<double>(left_s) / kDay_s);
  } else {
    spdlog::error("mesh: {}: {} has expired: other nodes refuse new connections", node_name_,
                  files_.certificate);
  }
}

}  // namespace dualmesh::node
