// What the connections of one server share: its limits, whom it asks, and what is counted. Private
// to net/*.cc.
//
// Invariant: what is counted as held is given back by its HeldRequest, at the latest by its end.
// Threads: shared by the threads of a server; atomics and a lock; the rest does not change.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>

#include "net/address_counts.h"
#include "net/http_server.h"

namespace dualmesh::net {

// What TLS listeners show to whoever comes now.
class CurrentCertificate {
 public:
  void set(std::shared_ptr<const ServerCertificate> certificate) {
    const std::lock_guard lock(mutex_);
    certificate_ = std::move(certificate);
  }
  std::shared_ptr<const ServerCertificate> get() const {
    const std::lock_guard lock(mutex_);
    return certificate_;
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const ServerCertificate> certificate_;
};

struct ServerShared {
  ServerShared(ServerLimits server_limits, HttpServer::Handler server_handler,
               HttpServer::HeadHandler head_handler)
      : limits(server_limits),
        handler(std::move(server_handler)),
        on_head(std::move(head_handler)) {}

  const ServerLimits limits;
  const HttpServer::Handler handler;
  const HttpServer::HeadHandler on_head;  // may be empty
  CurrentCertificate certificate;  // of TLS listeners
  AddressCounts addresses;         // unused without limits.connections_per_address
  std::atomic<bool> closing = false;      // answers carry Connection: close
  std::atomic<std::uint64_t> accepted = 0;
  std::atomic<std::uint64_t> open_connections = 0;
  std::atomic<std::uint64_t> requests = 0;
  std::atomic<std::uint64_t> refused_malformed = 0;
  std::atomic<std::uint64_t> refused_too_large = 0;
  std::atomic<std::uint64_t> refused_overload = 0;
  std::atomic<std::uint64_t> refused_slow = 0;
  std::atomic<std::uint64_t> refused_connections = 0;
  std::atomic<std::uint64_t> refused_addresses = 0;
  std::atomic<std::uint64_t> refused_plain_text = 0;
  std::atomic<std::uint64_t> refused_tls = 0;
  std::atomic<std::uint64_t> half_open_connections = 0;
  std::atomic<std::uint64_t> tls_handshakes = 0;
  std::atomic<std::uint64_t> tls_resumed = 0;
  std::atomic<std::uint64_t> tls_failed = 0;
  std::atomic<std::uint64_t> held_requests = 0;
  std::atomic<std::uint64_t> held_body_bytes = 0;
};

// A request and body bytes counted as held; gives them back when it goes.
class HeldRequest {
 public:
  HeldRequest() = default;
  HeldRequest(HeldRequest&& other) noexcept;
  HeldRequest& operator=(HeldRequest&& other) noexcept;
  ~HeldRequest() { release(); }
  bool acquire(std::shared_ptr<ServerShared> shared);  // false: over the limit, nothing is held
  bool add_bytes(std::uint64_t count);                 // likewise
  void release_bytes();                                // the body has gone, the request is held on
  void release();

 private:
  std::shared_ptr<ServerShared> shared_;
  std::uint64_t bytes_ = 0;
};

}  // namespace dualmesh::net
