// Node: where it listens for clients, and what it shows them there.
#include <spdlog/spdlog.h>

#include <ctime>

#include "node/router/node.h"

namespace dualmesh::node {
namespace {

net::HostPort parsed(const std::string& listen) {
  net::HostPort address;
  DUALMESH_CHECK(net::split_destination(listen, address, net::PortZero::allowed), "address {}",
                 listen);
  return address;
}

}  // namespace

void Node::open_listeners() {
  if (!ready_.load() || listening_ || draining_.load() || !mesh_ready_.load()) return;
  listening_ = true;  // or given up
  if (open_listener(config_.http_listen, net::Transport::plain, http_port_)) {
    open_listener(config_.http_tls_listen, net::Transport::tls, https_port_);
  }
}

bool Node::open_listener(const std::string& listen, net::Transport transport,
                         std::atomic<std::uint16_t>& opened) {
  if (listen.empty()) return true;
  const net::HostPort address = parsed(listen);
  const auto port = server_.listen(address.host, address.port, transport);
  if (port.has_error()) {
    spdlog::critical("cannot listen for clients on {}: {}", listen, port.error().message);
    stopped(1);
    return false;
  }
  opened.store(*port);
  spdlog::info("serving clients on {}{}", net::join_destination({address.host, *port}),
               transport == net::Transport::tls ? " with TLS" : "");
  return true;
}

void Node::watch_certificate() {
  certificate_->check(std::time(nullptr));
  certificate_timer_ =
      io_threads_.at(0).after(std::chrono::milliseconds(config_.http_tls_check_interval_ms),
                              [this] { watch_certificate(); });
}

net::Result<void> Node::open_certificate() {
  if (config_.http_tls_listen.empty()) return {};
  auto opened = ListenerCertificate::open(
      config_.http_tls, std::time(nullptr),
      [this](auto certificate) { server_.set_certificate(std::move(certificate)); });
  if (opened.has_error()) return opened.error();
  certificate_ = std::move(*opened);
  return {};
}

std::optional<CertificateState> Node::certificate_state() const {
  if (!certificate_) return std::nullopt;
  return CertificateState{certificate_->not_after_s() - std::time(nullptr),
                          certificate_->files_refused()};
}

bool Node::ready() const {
  const bool listening = http_port_.load() != 0 || https_port_.load() != 0;
  return ready_.load() && listening && !draining_.load();
}

}  // namespace dualmesh::node
