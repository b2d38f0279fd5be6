// One outgoing HTTP/1.1 connection and the call on it. Private to net/*.cc.
//
// A read is pending whenever the connection is open and not paused, also while it idles in the
// pool: that is how a server's closing is noticed. The owner learns three things: it became idle,
// it closed, it failed before anything of an answer was seen although it had been used before
// (stale).
//
// Invariant: at most one call; after release() the connection is at a message boundary.
// Threads: on its IoThread.
#pragma once

#include <asio/ip/tcp.hpp>
#include <memory>
#include <string>

#include "net/asio_loop.h"
#include "net/chunked_body.h"
#include "net/http_client.h"
#include "net/http_parser.h"
#include "net/read_buffer.h"

namespace dualmesh::net {

class ClientConnection;

// What the pool behind the connections does.
class ConnectionOwner {
 public:
  virtual ~ConnectionOwner() = default;
  virtual void became_idle(const std::shared_ptr<ClientConnection>& connection) = 0;
  virtual void closed(const std::shared_ptr<ClientConnection>& connection) = 0;
  // The call goes on over another connection.
  virtual void retry_stale(const std::shared_ptr<class PendingCall>& call) = 0;
};

// A call from send() to done or cancel; survives a change of connection.
class PendingCall final : public ClientCall {
 public:
  void cancel() override;
  void pause() override;
  void resume() override;
  void finish(ClientError error);  // exactly once; later calls do nothing
  bool holds_request() const override { return !request.head.empty(); }
  void drop();  // no callback from here on
  void forget_request();
  // To the listener, which the caller keeps while it hears, whatever it does to the call.
  void deliver_head(HttpResponse& head);
  void deliver_body(std::string_view piece);

  std::string destination;
  OutgoingRequest request;  // kept until the answer starts, for the one retry
  bool retried = false;
  bool finished = false;
  bool paused = false;
  ClientTimeouts timeouts;
  std::shared_ptr<ClientListener> listener;  // until finished
  std::weak_ptr<ClientConnection> connection;
};

class ClientConnection final : public TurnEndJob,
                               public std::enable_shared_from_this<ClientConnection> {
 public:
  ClientConnection(IoThread& thread, std::weak_ptr<ConnectionOwner> owner, std::string destination,
                   std::size_t response_head_bytes);

  void connect_and_send(std::shared_ptr<PendingCall> call);
  void send(std::shared_ptr<PendingCall> call);  // on an idle connection
  void idle_until(std::chrono::milliseconds idle_time);
  void close();
  void resume();
  void expired();  // by deadline_
  void turn_ended() override;

  const std::string& destination() const { return destination_; }
  bool is_open() const { return !closed_; }

 private:
  void connect(const asio::ip::tcp::resolver::results_type& addresses);
  void connected(const std::error_code& error);
  void begin_request();
  void write_request();
  void written();
  void read_more();
  void received(const std::error_code& error, std::size_t count);
  void process();
  bool process_head();  // false: stop here
  bool process_body();
  void stream_ended(bool cleanly);
  void complete();
  void fail(ClientError error);
  ResponseParser new_parser() const;

  IoThread& thread_;
  asio::ip::tcp::socket socket_;
  asio::ip::tcp::resolver resolver_;
  Deadline deadline_;
  std::weak_ptr<ConnectionOwner> owner_;
  std::string destination_;
  std::size_t response_head_bytes_;

  std::shared_ptr<PendingCall> call_;
  std::shared_ptr<PendingCall> writing_;  // keeps the bytes of a write in flight
  ReadBuffer in_;
  bool reading_ = false;
  bool processing_ = false;
  bool connecting_ = false;
  bool closed_ = false;
  bool reused_ = false;
  bool asked_ = false;        // bytes of the request may have left
  bool answer_seen_ = false;  // any byte of it
  bool in_body_ = false;
  bool body_seen_ = false;  // a byte of it
  bool keep_alive_ = false;
  ResponseParser parser_;
  HttpResponse response_;
  BodyReader body_;
};

}  // namespace dualmesh::net
