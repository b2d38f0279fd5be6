#include "net/certificate_renewal.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

namespace dualmesh::net {
namespace {

constexpr std::int64_t kDay_s = 86'400;
constexpr std::int64_t kWarnBefore_s = 14 * kDay_s;

}  // namespace

CertificateRenewal::CertificateRenewal(std::string whose, std::string once_expired,
                                       CertificateFiles files, Load load)
    : whose_(std::move(whose)),
      once_expired_(std::move(once_expired)),
      files_(std::move(files)),
      load_(std::move(load)) {}

Result<void> CertificateRenewal::begin(std::int64_t now_s) {
  looked_ = look();
  auto loaded = load_(now_s);
  if (!loaded) return loaded.error();
  not_after_s_ = *loaded;
  return {};
}

std::string CertificateRenewal::look() const {
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

bool CertificateRenewal::check(std::int64_t now_s) {
  warn_of_expiry(now_s);
  std::string seen = look();
  if (seen == looked_ && why_not_.empty()) return false;
  looked_ = std::move(seen);
  auto loaded = load_(now_s);
  if (!loaded) {
    if (why_not_ != loaded.error().message) {
      spdlog::error("{}: the new certificate is not taken, the old one stays: {}", whose_,
                    loaded.error().message);
    }
    why_not_ = loaded.error().message;
    return false;
  }
  why_not_.clear();
  not_after_s_ = *loaded;
  next_warning_s_ = 0;
  spdlog::info("{}: a new certificate is in use, valid for {} days", whose_,
               (not_after_s_ - now_s) / kDay_s);
  return true;
}

void CertificateRenewal::warn_of_expiry(std::int64_t now_s) {
  const std::int64_t left_s = not_after_s_ - now_s;
  if (left_s > kWarnBefore_s || now_s < next_warning_s_) return;
  next_warning_s_ = now_s + kDay_s / 24;
  if (left_s > 0) {
    next_warning_s_ = now_s + kDay_s;
    spdlog::warn("{}: {} expires in {:.1f} days", whose_, files_.certificate,
                 static_cast<double>(left_s) / kDay_s);
  } else {
    spdlog::error("{}: {} has expired: {}", whose_, files_.certificate, once_expired_);
  }
}

}  // namespace dualmesh::net
