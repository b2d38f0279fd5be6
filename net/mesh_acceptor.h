// MeshAcceptor: serves the Bootstrap interface on incoming streams, with TLS where the listener has
// a certificate, a bounded number at a time.
//
// Each connection gets a bootstrap object of its own from the factory; it and every capability
// handed out through it die with the connection. Whoever has not been through TLS and an accepted
// hello (or an administrator's call) within the deadline is closed; when too many wait for theirs,
// the one that has waited longest gives way, because a node that means well says hello at once.
// Nothing is ever written on an incoming connection but answers, so one whose other end lost power
// would stay for good: it is closed when nothing has been read for a while.
//
// Threads: kj; one thread.
#pragma once

#include <kj/async-io.h>
#include <kj/function.h>
#include <kj/timer.h>

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "net/mesh.capnp.h"
#include "net/mesh_certificate.h"
#include "net/mesh_connection.h"
#include "net/mesh_refusals.h"

namespace dualmesh::net {

enum class Caller : std::uint8_t { node, administrator };

// One incoming connection, as the services behind it see it.
class IncomingPeer {
 public:
  IncomingPeer(std::string from, Refusals& refusals);

  const std::string& from() const { return from_; }  // an address, for people
  const std::optional<PeerIdentity>& identity() const { return identity_; }  // absent without TLS
  bool greeted() const { return greeted_; }
  Caller caller() const { return caller_; }  // once greeted
  void set_identity(PeerIdentity identity) { identity_ = std::move(identity); }

  void set_greeted(Caller caller);  // its hello or its administrator's call was accepted
  void refuse(Refusal reason, const std::string& why);  // counts and logs, the first time
  void refused() { ended_ = true; }                     // somebody has counted and logged it
  // Also ends the connection, in a turn of its own: may be called from the connection's own calls.
  void drop(Refusal reason, const std::string& why);
  kj::Promise<void> dropped() { return kj::mv(dropped_); }  // once
  void on_greeted(kj::Function<void()> call) { on_greeted_ = kj::mv(call); }

 private:
  std::string from_;
  Refusals& refusals_;
  std::optional<PeerIdentity> identity_;
  bool greeted_ = false;
  Caller caller_ = Caller::node;
  bool ended_ = false;
  kj::Function<void()> on_greeted_ = []() {};
  kj::Own<kj::PromiseFulfiller<void>> drop_;
  kj::Promise<void> dropped_ = nullptr;
};

struct AcceptorLimits {
  std::size_t connections = 1'024;
  std::size_t greeting = 64;  // of them, before an accepted hello
  std::uint32_t greeting_ms = 5'000;
  std::uint32_t node_silence_ms = 10'000;  // pings come each 250 ms
  std::uint32_t administrator_silence_ms = 600'000;
  PeerRates rates;
};

class MeshAcceptor final : private kj::TaskSet::ErrorHandler {
 public:
  using Factory = kj::Function<wire::Bootstrap::Client(std::shared_ptr<IncomingPeer>)>;
  MeshAcceptor(Factory make_bootstrap, AcceptorLimits limits, Refusals& refusals, kj::Timer& timer);

  // Beyond the bound: closed at once and counted. `from` is for people.
  void accept(kj::Own<kj::AsyncIoStream> stream, std::string from,
              std::shared_ptr<const MeshCertificate> certificate);
  std::size_t connections() const { return open_; }
  std::size_t greeting() const { return greeting_.size(); }
  std::uint64_t turned_away() const { return turned_away_; }
  std::uint64_t throttled() const { return throttled_; }  // times that reading had to wait

 private:
  kj::Promise<void> secure(kj::Own<kj::AsyncIoStream> stream, std::shared_ptr<IncomingPeer> peer,
                           std::shared_ptr<const MeshCertificate> certificate);
  kj::Promise<void> serve(kj::Own<kj::AsyncIoStream> stream, std::shared_ptr<IncomingPeer> peer);
  kj::Promise<void> deadline(std::shared_ptr<IncomingPeer> peer);
  // Done when nothing has come for at least the time allowed, and less than twice that.
  kj::Promise<void> silence(const IncomingPeer& peer, const MeshConnection& connection);
  void taskFailed(kj::Exception&& exception) override;

  Factory make_bootstrap_;
  AcceptorLimits limits_;
  Refusals& refusals_;
  kj::Timer& timer_;
  std::size_t open_ = 0;
  std::list<std::shared_ptr<IncomingPeer>> greeting_;  // the oldest first
  std::uint64_t turned_away_ = 0;
  std::uint64_t throttled_ = 0;
  kj::TaskSet tasks_;
};

}  // namespace dualmesh::net
