#include "net/mesh_acceptor.h"

#include <spdlog/spdlog.h>

#include "net/mesh_tls_stream.h"

namespace dualmesh::net {
namespace {

constexpr std::uint32_t kLingerMs = 1'000;

}  // namespace

IncomingPeer::IncomingPeer(std::string from, Refusals& refusals)
    : from_(std::move(from)), refusals_(refusals) {
  auto paf = kj::newPromiseAndFulfiller<void>();
  drop_ = kj::mv(paf.fulfiller);
  dropped_ = kj::mv(paf.promise);
}

void IncomingPeer::set_greeted(Caller caller) {
  if (std::exchange(greeted_, true)) return;
  caller_ = caller;
  on_greeted_();
}

void IncomingPeer::refuse(Refusal reason, const std::string& why) {
  if (!std::exchange(ended_, true)) refusals_.count(reason, from_, why);
}

void IncomingPeer::drop(Refusal reason, const std::string& why) {
  refuse(reason, why);
  drop_->fulfill();
}

MeshAcceptor::MeshAcceptor(Factory make_bootstrap, AcceptorLimits limits, Refusals& refusals,
                           kj::Timer& timer)
    : make_bootstrap_(kj::mv(make_bootstrap)),
      limits_(limits),
      refusals_(refusals),
      timer_(timer),
      tasks_(*this) {}

void MeshAcceptor::accept(kj::Own<kj::AsyncIoStream> stream, std::string from,
                          std::shared_ptr<const MeshCertificate> certificate) {
  if (open_ >= limits_.connections) {
    ++turned_away_;
    refusals_.count(Refusal::connections, from,
                    fmt::format("{} connections are open, and that is the limit", open_));
    return;
  }
  if (greeting_.size() >= limits_.greeting) {
    ++turned_away_;
    const auto oldest = greeting_.front();  // kept alive while it is dropped
    greeting_.pop_front();
    oldest->drop(Refusal::connections, "too many connections wait for their hello");
  }
  auto peer = std::make_shared<IncomingPeer>(std::move(from), refusals_);
  greeting_.push_back(peer);
  ++open_;
  auto ended = kj::evalNow([&]() {
    return certificate ? secure(kj::mv(stream), peer, kj::mv(certificate))
                       : serve(kj::mv(stream), peer);
  });
  tasks_.add(ended.exclusiveJoin(peer->dropped())
                 .exclusiveJoin(deadline(peer))
                 .attach(kj::defer([this, peer]() {
                   --open_;
                   greeting_.remove(peer);
                 })));
}

kj::Promise<void> MeshAcceptor::secure(kj::Own<kj::AsyncIoStream> stream,
                                       std::shared_ptr<IncomingPeer> peer,
                                       std::shared_ptr<const MeshCertificate> certificate) {
  auto tls =
      kj::heap<TlsStream>(kj::mv(stream), std::move(certificate), TlsStream::Side::accepting);
  TlsStream& stream_of = *tls;
  return kj::evalNow([&]() { return stream_of.handshake(); })
      .then([]() { return true; },
            [peer, &stream_of](kj::Exception&& exception) {
              peer->refuse(stream_of.refusal(), exception.getDescription().cStr());
              return false;
            })
      .then([this, peer, tls = kj::mv(tls)](bool good) mutable -> kj::Promise<void> {
        if (good) {
          peer->set_identity(tls->identity());
          return serve(kj::mv(tls), peer);
        }
        // Closing on unread bytes would reset the connection and destroy the alert that says why.
        auto lingering = tls->linger();
        return lingering.attach(kj::mv(tls))
            .exclusiveJoin(timer_.afterDelay(kLingerMs * kj::MILLISECONDS));
      });
}

kj::Promise<void> MeshAcceptor::serve(kj::Own<kj::AsyncIoStream> stream,
                                      std::shared_ptr<IncomingPeer> peer) {
  auto connection = kj::heap<MeshConnection>(kj::mv(stream), make_bootstrap_(peer));
  MeshConnection& serving = *connection;
  serving.pace(timer_, limits_.rates, throttled_);
  peer->on_greeted([this, raw = peer.get(), &serving]() {
    greeting_.remove_if([raw](const auto& waiting) { return waiting.get() == raw; });
    serving.greeted();
  });
  return serving.on_disconnect()
      .then([peer, &serving]() {
        const Violation violation = serving.violation();
        if (!violation.why.empty()) peer->refuse(violation.reason, violation.why);
      })
      .exclusiveJoin(silence(*peer, serving))
      .attach(kj::mv(connection));
}

// Two looks in a row, because after a pause of this process the first one comes before what waits
// in the socket has been read.
kj::Promise<void> MeshAcceptor::silence(const IncomingPeer& peer,
                                        const MeshConnection& connection) {
  struct Watch {
    kj::Timer& timer;
    const AcceptorLimits& limits;
    const IncomingPeer& peer;
    const MeshConnection& connection;
    std::uint64_t read = 0;
    int quiet_looks = 0;

    kj::Promise<void> run() {
      const std::uint32_t allowed_ms =
          peer.caller() == Caller::node ? limits.node_silence_ms : limits.administrator_silence_ms;
      return timer.afterDelay(allowed_ms / 2 * kj::MILLISECONDS)
          .then([this]() -> kj::Promise<void> {
            const bool quiet = connection.bytes_read() == read && !connection.over_rate();
            quiet_looks = quiet ? quiet_looks + 1 : 0;
            read = connection.bytes_read();
            if (quiet_looks >= 2) return kj::READY_NOW;
            return run();
          });
    }
  };
  auto watch = kj::heap<Watch>(Watch{timer_, limits_, peer, connection});
  auto watched = watch->run();
  return watched.attach(kj::mv(watch));
}

kj::Promise<void> MeshAcceptor::deadline(std::shared_ptr<IncomingPeer> peer) {
  return timer_.afterDelay(limits_.greeting_ms * kj::MILLISECONDS)
      .then([this, peer]() -> kj::Promise<void> {
        if (!peer->greeted()) {
          peer->drop(Refusal::silent, fmt::format("no hello within {} ms", limits_.greeting_ms));
        }
        return kj::NEVER_DONE;
      });
}

void MeshAcceptor::taskFailed(kj::Exception&& exception) {
  spdlog::debug("mesh: an incoming connection ended: {}", exception.getDescription().cStr());
}

}  // namespace dualmesh::net
