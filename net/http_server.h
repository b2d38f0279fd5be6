// HttpServer: a strict HTTP/1.1 listener; hands each complete request to a handler as an Exchange.
//
// Each listener is plain or speaks TLS. What is ambiguous is refused with 400 and the connection
// closed: bare LF, folded headers, spaces around names, both or repeated framing fields, no or two
// Hosts. Bodies are read whole, within limits of bytes per body and of bytes and requests held by
// the server; beyond them 413 or 503 with Retry-After. Connections beyond their limit are told 503,
// those of one address beyond its limit 429; on a TLS listener an alert has to do. A client that
// goes away is noticed while its answer is being made.
//
// Invariant: each accepted request gets exactly one answer or a closed connection; held bytes and
// requests return to zero when all exchanges are gone.
// Threads: listen/close/stats from any thread; an Exchange lives on the IoThread of its connection.
// Source: RFC 9112 with the strict option each time.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "net/error.h"
#include "net/http_client.h"
#include "net/http_message.h"
#include "net/io_threads.h"

namespace dualmesh::net {

struct ApiError;

struct ServerLimits {
  std::size_t head_bytes = 32 * 1024;
  std::size_t header_fields = 100;
  std::size_t body_bytes = 32 * 1024 * 1024;        // one body
  std::size_t held_body_bytes = 512 * 1024 * 1024;  // all bodies being received or held
  std::size_t held_requests = 16 * 1024;
  std::size_t connections = 16 * 1024;
  std::size_t connections_per_address = 0;          // 0: no limit
  std::uint64_t min_body_rate_bytes_per_s = 1024;   // once body_timeout is over; 0: none
  std::chrono::milliseconds head_timeout{15'000};   // first byte -> head complete
  std::chrono::milliseconds body_timeout{60'000};   // between reads of a body
  std::chrono::milliseconds idle_timeout{120'000};  // kept alive without a request
  std::chrono::milliseconds write_timeout{60'000};  // a client that does not read
  std::chrono::seconds max_connection_age{0};  // answers then carry Connection: close; 0 = never
};

struct ServerStats {
  std::uint64_t accepted = 0;  // connections since start
  std::uint64_t open_connections = 0;
  std::uint64_t requests = 0;
  std::uint64_t refused_malformed = 0;
  std::uint64_t refused_too_large = 0;
  std::uint64_t refused_overload = 0;
  std::uint64_t refused_slow = 0;           // heads and bodies that took too long
  std::uint64_t refused_connections = 0;    // beyond ServerLimits::connections
  std::uint64_t refused_addresses = 0;      // beyond ServerLimits::connections_per_address
  std::uint64_t refused_plain_text = 0;     // HTTP where TLS is spoken
  std::uint64_t refused_tls = 0;            // and the reverse
  std::uint64_t half_open_connections = 0;  // in a TLS handshake, or in a request's head
  std::uint64_t tls_handshakes = 0;         // full ones; the next two are not among them
  std::uint64_t tls_resumed = 0;            // by a ticket
  std::uint64_t tls_failed = 0;
  std::uint64_t held_requests = 0;
  std::uint64_t held_body_bytes = 0;
};

// How a relay ended. Only with `not_started` has the client seen nothing, so only then may the
// caller relay elsewhere or respond.
struct RelayResult {
  enum class End { complete, client_gone, not_started, broken } end = End::complete;
  ClientError error = ClientError::none;
  int status = 0;
  std::uint64_t body_bytes = 0;
};

// Who hears of a relay. The relay does not keep it: an owner that has gone hears nothing more, and
// a head that comes then is refused.
class RelayOwner {
 public:
  virtual ~RelayOwner() = default;
  // The head from upstream, before it is passed on: add or remove fields here. Return false to
  // refuse it (a 5xx worth a retry elsewhere): the relay then ends with not_started.
  virtual bool relay_head(HttpResponse& head) = 0;
  virtual void relay_body(std::string_view piece) = 0;  // as passed on; for usage and first token
  virtual void relay_done(const RelayResult& result) = 0;
};

// Hears the body of one request while it arrives, before anybody has the exchange. On the
// connection's thread.
class BodyListener {
 public:
  virtual ~BodyListener() = default;
  // The body so far: what there was at the last call, though it may have moved, and more.
  virtual void grown(std::string_view body) = 0;
  // The server answers this itself and reads no further: too large, too slow, malformed, overload.
  // Fields may be added.
  virtual void refused(HttpResponse& /*answer*/) {}
};

// One request and its answer. Held by shared_ptr; answer it exactly once, by respond, by a stream,
// or by a relay that starts.
class Exchange {
 public:
  virtual ~Exchange() = default;

  virtual const HttpRequest& request() const = 0;
  // What listened to the body, if anything did; the second time null.
  virtual std::unique_ptr<BodyListener> take_listener() = 0;
  virtual IoThread& thread() = 0;
  virtual bool answered() const = 0;
  // Called once if the client goes away before the answer is complete; while a relay runs, the
  // relay's on_done tells it instead.
  virtual void on_gone(std::function<void()> gone) = 0;

  virtual void respond(HttpResponse response) = 0;

  // A streamed answer of our own (chunked unless Content-Length is set).
  virtual void begin(int status, const Headers& headers) = 0;
  virtual void write(std::string_view piece) = 0;  // buffered; see buffered_bytes
  virtual void end() = 0;
  // Close without completing: the client sees a broken body. A running relay is cancelled and ends
  // with client_gone.
  virtual void abort() = 0;
  // The same, but a client that is between two events of a stream is told why in its words first.
  virtual void break_off(const ApiError& why) = 0;
  virtual std::size_t buffered_bytes() const = 0;

  // Sends `upstream_head` (as written by append_request_head, with the length of the body) and the
  // body of request(), from where it lies, to `destination` through `client` and passes the answer
  // on piece by piece, with back-pressure both ways; a client that goes away cancels upstream at
  // once. The head leaves with the first byte of the body: until then a failure is `not_started`;
  // from then on the body of request() is gone, as nobody can need it again.
  virtual void relay(HttpClient& client, const std::string& destination,
                     std::string upstream_head, const ClientTimeouts& timeouts,
                     std::weak_ptr<RelayOwner> owner,
                     Sending sending = Sending::may_repeat) = 0;
  // Cancels a relay of which the client has seen nothing: it ends at once with `not_started`. False
  // when there is none such.
  virtual bool call_off() = 0;
};

// What is thought of a request when its head is complete and its body still to come.
struct HeadVerdict {
  std::optional<HttpResponse> refusal;     // answered at once; the body is not read
  std::unique_ptr<BodyListener> listener;  // goes to the exchange; may be null
};

class ServerCertificate;
enum class Transport : bool { plain, tls };

class HttpServer {
 public:
  using Handler = std::function<void(std::shared_ptr<Exchange>)>;
  // On the thread that will carry the exchange. The head has everything but the body.
  using HeadHandler = std::function<HeadVerdict(const HttpRequest& head, IoThread& thread)>;

  HttpServer(IoThreads& threads, ServerLimits limits, Handler handler, HeadHandler on_head = {});
  ~HttpServer();

  // Opens the listener on every I/O thread (SO_REUSEPORT). Port 0 picks one: see port().
  // May be called for several. REQUIRES a certificate for TLS.
  Result<std::uint16_t> listen(const std::string& address, std::uint16_t port,
                               Transport transport = Transport::plain);
  // What TLS listeners show from now on.
  void set_certificate(std::shared_ptr<const ServerCertificate> certificate);
  // No new connections. Open ones go on, and their answers carry Connection: close; idle ones are
  // closed after closing_grace.
  void close_listener();
  static constexpr std::chrono::milliseconds closing_grace{100};
  ServerStats stats() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace dualmesh::net
