#include "node/kv/zmq_socket.h"

#include <zmq.h>

#include <cerrno>
#include <cstring>

#include "net/error.h"

namespace dualmesh::node {
namespace {

constexpr std::int64_t kMaxFrameBytes = std::int64_t{64} << 20;
constexpr int kMaxSockets = 65'536;  // a stream has up to four, those inside libzmq included
constexpr int kHandshake_ms = 10'000;
constexpr int kConnect_ms = 10'000;

// libzmq may be interrupted by signals wherever it reads.
template <class Call>
int again_if_interrupted(Call call) {
  int result;
  do {
    result = call();
  } while (result < 0 && zmq_errno() == EINTR);
  return result;
}

struct Frame {
  zmq_msg_t message;
  Frame() { zmq_msg_init(&message); }
  ~Frame() { zmq_msg_close(&message); }
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;
  bool read(void* socket) {
    return again_if_interrupted([&] { return zmq_msg_recv(&message, socket, ZMQ_DONTWAIT); }) >= 0;
  }
  std::string_view bytes() {
    return {static_cast<const char*>(zmq_msg_data(&message)), zmq_msg_size(&message)};
  }
  bool more() { return zmq_msg_more(&message) != 0; }
};

}  // namespace

std::string zmq_error() { return zmq_strerror(zmq_errno()); }

ZmqContext::ZmqContext() : handle_(zmq_ctx_new()) {
  DUALMESH_CHECK(handle_ != nullptr, "error={}", zmq_error());
  int limit = zmq_ctx_get(handle_, ZMQ_SOCKET_LIMIT);
  zmq_ctx_set(handle_, ZMQ_MAX_SOCKETS, limit < kMaxSockets ? limit : kMaxSockets);
}

ZmqContext::~ZmqContext() {
  again_if_interrupted([&] { return zmq_ctx_term(handle_); });
}

ZmqSocket::ZmqSocket(ZmqContext& context, int type) : handle_(zmq_socket(context.handle(), type)) {
  if (handle_ != nullptr) set(ZMQ_LINGER, 0);
}

ZmqSocket::ZmqSocket(ZmqSocket&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}

ZmqSocket& ZmqSocket::operator=(ZmqSocket&& other) noexcept {
  if (this != &other) {
    close();
    handle_ = std::exchange(other.handle_, nullptr);
  }
  return *this;
}

bool ZmqSocket::set(int option, int value) {
  return zmq_setsockopt(handle_, option, &value, sizeof value) == 0;
}

// A peer that is gone without a word is noticed by TCP: keep-alive after half a minute.
ZmqSocket ZmqSocket::dialling(ZmqContext& context, int type, const ZmqSocketSettings& settings) {
  ZmqSocket socket(context, type);
  if (!socket.is_open()) return socket;
  const std::pair<int, int> options[] = {
      {ZMQ_RCVHWM, settings.queued_messages},
      {ZMQ_RECONNECT_IVL, settings.reconnect_min_ms},
      {ZMQ_RECONNECT_IVL_MAX, settings.reconnect_max_ms},
      {ZMQ_IPV6, settings.ipv6 ? 1 : 0},
      {ZMQ_HANDSHAKE_IVL, kHandshake_ms},
      {ZMQ_CONNECT_TIMEOUT, kConnect_ms},
      {ZMQ_TCP_KEEPALIVE, 1},
      {ZMQ_TCP_KEEPALIVE_IDLE, 30},
      {ZMQ_TCP_KEEPALIVE_INTVL, 10},
      {ZMQ_TCP_KEEPALIVE_CNT, 3},
  };
  for (const auto& [option, value] : options) {
    DUALMESH_CHECK(socket.set(option, value), "option={} value={} error={}", option, value,
                   zmq_error());
  }
  zmq_setsockopt(socket.handle_, ZMQ_MAXMSGSIZE, &kMaxFrameBytes, sizeof kMaxFrameBytes);
  return socket;
}

ZmqSocket ZmqSocket::dealer(ZmqContext& context, const ZmqSocketSettings& settings) {
  return dialling(context, ZMQ_DEALER, settings);
}

ZmqSocket ZmqSocket::subscriber(ZmqContext& context, const ZmqSocketSettings& settings,
                                const std::string& topic) {
  ZmqSocket socket = dialling(context, ZMQ_SUB, settings);
  if (socket.is_open()) zmq_setsockopt(socket.handle_, ZMQ_SUBSCRIBE, topic.data(), topic.size());
  return socket;
}

// What writes to a monitor is libzmq's thread of I/O, which would wait for us at a full queue: it
// has no bound, and few are written.
ZmqSocket ZmqSocket::monitor(ZmqContext& context, ZmqSocket& watched, const std::string& name) {
  const std::string address = "inproc://" + name;
  constexpr int kEvents = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED;
  if (zmq_socket_monitor(watched.handle_, address.c_str(), kEvents) != 0) return {};
  ZmqSocket socket(context, ZMQ_PAIR);
  if (socket.is_open()) {
    socket.set(ZMQ_RCVHWM, 0);
    if (socket.connect(address)) return socket;
  }
  const int error = zmq_errno();
  watched.stop_monitor();
  errno = error;
  return {};
}

bool ZmqSocket::connect(const std::string& endpoint) {
  return zmq_connect(handle_, endpoint.c_str()) == 0;
}

bool ZmqSocket::send_after_empty(std::string_view frame) {
  const auto send = [&](std::string_view bytes, int flags) {
    return again_if_interrupted(
        [&] { return zmq_send(handle_, bytes.data(), bytes.size(), flags | ZMQ_DONTWAIT); });
  };
  return send({}, ZMQ_SNDMORE) >= 0 && send(frame, 0) >= 0;
}

ZmqRead ZmqSocket::read(std::vector<std::string>& frames, std::size_t at_most) {
  frames.clear();
  Frame frame;
  if (!frame.read(handle_)) return ZmqRead::nothing;
  while (true) {
    if (frames.size() < at_most) frames.emplace_back(frame.bytes());
    // The rest of a message is there as soon as its beginning is.
    if (!frame.more() || !frame.read(handle_)) return ZmqRead::message;
  }
}

std::optional<ZmqChange> ZmqSocket::read_monitor() {
  while (true) {
    Frame event;
    if (!event.read(handle_)) return {};
    std::uint16_t kind = 0;
    if (event.bytes().size() >= sizeof kind) std::memcpy(&kind, event.bytes().data(), sizeof kind);
    while (event.more() && event.read(handle_)) {  // the address
    }
    if (kind == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) return ZmqChange::up;
    if (kind == ZMQ_EVENT_DISCONNECTED) return ZmqChange::down;
  }
}

int ZmqSocket::descriptor() const {
  int descriptor = -1;
  std::size_t size = sizeof descriptor;
  zmq_getsockopt(handle_, ZMQ_FD, &descriptor, &size);
  return descriptor;
}

void ZmqSocket::stop_monitor() {
  if (is_open()) zmq_socket_monitor(handle_, nullptr, 0);
}

void ZmqSocket::close() {
  if (is_open()) zmq_close(std::exchange(handle_, nullptr));
}

}  // namespace dualmesh::node
