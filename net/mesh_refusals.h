// Refusals: why something that arrived at the mesh was not taken, counted by reason and logged.
//
// Every byte, connection, hello and delta that a node turns down ends here, so that an operator can
// tell a wrong certificate from a wrong cluster name from an attack. The log gets at most one line
// per reason and second, the same line at most once a minute, with the number that were left out;
// the counters miss nothing.
//
// Threads: kj; the mesh thread's.
#pragma once

#include <kj/timer.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace dualmesh::net {

enum class Refusal : std::uint8_t {
  connections,  // too many incoming connections, or too many that have not said hello
  tls,          // no TLS handshake, or none in time: plain TCP to a TLS port, an old protocol
  certificate,  // not of the mesh's CA, expired, not yet valid, not for this use
  silent,       // connected, but no hello in time
  framing,      // bytes that are no Cap'n Proto message: 512 segments or more
  oversize,     // a message beyond the size limit
  calls,        // too many calls whose results were never given back
  protocol,     // Cap'n Proto itself found the conversation invalid
  cluster,      // another cluster name
  version,      // another protocol version
  parameters,   // other ring or hash parameters, another ring generation
  identity,     // the name in the certificate, the name said and the node id do not belong together
  name_in_use,  // another living node has that name
  epoch,        // an epoch absurdly ahead, or an earlier life
  members,      // the member table is full
  unreadable,   // a hello, delta or position that the codec rejects
  contradiction,  // other contents for a version that we hold
  not_applied,    // acknowledges what it has not applied
};
inline constexpr std::size_t kRefusals = static_cast<std::size_t>(Refusal::not_applied) + 1;

// As metrics and people name it.
const char* to_string(Refusal reason);

class Refusals {
 public:
  Refusals(std::string node_name, kj::Timer& timer)
      : node_name_(std::move(node_name)), timer_(timer) {}

  // `who`: an address or a node's name. `why` is for people and has been cut to a bounded length.
  void count(Refusal reason, std::string_view who, std::string_view why);
  void count(Refusal reason) {
    ++slots_[static_cast<std::size_t>(reason)].count;
  }  // logged already
  std::uint64_t of(Refusal reason) const { return slots_[static_cast<std::size_t>(reason)].count; }
  std::uint64_t all() const;

 private:
  struct Slot {
    std::uint64_t count = 0;
    std::uint64_t unlogged = 0;
    kj::TimePoint next_line = kj::origin<kj::TimePoint>();
    kj::TimePoint next_same_line = kj::origin<kj::TimePoint>();
    std::string last_why;
  };
  std::string node_name_;
  kj::Timer& timer_;
  std::array<Slot, kRefusals> slots_;
};

}  // namespace dualmesh::net
