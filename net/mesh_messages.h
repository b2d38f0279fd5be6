// MeshMessages: the messages of one connection, with what a peer may make us hold kept bounded.
//
// Received messages are read one at a time, and the next is left in the socket while the peer sends
// faster than its rates or leaves too much of what we answered unread: backpressure, never memory.
// Each call keeps its answer here until the peer says `finish`, so calls without it are counted and
// too many end the connection. What Cap'n Proto itself gives up with (`abort`) is noted as well.
// A `finish` of ours says nothing that is urgent: it goes with the next message, or alone after
// kFinishWithin, which spares a packet for each call.
//
// Threads: kj; one thread.
#pragma once

#include <capnp/serialize-async.h>
#include <kj/timer.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "net/mesh_frame_guard.h"
#include "net/mesh_rate.h"
#include "net/mesh_refusals.h"

namespace dualmesh::net {

struct PeerRates {  // of what is received on one connection
  std::uint32_t messages_per_s = 20'000;
  std::uint64_t bytes_per_s = 128ull << 20;
};

struct Violation {
  Refusal reason = Refusal::protocol;
  std::string why;  // empty: none
};

class MeshMessages final : public capnp::MessageStream {
 public:
  static constexpr kj::Duration kFinishWithin = 300 * kj::MILLISECONDS;

  // `guard` is the stream below; `queued` says how many bytes wait to be sent.
  MeshMessages(FrameGuard& guard, std::function<std::size_t()> queued)
      : guard_(guard), stream_(guard), queued_(std::move(queued)) {}

  // Without it nothing is paced, and nothing held. `throttled` counts waits.
  void pace(kj::Timer& timer, const PeerRates& rates, std::uint64_t& throttled);
  // The peer may have sent more: what it sent before was beyond its rates, and is being waited off.
  bool over_rate() const { return over_rate_; }
  void set_max_unfinished(std::uint32_t calls) { max_unfinished_ = calls; }
  const Violation& violation() const { return violation_; }

  using MessageStream::tryReadMessage;
  using MessageStream::writeMessage;
  using MessageStream::writeMessages;
  kj::Promise<kj::Maybe<capnp::MessageReaderAndFds>> tryReadMessage(
      kj::ArrayPtr<kj::AutoCloseFd> fds, capnp::ReaderOptions options,
      kj::ArrayPtr<capnp::word> scratch) override;
  kj::Promise<void> writeMessage(
      kj::ArrayPtr<const int> fds,
      kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>> segments) override;
  kj::Promise<void> writeMessages(
      kj::ArrayPtr<kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>>> messages) override;
  kj::Maybe<int> getSendBufferSize() override { return stream_.getSendBufferSize(); }
  kj::Promise<void> end() override { return stream_.end(); }

 private:
  struct Pace {
    kj::Timer& timer;
    TokenBucket messages;
    TokenBucket bytes;
    std::uint64_t& throttled;
    std::int64_t now_ns() const {
      return (timer.now() - kj::origin<kj::TimePoint>()) / kj::NANOSECONDS;
    }
  };
  kj::Promise<void> admit();
  void received(capnp::MessageReader& message);
  using Segments = kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>>;
  void note_abort(Segments segments);
  bool hold(Segments segments);
  kj::Promise<void> write_all(kj::ArrayPtr<const Segments> messages);
  kj::Promise<void> write_held_later();
  [[noreturn]] void fail(Refusal reason, std::string why);

  FrameGuard& guard_;
  capnp::AsyncIoMessageStream stream_;
  std::function<std::size_t()> queued_;
  kj::Maybe<Pace> pace_;
  std::uint64_t bytes_counted_ = 0;
  bool over_rate_ = false;
  std::uint32_t unfinished_ = 0;
  std::uint32_t max_unfinished_ = 0;  // 0: not bounded
  Violation violation_;
  std::vector<kj::Array<capnp::word>> held_;  // of ours, to go with the next
  bool writing_ = false;
  kj::Maybe<kj::ForkedPromise<void>> held_going_;  // alone
  kj::Promise<void> hold_timer_ = nullptr;
};

}  // namespace dualmesh::net
