// One accepted connection: reads requests one after another, hands each to the server as an
// exchange, writes answers in order. Private to net/*.cc.
//
// A read stays pending while an answer is made, so that a client's leaving is noticed; what arrives
// early is the next request and waits, bounded, in the buffer. Output is gathered and written once
// per turn of the loop.
//
// Invariant: at most one exchange; bytes leave in the order of answers; after close() nothing
// happens. Threads: on its IoThread. ServerShared is shared by the threads: atomics only.
#pragma once

#include <asio/ip/tcp.hpp>
#include <atomic>
#include <memory>
#include <string>
#include <unordered_set>

#include "net/asio_loop.h"
#include "net/chunked_body.h"
#include "net/http_parser.h"
#include "net/http_server.h"
#include "net/read_buffer.h"

namespace dualmesh::net {

class HttpExchange;
struct ApiError;

// What the connections of a server share.
struct ServerShared {
  ServerShared(ServerLimits server_limits, HttpServer::Handler server_handler,
               HttpServer::HeadHandler head_handler)
      : limits(server_limits),
        handler(std::move(server_handler)),
        on_head(std::move(head_handler)) {}

  const ServerLimits limits;
  const HttpServer::Handler handler;
  const HttpServer::HeadHandler on_head;  // may be empty
  std::atomic<bool> closing = false;  // answers carry Connection: close
  std::atomic<std::uint64_t> accepted = 0;
  std::atomic<std::uint64_t> open_connections = 0;
  std::atomic<std::uint64_t> requests = 0;
  std::atomic<std::uint64_t> refused_malformed = 0;
  std::atomic<std::uint64_t> refused_too_large = 0;
  std::atomic<std::uint64_t> refused_overload = 0;
  std::atomic<std::uint64_t> held_requests = 0;
  std::atomic<std::uint64_t> held_body_bytes = 0;
};

// A request and body bytes counted as held; gives them back when it goes.
class HeldRequest {
 public:
  HeldRequest() = default;
  HeldRequest(HeldRequest&& other) noexcept;
  HeldRequest& operator=(HeldRequest&& other) noexcept;
  ~HeldRequest() { release(); }
  bool acquire(std::shared_ptr<ServerShared> shared);  // false: over the limit, nothing is held
  bool add_bytes(std::uint64_t count);                 // likewise
  void release();

 private:
  std::shared_ptr<ServerShared> shared_;
  std::uint64_t bytes_ = 0;
};

class ServerConnection : public std::enable_shared_from_this<ServerConnection> {
 public:
  using Siblings = std::unordered_set<ServerConnection*>;  // of one server on one thread

  // The caller has counted it in open_connections.
  ServerConnection(asio::ip::tcp::socket socket, IoThread& thread,
                   std::shared_ptr<ServerShared> shared, std::shared_ptr<Siblings> siblings);
  ~ServerConnection();

  void start();
  void close();
  void expired();  // by deadline_

  // For the exchange being answered.
  void append(std::string_view bytes);
  void append_owned(std::string bytes);
  std::size_t buffered_bytes() const;
  bool may_keep_alive() const;
  int minor_version() const { return parser_.minor_version(); }
  // Everything of the answer has been appended; `held` counts until it has been sent.
  void finish_answer(bool keep_alive, HeldRequest held = {});

  IoThread& thread() { return thread_; }
  const std::shared_ptr<ServerShared>& shared() const { return shared_; }

 private:
  enum class Phase { head, body, answering, flushing, lingering, closed };

  void read_more();
  void received(const std::error_code& error, std::size_t count);
  void process();
  bool process_head();  // false: stop for now
  bool process_body();
  void begin_body();
  bool ask_head_handler();  // false: it has refused
  void hand_over();
  void refuse(int status, std::string_view reason);
  void refuse_overload();
  void send_refusal(const ApiError& error);
  void send_refusal(HttpResponse answer, bool keep_alive);
  void flush_soon();
  void flush();
  void written(std::size_t count);
  void answer_flushed();
  void linger();

  asio::ip::tcp::socket socket_;
  IoThread& thread_;
  std::shared_ptr<ServerShared> shared_;
  std::shared_ptr<Siblings> siblings_;
  Deadline deadline_;
  Deadline::Clock::time_point opened_ = Deadline::Clock::now();
  std::string peer_;

  Phase phase_ = Phase::head;
  ReadBuffer in_;
  bool reading_ = false;
  bool processing_ = false;
  bool head_started_ = false;
  std::size_t lingered_bytes_ = 0;
  RequestParser parser_;
  HttpRequest request_;
  std::unique_ptr<BodyListener> listener_;
  BodyReader body_;
  HeldRequest held_;
  std::weak_ptr<HttpExchange> exchange_;

  struct Output {
    std::string front, back;  // back: a body that was moved in, or what came after it
    std::size_t size() const { return front.size() + back.size(); }
  };
  Output pending_, writing_;
  std::size_t written_ = 0;  // of writing_
  bool write_in_flight_ = false;
  bool flush_posted_ = false;
  bool keep_alive_after_ = false;
};

}  // namespace dualmesh::net
