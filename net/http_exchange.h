// The Exchange behind HttpServer, and the relay that runs on it. Private to net/*.cc.
//
// Invariant: the connection is told exactly once that the answer is finished or must be closed, at
// the latest by the destructor. While a relay runs, the client's leaving is told through the relay.
// Threads: on its IoThread; the last reference may be dropped anywhere.
#pragma once

#include <memory>
#include <optional>

#include "net/event_framer.h"
#include "net/server_connection.h"

namespace dualmesh::net {

class Relay;

class HttpExchange final : public Exchange, public std::enable_shared_from_this<HttpExchange> {
 public:
  HttpExchange(std::shared_ptr<ServerConnection> connection, HttpRequest request,
               std::unique_ptr<BodyListener> listener, HeldRequest held);
  ~HttpExchange() override;

  const HttpRequest& request() const override { return request_; }
  std::unique_ptr<BodyListener> take_listener() override { return std::move(listener_); }
  IoThread& thread() override { return thread_; }
  bool answered() const override { return answered_; }
  void on_gone(std::function<void()> gone) override;
  void respond(HttpResponse response) override;
  void begin(int status, const Headers& headers) override;
  void write(std::string_view piece) override;
  void end() override;
  void abort() override;
  void break_off(const ApiError& why) override;
  std::size_t buffered_bytes() const override;
  void relay(HttpClient& client, const std::string& destination, std::string upstream_head,
             const ClientTimeouts& timeouts, std::weak_ptr<RelayOwner> owner,
             Sending sending) override;
  bool call_off() override;

  // From the connection.
  void client_gone();
  void drained();  // what was buffered has been written

  bool is_gone() const { return gone_; }
  void relay_ended() { relay_.reset(); }
  void release_body();  // nobody will read it again
  bool has_length() const { return length_left_.has_value(); }  // the answer that has begun

 private:
  std::shared_ptr<ServerConnection> connection_;  // null once finished or gone
  IoThread& thread_;
  HttpRequest request_;
  std::unique_ptr<BodyListener> listener_;
  HeldRequest held_;
  std::function<void()> on_gone_;
  std::shared_ptr<Relay> relay_;
  bool answered_ = false;
  bool gone_ = false;
  bool told_gone_ = false;
  bool chunked_ = false;
  bool close_after_ = false;
  bool without_body_ = false;
  std::optional<std::uint64_t> length_left_;
};

// Passes one upstream answer on to the client of an exchange.
class Relay final : public ClientListener, public std::enable_shared_from_this<Relay> {
 public:
  Relay(std::shared_ptr<HttpExchange> exchange, std::weak_ptr<RelayOwner> owner)
      : exchange_(std::move(exchange)), owner_(std::move(owner)) {}

  void start(HttpClient& client, const std::string& destination, std::string head,
             const ClientTimeouts& timeouts, Sending sending);
  void client_gone();
  void call_off();
  void drained();
  void tell(const ApiError& why);  // in an event, if the client is between two

  void on_head(HttpResponse& head) override;
  void on_body(std::string_view piece) override;
  void on_done(ClientError error) override;

 private:
  void begin();
  void pass(std::string_view piece);
  void finish(RelayResult::End end, ClientError error);

  std::shared_ptr<HttpExchange> exchange_;
  std::shared_ptr<ClientCall> call_;
  std::weak_ptr<RelayOwner> owner_;
  RelayResult result_;
  HttpResponse held_head_;             // until `started_`
  std::optional<EventFramer> framer_;  // of an event stream
  bool started_ = false;
  bool paused_ = false;
  bool finished_ = false;
};

}  // namespace dualmesh::net
