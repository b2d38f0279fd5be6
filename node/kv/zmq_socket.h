// ZmqContext, ZmqSocket: libzmq's handles, closed when they go, without libzmq's header.
//
// Invariant: a context ends after its sockets; sockets do not linger, so closing never waits for a
// peer.
// Threads: a socket is one thread's. Source: zmq_socket_monitor(3), zmq_getsockopt(3).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dualmesh::node {

class ZmqContext {
 public:
  ZmqContext();
  ~ZmqContext();
  ZmqContext(const ZmqContext&) = delete;
  ZmqContext& operator=(const ZmqContext&) = delete;
  void* handle() const { return handle_; }

 private:
  void* handle_;
};

struct ZmqSocketSettings {
  int queued_messages = 0;  // received and not read; 0: no bound
  int reconnect_min_ms = 100;
  int reconnect_max_ms = 5000;
  // A name with addresses of both families is dialled at those of this one alone.
  bool ipv6 = false;
};

enum class ZmqRead : std::uint8_t { message, nothing };
// What a monitor tells: a handshake succeeded, or a connection is over, also without one.
enum class ZmqChange : std::uint8_t { up, down };

class ZmqSocket {
 public:
  ZmqSocket() = default;
  ZmqSocket(ZmqSocket&& other) noexcept;
  ZmqSocket& operator=(ZmqSocket&& other) noexcept;
  ~ZmqSocket() { close(); }

  // Sockets of their kinds, not yet connected. Closed when the process has no more descriptors.
  static ZmqSocket subscriber(ZmqContext& context, const ZmqSocketSettings& settings,
                              const std::string& topic);
  static ZmqSocket dealer(ZmqContext& context, const ZmqSocketSettings& settings);
  // Of `watched`, whose connections it tells. `name` is unique in the context.
  static ZmqSocket monitor(ZmqContext& context, ZmqSocket& watched, const std::string& name);

  bool is_open() const { return handle_ != nullptr; }
  bool connect(const std::string& endpoint);
  // Two frames: an empty one, and this.
  bool send_after_empty(std::string_view frame);
  // A whole message, as frames; at most `frames` of them are kept.
  ZmqRead read(std::vector<std::string>& frames, std::size_t at_most);
  std::optional<ZmqChange> read_monitor();
  int descriptor() const;
  void stop_monitor();  // what watches this socket hears no more
  void close();

 private:
  ZmqSocket(ZmqContext& context, int type);
  static ZmqSocket dialling(ZmqContext& context, int type, const ZmqSocketSettings& settings);
  bool set(int option, int value);

  void* handle_ = nullptr;
};

std::string zmq_error();  // of the last call

}  // namespace dualmesh::node
