#include "net/mesh_messages.h"

#include <capnp/rpc.capnp.h>
#include <capnp/serialize.h>
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cstring>

namespace dualmesh::net {
namespace {

// Of answers that the peer has not taken; one more answer may come on top.
constexpr std::size_t kMaxQueuedBytes = 4 << 20;
constexpr std::int64_t kQueuePollNs = 5'000'000;
constexpr std::uint64_t kMessageCost = 256;  // bytes that a message costs us beside its own

}  // namespace

void MeshMessages::pace(kj::Timer& timer, const PeerRates& rates, std::uint64_t& throttled) {
  const auto bytes = static_cast<double>(rates.bytes_per_s);
  pace_.emplace(Pace{timer, TokenBucket(rates.messages_per_s, rates.messages_per_s),
                     TokenBucket(bytes, bytes), throttled});
}

kj::Promise<void> MeshMessages::admit() {
  KJ_IF_MAYBE (pace, pace_) {
    const std::int64_t now_ns = pace->now_ns();
    std::int64_t wait_ns = std::max(pace->messages.wait_ns(now_ns), pace->bytes.wait_ns(now_ns));
    over_rate_ = wait_ns > 0;
    if (wait_ns == 0 && queued_() > kMaxQueuedBytes) wait_ns = kQueuePollNs;
    if (wait_ns > 0) {
      ++pace->throttled;
      return pace->timer.afterDelay(wait_ns * kj::NANOSECONDS).then([this]() { return admit(); });
    }
  }
  return kj::READY_NOW;
}

kj::Promise<kj::Maybe<capnp::MessageReaderAndFds>> MeshMessages::tryReadMessage(
    kj::ArrayPtr<kj::AutoCloseFd> fds, capnp::ReaderOptions options,
    kj::ArrayPtr<capnp::word> scratch) {
  return admit()
      .then([=, this]() { return stream_.tryReadMessage(fds, options, scratch); })
      .then([this](kj::Maybe<capnp::MessageReaderAndFds>&& message) {
        KJ_IF_MAYBE (read, message) {
          received(*read->reader);
        }
        return kj::mv(message);
      });
}

void MeshMessages::received(capnp::MessageReader& message) {
  KJ_IF_MAYBE (pace, pace_) {
    const std::int64_t now_ns = pace->now_ns();
    pace->messages.take(1, now_ns);
    pace->bytes.take(static_cast<double>(guard_.bytes_read() - bytes_counted_ + kMessageCost),
                     now_ns);
  }
  bytes_counted_ = guard_.bytes_read();
  if (max_unfinished_ == 0) return;
  switch (message.getRoot<capnp::rpc::Message>().which()) {
    case capnp::rpc::Message::CALL:
    case capnp::rpc::Message::BOOTSTRAP:
      if (++unfinished_ > max_unfinished_) {
        fail(Refusal::calls, fmt::format("{} calls that it never finished", unfinished_));
      }
      break;
    case capnp::rpc::Message::FINISH:
      if (unfinished_ > 0) --unfinished_;
      break;
    default:
      break;
  }
}

void MeshMessages::fail(Refusal reason, std::string why) {
  violation_ = {reason, std::move(why)};
  kj::throwFatalException(kj::Exception(kj::Exception::Type::FAILED, __FILE__, __LINE__,
                                        kj::str("refused: ", violation_.why.c_str())));
}

kj::Promise<void> MeshMessages::writeMessage(kj::ArrayPtr<const int>, Segments segments) {
  note_abort(segments);
  if (hold(segments)) return kj::READY_NOW;
  KJ_IF_MAYBE (going, held_going_) {
    return going->addBranch().then([this, segments]() { return write_all({&segments, 1}); });
  }
  return write_all({&segments, 1});
}

kj::Promise<void> MeshMessages::writeMessages(kj::ArrayPtr<Segments> messages) {
  for (const Segments segments : messages) note_abort(segments);
  KJ_IF_MAYBE (going, held_going_) {
    return going->addBranch().then([this, messages]() { return write_all(messages); });
  }
  return write_all(messages);
}

// Cap'n Proto writes one at a time, so nothing else is being written but what was held.
kj::Promise<void> MeshMessages::write_all(kj::ArrayPtr<const Segments> messages) {
  auto held = kj::heap(std::move(held_));
  held_.clear();
  std::vector<kj::ArrayPtr<const capnp::word>> segments;
  for (const auto& words : *held) segments.emplace_back(words);
  std::vector<Segments> all;
  for (const auto& segment : segments) all.emplace_back(&segment, 1);
  all.insert(all.end(), messages.begin(), messages.end());
  writing_ = true;
  return stream_.writeMessages({all.data(), all.size()})
      .then([this]() { writing_ = false; })
      .attach(kj::mv(held));
}

bool MeshMessages::hold(Segments segments) {
  if (segments.size() != 1 || held_going_ != nullptr || pace_ == nullptr) return false;
  capnp::SegmentArrayMessageReader reader(segments);
  if (!reader.getRoot<capnp::rpc::Message>().isFinish()) return false;
  const auto bytes = segments[0].asBytes();
  held_.push_back(kj::heapArray<capnp::word>(segments[0].size()));
  std::memcpy(held_.back().begin(), bytes.begin(), bytes.size());
  if (held_.size() == 1) {  // else it is being waited for
    hold_timer_ = write_held_later().eagerlyEvaluate([](kj::Exception&&) {});  // the next write
  }                                                                            // fails, too
  return true;
}

kj::Promise<void> MeshMessages::write_held_later() {
  return KJ_ASSERT_NONNULL(pace_)
      .timer.afterDelay(kFinishWithin)
      .then([this]() -> kj::Promise<void> {
        if (held_.empty()) return kj::READY_NOW;
        if (writing_) return write_held_later();
        auto going = write_all(nullptr).fork();
        auto done = going.addBranch().then([this]() { held_going_ = nullptr; });
        held_going_ = kj::mv(going);
        return done;
      });
}

// Cap'n Proto says so to the peer and to nobody here.
void MeshMessages::note_abort(Segments segments) {
  capnp::SegmentArrayMessageReader reader(segments);
  const auto message = reader.getRoot<capnp::rpc::Message>();
  if (!message.isAbort() || !violation_.why.empty() || !guard_.violation().empty()) return;
  if (message.getAbort().getType() == capnp::rpc::Exception::Type::DISCONNECTED) return;
  violation_ = {Refusal::protocol, std::string(message.getAbort().getReason().cStr())};
  if (violation_.why.empty()) violation_.why = "it broke the protocol";
}

}  // namespace dualmesh::net
