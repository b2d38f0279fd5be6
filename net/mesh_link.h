// MeshLink: one outgoing link to one address, kept up for as long as it lives.
//
//   dial -> hello -> up -> (stream ends, or drop()) -> down -> wait with jittered backoff -> dial
//   ...
//
// The owner writes the hello and judges the welcome; after `link_up` the Peer capability may be
// called until `link_down`. Backoff doubles from redial_min to redial_max and starts again after a
// link that was accepted. `drop` may be called from anywhere, also from the continuation of a call
// on this very link: the connection is torn down in a turn of its own.
//
// Threads: kj; one thread. Time, randomness and the network are parameters.
#pragma once

#include <kj/async-io.h>
#include <kj/timer.h>

#include <cstdint>
#include <random>
#include <string>

#include "net/mesh.capnp.h"
#include "net/mesh_connection.h"

namespace dualmesh::net {

class Dialer {
 public:
  virtual ~Dialer() noexcept(false) = default;
  // Rejects when nobody listens there. `address` is host:port.
  virtual kj::Promise<kj::Own<kj::AsyncIoStream>> dial(const std::string& address) = 0;
};

class MeshLink;

enum class LinkVerdict : std::uint8_t {
  keep,
  retry,  // refused for now: dial again at the slowest pace
  again,  // something about us has changed: dial again at the quickest pace
  close,  // never dial again: it is ourselves, or another link reaches the same node
};

class MeshLinkOwner {
 public:
  virtual ~MeshLinkOwner() noexcept(false) = default;
  virtual void write_hello(wire::Hello::Builder hello) = 0;
  virtual LinkVerdict welcomed(MeshLink& link, wire::Welcome::Reader welcome) = 0;
  virtual void link_up(MeshLink& link) = 0;
  // Also for a dial or a hello that failed (`was_up` false).
  virtual void link_down(MeshLink& link, bool was_up, const std::string& reason) = 0;
  virtual std::uint64_t& throttled() = 0;  // counts the times that reading a link had to wait
};

struct MeshLinkSettings {
  std::uint32_t redial_min_ms = 100;
  std::uint32_t redial_max_ms = 2'000;
  std::uint32_t call_timeout_ms = 3'000;
  PeerRates rates;
};

class MeshLink {
 public:
  MeshLink(std::string address, Dialer& dialer, kj::Timer& timer, std::mt19937_64& random,
           MeshLinkSettings settings, MeshLinkOwner& owner);

  const std::string& address() const { return address_; }
  bool up() const { return up_; }
  bool closed() const { return closed_; }
  wire::Peer::Client peer() const;  // REQUIRES: up()
  // Why this side has ended the conversation, if it has. REQUIRES: called from `link_down`.
  Violation violation() const;
  // What the other side's certificate says; null without TLS. REQUIRES: called from `welcomed`.
  const PeerIdentity* identity() const;
  void drop(std::string reason);
  // Somebody was heard from that address: skips the rest of the backoff, or of a dial once it has
  // gone on for redial_min_ms.
  void redial_soon();

 private:
  kj::Promise<void> run();
  kj::Promise<void> connect();
  kj::Promise<void> greet();
  kj::Promise<void> stay();
  kj::Promise<void> ended(std::string reason);
  kj::Promise<void> back_off();

  std::string address_;
  Dialer& dialer_;
  kj::Timer& timer_;
  std::mt19937_64& random_;
  MeshLinkSettings settings_;
  MeshLinkOwner& owner_;

  kj::Maybe<kj::Own<MeshConnection>> connection_;
  kj::Maybe<wire::Peer::Client> peer_;
  kj::Maybe<kj::Own<kj::PromiseFulfiller<void>>> drop_;   // ends `stay`
  kj::Maybe<kj::Own<kj::PromiseFulfiller<void>>> hurry_;  // ends `back_off` or a dial
  bool dialing_ = false;
  kj::TimePoint dialing_since_ = kj::origin<kj::TimePoint>();
  std::string drop_reason_;
  bool up_ = false;
  bool closed_ = false;
  std::uint32_t backoff_ms_;
  kj::Promise<void> hurry_later_ = nullptr;
  kj::Promise<void> task_ = nullptr;  // last: cancelled before what it uses
};

}  // namespace dualmesh::net
