#include "node/kv/zmq_subscription.h"

#include <algorithm>
#include <utility>

namespace dualmesh::node {
namespace {

constexpr policies::Duration kLasting = std::chrono::seconds(10);
constexpr policies::Duration kOtherFamily = std::chrono::seconds(15);
constexpr policies::Duration kOpenAgain = std::chrono::seconds(5);
constexpr const char* kNoPublisher = "what answers there is no publisher of events";
constexpr policies::Time kNever = policies::Time::max();

int to_ms(policies::Duration time) {
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(time).count());
}

std::uint64_t big_endian(const std::string& bytes) {
  std::uint64_t value = 0;
  for (const char byte : bytes) value = value << 8 | static_cast<unsigned char>(byte);
  return value;
}

std::string big_endian(std::uint64_t value) {
  std::string bytes(8, '\0');
  for (auto it = bytes.rbegin(); it != bytes.rend(); ++it, value >>= 8) {
    *it = static_cast<char>(value);
  }
  return bytes;
}

// From the frame with the sequence on; kNoSequence when it is none.
RawBatch to_batch(std::vector<std::string>& frames, std::size_t first) {
  if (frames.size() != first + 2 || frames[first].size() != 8) return {kNoSequence, {}};
  return {big_endian(frames[first]), std::move(frames[first + 1])};
}

}  // namespace

ZmqSubscription::ZmqSubscription(ZmqContext& context, ZmqPoll& poll, const ZmqSettings& settings,
                                 Addresses addresses, std::uint64_t& names, ZmqSink& sink)
    : context_(context),
      poll_(poll),
      settings_(settings),
      addresses_(std::move(addresses)),
      names_(names),
      sink_(sink),
      ipv6_(addresses_.events.find('[') != std::string::npos) {}

void ZmqSubscription::Turn::count(const std::vector<std::string>& frames) {
  --messages;
  for (const auto& frame : frames) bytes -= std::min(bytes, frame.size());
}

void ZmqSubscription::watch(Watched& watched, ZmqSocket socket) {
  watched.socket = std::move(socket);
  watched.descriptor = watched.socket.descriptor();
  poll_.add(watched.descriptor, this);
}

void ZmqSubscription::unwatch(Watched& watched) {
  if (!watched.socket.is_open()) return;
  poll_.remove(std::exchange(watched.descriptor, -1));
  watched.socket.close();
}

// The monitor ends before what it watches, so that nobody waits for it.
void ZmqSubscription::close() {
  events_.socket.stop_monitor();
  unwatch(monitor_);
  unwatch(events_);
  unwatch(replies_);
  connected_ = ending_ = renewed_ = false;
}

ZmqSocketSettings ZmqSubscription::socket_settings(int queued_messages) const {
  return {queued_messages, to_ms(settings_.reconnect_min), to_ms(settings_.reconnect_max), ipv6_};
}

void ZmqSubscription::open() {
  if (events_.socket.is_open() && addresses_.events.find('[') == std::string::npos) {
    ipv6_ = !ipv6_;  // the other one did not answer
  }
  close();
  open_at_ = now_ + kOtherFamily;
  last_error_.clear();
  ZmqSocket events =
      ZmqSocket::subscriber(context_, socket_settings(settings_.queued_messages), addresses_.topic);
  ZmqSocket monitor;
  if (events.is_open()) {
    monitor = ZmqSocket::monitor(context_, events, "monitor-" + std::to_string(++names_));
  }
  if (!monitor.is_open() || !events.connect(addresses_.events)) {
    last_error_ = zmq_error();
    events.stop_monitor();
    open_at_ = now_ + kOpenAgain;
    return;
  }
  watch(monitor_, std::move(monitor));
  watch(events_, std::move(events));
}

void ZmqSubscription::ask_replay(std::uint64_t from) {
  unwatch(replies_);
  if (removed_ || addresses_.replay.empty()) return;
  ZmqSocket socket = ZmqSocket::dealer(context_, socket_settings(settings_.queued_replies));
  if (!socket.is_open() || !socket.connect(addresses_.replay) ||
      !socket.send_after_empty(big_endian(from))) {
    last_error_ = zmq_error();
    return;  // no answer: whoever asked has a time-out
  }
  watch(replies_, std::move(socket));
}

void ZmqSubscription::reconnect() {
  close();
  open_at_ = policies::Time{0};
}

void ZmqSubscription::remove() {
  removed_ = true;
  close();
  open_at_ = kNever;
}

void ZmqSubscription::read_monitor() {
  while (const auto change = monitor_.socket.read_monitor()) {
    if (*change == ZmqChange::down) {
      ending_ |= connected_;
      if (!connected_) last_error_ = kNoPublisher;  // it was there, and there was no handshake
    } else if (ending_) {
      renewed_ = true;
    } else if (!connected_) {
      connected_ = true;
      connected_at_ = now_;
      open_at_ = kNever;
      last_error_.clear();
      sink_.connected();
    }
  }
}

void ZmqSubscription::connection_over() {
  delay_ = now_ - connected_at_ >= kLasting
               ? policies::Duration{0}
               : std::clamp(2 * delay_, settings_.reconnect_min, settings_.reconnect_max);
  close();
  open_at_ = now_ + delay_;
  sink_.disconnected();
}

bool ZmqSubscription::read_events(Turn& turn) {
  read_monitor();
  while (!turn.over()) {
    if (renewed_) {  // what comes now may be of the next connection
      connection_over();
      return false;
    }
    if (events_.socket.read(frames_, 4) == ZmqRead::nothing) {
      if (ending_) connection_over();
      return false;
    }
    turn.count(frames_);
    if (!connected_ || ending_) read_monitor();
    if (connected_ && !renewed_) sink_.live(to_batch(frames_, 1));
  }
  return true;
}

// [empty][sequence][payload], or with the topic before the sequence.
void ZmqSubscription::take_reply() {
  const std::size_t first = frames_.size() == 4 ? 2 : 1;
  const bool framed = !frames_.empty() && frames_[0].empty();
  RawBatch batch = framed ? to_batch(frames_, first) : RawBatch{kNoSequence, {}};
  const bool is_end = framed && frames_.size() == first + 2 && batch.sequence == kNoSequence &&
                      frames_[first].size() == 8 && batch.payload.empty();
  if (!is_end) return sink_.replayed(std::move(batch));
  unwatch(replies_);
  sink_.replay_over();
}

bool ZmqSubscription::read_replies(Turn& turn) {
  while (!turn.over()) {
    if (replies_.socket.read(frames_, 5) == ZmqRead::nothing) return false;
    turn.count(frames_);
    take_reply();
  }
  return true;
}

bool ZmqSubscription::serve(policies::Time now) {
  now_ = now;
  if (removed_) return false;
  if (now >= open_at_) open();
  Turn live{settings_.turn_messages, settings_.turn_bytes};
  Turn replay = live;
  const bool more_live = read_events(live);
  const bool more_replies = read_replies(replay);
  return more_live || more_replies;
}

}  // namespace dualmesh::node
