// One accepted connection: reads requests one after another, hands each to the server as an
// exchange, writes answers in order. Private to net/*.cc.
//
// A read stays pending while an answer is made, so that a client's leaving is noticed; what arrives
// early is the next request and waits, bounded, in the buffer. Beyond the bound nothing is read, so
// the kernel is asked for a client's leaving. Output is gathered and written once per turn of the
// loop.
//
// Invariant: at most one exchange; bytes leave in the order of answers; after close() nothing
// happens. Threads: on its IoThread.
#pragma once

#include <memory>
#include <string>
#include <unordered_set>

#include "net/asio_loop.h"
#include "net/chunked_body.h"
#include "net/client_socket.h"
#include "net/http_parser.h"
#include "net/http_server.h"
#include "net/read_buffer.h"
#include "net/server_shared.h"

namespace dualmesh::net {

class HttpExchange;
struct ApiError;

class ServerConnection final : public TurnEndJob,
                               public std::enable_shared_from_this<ServerConnection> {
 public:
  using Siblings = std::unordered_set<ServerConnection*>;  // of one server on one thread

  // The caller has counted it in open_connections.
  ServerConnection(asio::ip::tcp::socket socket, std::string peer,
                   std::unique_ptr<AddressCounts::Place> place, IoThread& thread,
                   std::shared_ptr<ServerShared> shared, std::shared_ptr<Siblings> siblings);
  ~ServerConnection() override;

  void start();
  void start_tls(const ServerCertificate& certificate);
  void server_closing();  // no new connections are taken
  void close();
  void expired();  // by deadline_
  void turn_ended() override;

  // For the exchange being answered.
  void append(std::string_view bytes);
  void append_owned(std::string bytes);
  std::string& output();  // to append to at once; like append()
  std::size_t buffered_bytes() const;
  bool may_keep_alive() const;
  int minor_version() const { return parser_.minor_version(); }
  // The end of the connection will be that of the answer: until all of that has been sent and told
  // finished, the connection ends with a reset, as a plain end would look like the answer's own.
  void answer_ends_with_connection() { resets_ = true; }
  // Everything of the answer has been appended; `held` counts until it has been sent.
  enum class Answer { whole, cut };
  void finish_answer(bool keep_alive, HeldRequest held = {}, Answer answer = Answer::whole);

  IoThread& thread() { return thread_; }
  const std::shared_ptr<ServerShared>& shared() const { return shared_; }

 private:
  enum class Phase { handshake, head, body, answering, flushing, lingering, closed };

  void shaken_hands(ClientSocket::Handshake end);
  void set_half_open(bool half_open);
  void set_body_deadline();
  void watch_for_leaving();
  void read_more();
  void received(const std::error_code& error, std::size_t count);
  bool reads_into_body() const;
  void read_into_body();
  void body_received(std::size_t had, const std::error_code& error, std::size_t count);
  void process();
  bool process_head();  // false: stop for now
  bool process_body();
  void begin_body();
  bool ask_head_handler();  // false: it has refused
  void hand_over();
  void refuse(int status, std::string_view reason);
  void refuse_head();
  void refuse_large();
  void refuse_overload();
  void send_refusal(const ApiError& error);
  void send_refusal(HttpResponse answer, bool keep_alive);
  void flush_soon();
  void flush();
  bool write();  // false: it will go on by itself, or the connection has ended
  void written(std::size_t count);
  void answer_flushed();
  void linger();

  ClientSocket socket_;
  IoThread& thread_;
  std::shared_ptr<ServerShared> shared_;
  std::shared_ptr<Siblings> siblings_;
  std::unique_ptr<AddressCounts::Place> place_;  // null: addresses are not counted
  Deadline deadline_;
  Deadline::Clock::time_point opened_ = Deadline::coarse_now();
  const std::string peer_;

  Phase phase_ = Phase::head;
  ReadBuffer in_;
  bool reading_ = false;
  bool processing_ = false;
  bool head_started_ = false;
  bool half_open_ = false;  // counted as such
  std::size_t lingered_bytes_ = 0;
  RequestParser parser_;
  HttpRequest request_;
  std::unique_ptr<BodyListener> listener_;
  BodyReader body_;
  ByteBuffer abandoned_body_;         // of a refused request, while a read into it is pending
  std::uint64_t wire_body_bytes_ = 0;  // as it came over the wire
  Deadline::Clock::time_point body_began_;
  IoThread::Timer look_again_;  // while too much has come ahead
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
  bool resets_ = false;  // when it closes
  bool is_cut_ = false;  // the answer, which has been finished all the same
};

}  // namespace dualmesh::net
