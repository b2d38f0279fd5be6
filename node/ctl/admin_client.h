// AdminClient: one node's administrators' interface (net/admin.capnp), asked from a program that
// waits.
//
// A call that fails comes back as net::Error, worded for people: what could not be done and what to
// try. Several nodes can be asked at once: send all, then wait for each.
//
// Invariant: no call outlasts its timeout, but the first of all at the address that a person gave:
// where it fails, that is asked once whether it speaks HTTP (http_probe.h). A client whose call
// failed to reach its node is dialled again by making a new one.
// Threads: one; all clients share the event loop of an AdminIo.
#pragma once

#include <kj/async-io.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "net/admin.capnp.h"
#include "net/error.h"
#include "net/mesh_certificate.h"
#include "net/mesh_connection.h"

namespace dualmesh::node::ctl {

inline constexpr std::uint16_t kDefaultMeshPort = 7000;
inline constexpr std::uint32_t kCallTimeoutMs = 3'000;

// The event loop of a program that asks, and the certificate it shows; null: without TLS.
struct AdminIo {
  kj::AsyncIoContext io = kj::setupAsyncIo();
  std::shared_ptr<const net::MeshCertificate> certificate;
  // What a person gave as a node's address, until a call there has shown what it is.
  std::optional<std::string> unproven;
};

// Puts a failed call into words: `doing` at `address` did not work, because, and what to try.
net::Error call_error(const std::string& doing, const std::string& address,
                      const kj::Exception& exception, AdminIo& io);

// A call under way; wait() may be called once.
template <class Results>
class PendingCall {
 public:
  PendingCall(kj::Promise<capnp::Response<Results>> promise, AdminIo& io, std::string doing,
              std::string address)
      : promise_(kj::mv(promise)),
        io_(io),
        doing_(std::move(doing)),
        address_(std::move(address)) {}

  net::Result<capnp::Response<Results>> wait() {
    std::optional<capnp::Response<Results>> response;
    auto failure =
        kj::runCatchingExceptions([&] { response.emplace(promise_.wait(io_.io.waitScope)); });
    KJ_IF_MAYBE (exception, failure) {
      return call_error(doing_, address_, *exception, io_);
    }
    if (io_.unproven == address_) io_.unproven.reset();
    return std::move(*response);
  }

 private:
  kj::Promise<capnp::Response<Results>> promise_;
  AdminIo& io_;
  std::string doing_;
  std::string address_;
};

class AdminClient {
 public:
  AdminClient(const std::string& address, AdminIo& io);

  const std::string& address() const { return address_; }
  wire::Admin::Client& admin() { return admin_; }

  // `doing` is what a person would call it: "read the members".
  template <class Params, class Results>
  PendingCall<Results> send(capnp::Request<Params, Results> request, std::string doing) {
    kj::Promise<capnp::Response<Results>> answer = request.send();
    return PendingCall<Results>(
        timer().timeoutAfter(kCallTimeoutMs * kj::MILLISECONDS, kj::mv(answer)), io_,
        std::move(doing), address_);
  }
  template <class Params, class Results>
  net::Result<capnp::Response<Results>> call(capnp::Request<Params, Results> request,
                                             std::string doing) {
    return send(kj::mv(request), std::move(doing)).wait();
  }
  void sleep_ms(std::uint32_t milliseconds);

 private:
  kj::Timer& timer() { return io_.io.provider->getTimer(); }
  kj::Promise<kj::Own<kj::AsyncIoStream>> dial();
  kj::Promise<wire::Admin::Client> connect();

  std::string address_;
  AdminIo& io_;
  kj::Maybe<kj::Own<net::MeshConnection>> connection_;
  wire::Admin::Client admin_;
};

}  // namespace dualmesh::node::ctl
