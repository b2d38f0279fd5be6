#include "net/mesh_link.h"

#include <algorithm>

#include "net/error.h"

namespace dualmesh::net {
namespace {

// Time for one lost packet. Longer would leave a healed network unnoticed: the kernel repeats what
// opens a connection after 1 s, 3 s, 7 s.
constexpr std::uint32_t kDialTimeoutMs = 1'500;

std::string describe(const kj::Exception& exception) {
  return std::string(exception.getDescription().cStr());
}

}  // namespace

MeshLink::MeshLink(std::string address, Dialer& dialer, kj::Timer& timer, std::mt19937_64& random,
                   MeshLinkSettings settings, MeshLinkOwner& owner)
    : address_(std::move(address)),
      dialer_(dialer),
      timer_(timer),
      random_(random),
      settings_(settings),
      owner_(owner),
      backoff_ms_(settings.redial_min_ms) {
  // Begins in a turn of its own, so that the owner has stored this link before it is called back.
  task_ = kj::evalLater([this]() { return run(); }).eagerlyEvaluate([](kj::Exception&& exception) {
    check_failed("a link never fails as a whole", __FILE__, __LINE__, describe(exception));
  });
}

wire::Peer::Client MeshLink::peer() const {
  KJ_IF_MAYBE (peer, peer_) {
    return *const_cast<wire::Peer::Client*>(peer);  // copying a client counts a reference
  }
  check_failed("link is up", __FILE__, __LINE__, address_);
}

Violation MeshLink::violation() const {
  KJ_IF_MAYBE (connection, connection_) {
    return (*connection)->violation();
  }
  return {};
}

const PeerIdentity* MeshLink::identity() const {
  KJ_IF_MAYBE (connection, connection_) {
    return (*connection)->identity();
  }
  return nullptr;
}

void MeshLink::drop(std::string reason) {
  KJ_IF_MAYBE (fulfiller, drop_) {
    if (drop_reason_.empty()) drop_reason_ = std::move(reason);
    (*fulfiller)->fulfill();
  }
}

void MeshLink::redial_soon() {
  const kj::Duration fresh = settings_.redial_min_ms * kj::MILLISECONDS;
  if (dialing_ && timer_.now() - dialing_since_ < fresh) {
    // Perhaps it will do; but its first packet may have met the network while it was still dead.
    hurry_later_ = timer_.atTime(dialing_since_ + fresh)
                       .then([this, dial = dialing_since_]() {
                         if (dialing_ && dialing_since_ == dial) redial_soon();
                       })
                       .eagerlyEvaluate(nullptr);
    return;
  }
  KJ_IF_MAYBE (fulfiller, hurry_) {
    backoff_ms_ = settings_.redial_min_ms;
    (*fulfiller)->fulfill();
  }
}

kj::Promise<void> MeshLink::run() {
  drop_reason_.clear();
  return connect()
      .then([this]() { return greet(); })
      .then([this]() { return stay(); })
      .then([this]() { return ended(drop_reason_); },
            [this](kj::Exception&& exception) { return ended(describe(exception)); })
      .then([this]() -> kj::Promise<void> {
        if (closed_) return kj::READY_NOW;
        return back_off().then([this]() { return run(); });
      });
}

kj::Promise<void> MeshLink::connect() {
  dialing_ = true;
  dialing_since_ = timer_.now();
  auto hurry = kj::newPromiseAndFulfiller<void>();
  hurry_ = kj::mv(hurry.fulfiller);
  // The first packet of a dial that met a dead network is repeated after 1, 2, 4 s only.
  auto given_up = hurry.promise.then([]() -> kj::Promise<kj::Own<kj::AsyncIoStream>> {
    return KJ_EXCEPTION(DISCONNECTED, "dialling anew: it was heard from");
  });
  return timer_
      .timeoutAfter(std::min(settings_.call_timeout_ms, kDialTimeoutMs) * kj::MILLISECONDS,
                    kj::evalNow([this]() { return dialer_.dial(address_); }))
      .exclusiveJoin(kj::mv(given_up))
      .attach(kj::defer([this]() {
        dialing_ = false;
        hurry_ = nullptr;
      }))
      .then([this](kj::Own<kj::AsyncIoStream>&& stream) {
        auto connection = kj::heap<MeshConnection>(kj::mv(stream));
        connection->pace(timer_, settings_.rates, owner_.throttled());
        connection_ = kj::mv(connection);
      });
}

kj::Promise<void> MeshLink::greet() {
  auto& connection = *KJ_ASSERT_NONNULL(connection_);
  auto request = connection.bootstrap().castAs<wire::Bootstrap>().helloRequest();
  owner_.write_hello(request.initHello());
  return timer_
      .timeoutAfter(settings_.call_timeout_ms * kj::MILLISECONDS,
                    request.send().then([](auto&& response) { return kj::mv(response); }))
      .then([this](capnp::Response<wire::Bootstrap::HelloResults>&& response) {
        switch (owner_.welcomed(*this, response.getWelcome())) {
          case LinkVerdict::keep:
            peer_ = response.getPeer();
            backoff_ms_ = settings_.redial_min_ms;
            return;
          case LinkVerdict::retry:
            backoff_ms_ = settings_.redial_max_ms;
            break;
          case LinkVerdict::again:
            backoff_ms_ = settings_.redial_min_ms;
            break;
          case LinkVerdict::close:
            closed_ = true;
            break;
        }
        drop_reason_ = "refused: " + std::string(response.getWelcome().getRefusal().cStr());
      });
}

kj::Promise<void> MeshLink::stay() {
  if (peer_ == nullptr) return kj::READY_NOW;
  auto dropped = kj::newPromiseAndFulfiller<void>();
  drop_ = kj::mv(dropped.fulfiller);
  up_ = true;
  owner_.link_up(*this);
  return KJ_ASSERT_NONNULL(connection_)
      ->on_disconnect()
      .then([this]() { drop_reason_ = "the peer closed the connection"; })
      .exclusiveJoin(kj::mv(dropped.promise));
}

kj::Promise<void> MeshLink::ended(std::string reason) {
  const bool was_up = up_;
  up_ = false;
  drop_ = nullptr;
  peer_ = nullptr;
  owner_.link_down(*this, was_up, reason);
  // The connection dies here, outside every continuation of its own.
  connection_ = nullptr;
  return kj::READY_NOW;
}

kj::Promise<void> MeshLink::back_off() {
  // Full jitter between half and all of the backoff, so that nodes do not dial in step.
  const std::uint32_t delay_ms =
      std::uniform_int_distribution<std::uint32_t>(backoff_ms_ / 2, backoff_ms_)(random_);
  backoff_ms_ = std::min(backoff_ms_ * 2, settings_.redial_max_ms);
  auto hurry = kj::newPromiseAndFulfiller<void>();
  hurry_ = kj::mv(hurry.fulfiller);
  return timer_.afterDelay(delay_ms * kj::MILLISECONDS)
      .exclusiveJoin(kj::mv(hurry.promise))
      .then([this]() { hurry_ = nullptr; });
}

}  // namespace dualmesh::net
