// ZmqSubscription: the sockets of one stream: SUB with its monitor, DEALER while it replays.
//
// Invariant: a connection that ends takes its sockets with it, after what they had received was
// told; a new one has new sockets. So nothing of one connection is taken for the next one's.
// Sockets are made anew at once, then ever later while connections do not last. A name is dialled
// by IPv4 and by IPv6 in turns until one answers: libzmq takes one family of it only. Threads: one;
// sinks may ask for anything while they are told something. Time is an argument. Source: frames as
// vLLM and SGLang send them, the two framings of replay among them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "node/kv/kv_stream.h"
#include "node/kv/zmq_poll.h"
#include "node/kv/zmq_socket.h"
#include "policies/time.h"

namespace dualmesh::node {

// What one stream's sockets bring, called within pump() alone.
class ZmqSink {
 public:
  virtual void connected() = 0;
  virtual void disconnected() = 0;
  // Frames that no engine sends come as a batch with the sequence kNoSequence.
  virtual void live(RawBatch batch) = 0;
  virtual void replayed(RawBatch batch) = 0;
  virtual void replay_over() = 0;

 protected:
  ~ZmqSink() = default;
};

struct ZmqSettings {
  // Of libzmq, per socket. An engine's PUB keeps what we do not take (100,000 by default); its
  // ROUTER keeps little and drops the rest, so answers to a replay are taken all.
  int queued_messages = 1'000;
  int queued_replies = 100'000;
  std::size_t turn_messages = 256;
  std::size_t turn_bytes = std::size_t{4} << 20;
  policies::Duration reconnect_min = std::chrono::milliseconds(100);
  policies::Duration reconnect_max = std::chrono::seconds(5);
};

class ZmqSubscription {
 public:
  struct Addresses {  // of one rank
    std::string events, replay, topic;
  };
  ZmqSubscription(ZmqContext& context, ZmqPoll& poll, const ZmqSettings& settings,
                  Addresses addresses, std::uint64_t& names, ZmqSink& sink);
  ~ZmqSubscription() { close(); }
  ZmqSubscription(const ZmqSubscription&) = delete;
  ZmqSubscription& operator=(const ZmqSubscription&) = delete;

  // Reads what is there and tells it. True: more is waiting.
  bool serve(policies::Time now);
  policies::Time due() const { return open_at_; }  // wants serving then, come what may
  void ask_replay(std::uint64_t from);
  void reconnect();
  void remove();  // tells nothing any more
  bool is_removed() const { return removed_; }
  const std::string& last_error() const { return last_error_; }

  bool ready = false;  // in the list of those to be served

 private:
  struct Turn {
    std::size_t messages, bytes;
    bool over() const { return messages == 0 || bytes == 0; }
    void count(const std::vector<std::string>& frames);
  };
  struct Watched {
    ZmqSocket socket;
    int descriptor = -1;
  };
  void watch(Watched& watched, ZmqSocket socket);
  void unwatch(Watched& watched);
  ZmqSocketSettings socket_settings(int queued_messages) const;
  void open();
  void close();
  void read_monitor();
  void connection_over();
  bool read_events(Turn& turn);
  bool read_replies(Turn& turn);
  void take_reply();

  ZmqContext& context_;
  ZmqPoll& poll_;
  const ZmqSettings& settings_;
  const Addresses addresses_;
  std::uint64_t& names_;
  ZmqSink& sink_;
  Watched events_, monitor_, replies_;
  std::vector<std::string> frames_;
  policies::Time now_{0};
  policies::Time open_at_{0};  // sockets are made (anew) then, unless connected
  policies::Time connected_at_{0};
  policies::Duration delay_{0};
  bool ipv6_;
  bool connected_ = false;
  bool ending_ = false;   // the connection is over, and not yet all read
  bool renewed_ = false;  // and the next one is there
  bool removed_ = false;
  std::string last_error_;
};

}  // namespace dualmesh::node
