// HttpClient: HTTP/1.1 to instances and other services, with one pool of kept-alive connections per
// destination and I/O thread.
//
// A call streams: head, then body pieces as they arrive, then exactly one `done`. Cancelling closes
// the connection at once, which tells an engine to stop computing.
//
// Invariant: after `done` or `cancel` no callback runs; every connection is either pooled (clean,
// at a message boundary) or closed. Threads: everything on the IoThread given; one HttpClient per
// IoThread. Source: RFC 9110, RFC 9112.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/http_message.h"
#include "net/io_threads.h"

namespace dualmesh::net {

enum class ClientError {
  none,
  resolve,    // the host name has no address
  connect,    // refused, unreachable or timed out while connecting
  send,       // the connection failed before the head of the answer had arrived
  malformed,  // the answer is not HTTP/1.1 as we accept it
  truncated,  // the connection ended or failed inside the body
  timeout,
  too_large,   // a collected answer exceeded its limit
  local,       // this host is out of descriptors, ports or memory: says nothing about the other one
  called_off,  // by Exchange::call_off
};
const char* to_string(ClientError error);

struct ClientTimeouts {
  std::chrono::milliseconds connect{2'000};
  std::chrono::milliseconds first_byte{600'000};  // request sent -> first byte of the body
  std::chrono::milliseconds idle{300'000};        // between pieces of the body
};

// Who hears of a call; kept by it until it is over.
class ClientListener {
 public:
  virtual ~ClientListener() = default;
  virtual void on_head(HttpResponse& head) = 0;  // its body is empty; may be moved from
  virtual void on_body(std::string_view piece) = 0;
  virtual void on_done(ClientError error) = 0;  // ClientError::none: complete
};
// The same as functions, each of which may be left out.
struct ClientHandler {
  std::function<void(const HttpResponse& head)> on_head;
  std::function<void(std::string_view piece)> on_body;
  std::function<void(ClientError error)> on_done;
};

// Whether a request may be sent anew over a fresh connection when the kept one it was sent on turns
// out closed. What may not goes over a fresh one at once: of a kept one that fails nobody can say
// whether the request was received (RFC 9110 9.2.2).
enum class Sending : std::uint8_t { may_repeat, once };

// A request as it goes over the wire. The body stays where it is while it is sent; `owner` keeps it
// there.
struct OutgoingRequest {
  std::string head;
  std::string_view body;
  std::shared_ptr<const void> owner;
  bool asks_head = false;  // HEAD: the answer has no body, whatever it says
  Sending sending = Sending::may_repeat;
};

class ClientCall {
 public:
  virtual ~ClientCall() = default;
  virtual void cancel() = 0;
  // Back-pressure: while paused no further piece is read.
  virtual void pause() = 0;
  virtual void resume() = 0;
  // The bytes given to send() may still be read: they are being sent, or might be once more.
  virtual bool holds_request() const = 0;
};

struct PoolStats {
  std::size_t open = 0;
  std::size_t idle = 0;
  std::uint64_t connects = 0;
  std::uint64_t reuses = 0;
};

class HttpClient {
 public:
  struct Limits {
    std::size_t idle_per_destination = 256;
    std::chrono::milliseconds idle_time{60'000};
    std::size_t response_head_bytes = 64 * 1024;
  };
  HttpClient(IoThread& thread, Limits limits);
  // From any thread; closes every connection, and no callback runs afterwards.
  ~HttpClient();

  // `destination` is host:port (or [v6]:port). Sends `request` with its body; sets Host unless
  // given. A pooled connection that turns out closed before any byte of the answer is replaced by a
  // fresh one, once, and only if nothing of the answer has been seen.
  std::shared_ptr<ClientCall> send(const std::string& destination, HttpRequest request,
                                   const ClientTimeouts& timeouts, ClientHandler handler);
  // The same for a head already written, with a Host of its own.
  std::shared_ptr<ClientCall> send(const std::string& destination, OutgoingRequest request,
                                   const ClientTimeouts& timeouts,
                                   std::shared_ptr<ClientListener> listener);
  // The whole answer at once, for small things (health, models, metrics).
  void fetch(const std::string& destination, const HttpRequest& request,
             std::chrono::milliseconds timeout, std::size_t max_bytes,
             std::function<void(ClientError, HttpResponse)> done);
  PoolStats stats() const;                          // from any thread
  void close_idle(const std::string& destination);  // it looks dead: the next call shall find out

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// The A and AAAA addresses of a host name as "address:port", on a resolver thread; `done` runs on
// `thread`. An empty list means none or failed; `why` says which.
void resolve(IoThread& thread, const std::string& host, std::uint16_t port,
             std::function<void(std::vector<std::string> addresses, std::string why)> done);

}  // namespace dualmesh::net
