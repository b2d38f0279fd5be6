#include "node/router/listener_certificate.h"

namespace dualmesh::node {
namespace {

constexpr std::int64_t kTicketKeys_s = 12 * 3'600;

}  // namespace

ListenerCertificate::ListenerCertificate(net::CertificateFiles files, Use use)
    : files_(std::move(files)),
      use_(std::move(use)),
      renewal_("http.tls", "clients that check it refuse to connect", files_,
               [this](std::int64_t now_s) { return load(now_s); }) {}

net::Result<std::unique_ptr<ListenerCertificate>> ListenerCertificate::open(
    net::CertificateFiles files, std::int64_t now_s, Use use) {
  std::unique_ptr<ListenerCertificate> made(
      new ListenerCertificate(std::move(files), std::move(use)));
  if (auto begun = made->renewal_.begin(now_s); !begun) {
    return net::Error{"http.tls: " + begun.error().message};
  }
  return made;
}

net::Result<std::int64_t> ListenerCertificate::load(std::int64_t now_s) {
  auto loaded = net::ServerCertificate::load(files_, now_s);
  if (!loaded) return loaded.error();
  loaded_s_ = now_s;
  not_after_s_ = (*loaded)->not_after_s();
  use_(*loaded);
  return (*loaded)->not_after_s();
}

void ListenerCertificate::check(std::int64_t now_s) {
  renewal_.check(now_s);
  files_refused_ = !renewal_.why_not().empty();
  // What is wrong with the files is said above; tickets can wait.
  if (now_s - loaded_s_ >= kTicketKeys_s) static_cast<void>(load(now_s));
}

}  // namespace dualmesh::node
