#include "net/http_client.h"

#include <asio/post.hpp>
#include <atomic>
#include <unordered_map>
#include <unordered_set>

#include "net/client_connection.h"
#include "net/http_writer.h"

namespace dualmesh::net {

const char* to_string(ClientError error) {
  switch (error) {
    case ClientError::none:
      return "none";
    case ClientError::resolve:
      return "resolve";
    case ClientError::connect:
      return "connect";
    case ClientError::send:
      return "send";
    case ClientError::malformed:
      return "malformed";
    case ClientError::truncated:
      return "truncated";
    case ClientError::timeout:
      return "timeout";
    case ClientError::too_large:
      return "too_large";
    case ClientError::local:
      return "no socket left on this host";
    case ClientError::called_off:
      return "called off";
  }
  return "unknown";
}

namespace {

// Counted on one thread and read on any: without locked instructions.
class Count {
 public:
  void operator=(std::uint64_t count) { count_.store(count, std::memory_order_relaxed); }
  void operator++() { *this = *this + 1; }
  void operator--() { *this -= 1; }
  void operator-=(std::uint64_t count) { *this = *this - count; }
  operator std::uint64_t() const { return count_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> count_ = 0;
};

}  // namespace

struct HttpClient::State final : ConnectionOwner, std::enable_shared_from_this<State> {
  using Connection = std::shared_ptr<ClientConnection>;

  State(IoThread& io_thread, Limits client_limits) : thread(io_thread), limits(client_limits) {}

  void connect(const std::shared_ptr<PendingCall>& call) {
    auto connection = std::make_shared<ClientConnection>(
        thread, weak_from_this(), call->destination, limits.response_head_bytes);
    open.insert(connection);
    open_count = open.size();
    ++connects;
    connection->connect_and_send(call);
  }

  void start(const std::shared_ptr<PendingCall>& call) {
    const auto pool = idle.find(call->destination);
    const bool needs_fresh = call->request.sending == Sending::once;
    if (needs_fresh || pool == idle.end() || pool->second.empty()) return connect(call);
    const Connection connection = std::move(pool->second.back());  // the most recently used
    pool->second.pop_back();
    --idle_count;
    ++reuses;
    connection->send(call);
  }

  void became_idle(const Connection& connection) override {
    auto& pool = idle[connection->destination()];
    if (pool.size() >= limits.idle_per_destination) return connection->close();
    pool.push_back(connection);
    ++idle_count;
    connection->idle_until(limits.idle_time);
  }

  void closed(const Connection& connection) override {
    open.erase(connection);
    open_count = open.size();
    const auto pool = idle.find(connection->destination());
    if (pool == idle.end()) return;
    idle_count -= std::erase(pool->second, connection);
    if (pool->second.empty()) idle.erase(pool);
  }

  void retry_stale(const std::shared_ptr<PendingCall>& call) override { connect(call); }

  void close_all() {
    const auto connections = open;
    for (const auto& connection : connections) connection->close();
  }

  IoThread& thread;
  const Limits limits;
  std::unordered_map<std::string, std::vector<Connection>> idle;
  std::unordered_set<Connection> open;
  Count open_count, idle_count, connects, reuses;
};

HttpClient::HttpClient(IoThread& thread, Limits limits)
    : state_(std::make_shared<State>(thread, limits)) {}

HttpClient::~HttpClient() {
  state_->thread.impl().run_and_wait([this] { state_->close_all(); });
}

namespace {

class HandlerListener final : public ClientListener {
 public:
  explicit HandlerListener(ClientHandler handler) : handler_(std::move(handler)) {}
  void on_head(HttpResponse& head) override {
    if (handler_.on_head) handler_.on_head(head);
  }
  void on_body(std::string_view piece) override {
    if (handler_.on_body) handler_.on_body(piece);
  }
  void on_done(ClientError error) override {
    if (handler_.on_done) handler_.on_done(error);
  }

 private:
  const ClientHandler handler_;
};

}  // namespace

std::shared_ptr<ClientCall> HttpClient::send(const std::string& destination, HttpRequest request,
                                             const ClientTimeouts& timeouts,
                                             ClientHandler handler) {
  OutgoingRequest outgoing;
  append_request_head(outgoing.head, request, destination, request.body.size());
  outgoing.asks_head = request.method == "HEAD";
  const auto body = std::make_shared<const ByteBuffer>(std::move(request.body));
  outgoing.body = *body;
  outgoing.owner = body;
  return send(destination, std::move(outgoing), timeouts,
              std::make_shared<HandlerListener>(std::move(handler)));
}

std::shared_ptr<ClientCall> HttpClient::send(const std::string& destination,
                                             OutgoingRequest request,
                                             const ClientTimeouts& timeouts,
                                             std::shared_ptr<ClientListener> listener) {
  auto call = std::make_shared<PendingCall>();
  call->destination = destination;
  call->request = std::move(request);
  call->timeouts = timeouts;
  call->listener = std::move(listener);
  state_->start(call);
  return call;
}

void HttpClient::fetch(const std::string& destination, const HttpRequest& request,
                       std::chrono::milliseconds timeout, std::size_t max_bytes,
                       std::function<void(ClientError, HttpResponse)> done) {
  struct Collected {
    HttpResponse response;
    std::shared_ptr<ClientCall> call;
    IoThread::Timer timer;
    std::function<void(ClientError, HttpResponse)> done;

    void finish(ClientError error) {
      timer.reset();
      call.reset();
      if (!done) return;
      auto once = std::move(done);
      done = nullptr;
      once(error, std::move(response));
    }
  };
  auto all = std::make_shared<Collected>();
  all->done = std::move(done);
  ClientHandler handler;
  handler.on_head = [all](const HttpResponse& head) { all->response = head; };
  handler.on_body = [all, max_bytes](std::string_view piece) {
    if (all->response.body.size() + piece.size() > max_bytes) {
      all->call->cancel();
      return all->finish(ClientError::too_large);
    }
    all->response.body += piece;
  };
  handler.on_done = [all](ClientError error) { all->finish(error); };
  all->call = send(destination, request, {timeout, timeout, timeout}, std::move(handler));
  all->timer = state_->thread.after(timeout, [weak = std::weak_ptr(all)] {
    const auto all = weak.lock();
    if (!all) return;
    all->call->cancel();
    all->finish(ClientError::timeout);
  });
}

PoolStats HttpClient::stats() const {
  return {state_->open_count, state_->idle_count, state_->connects, state_->reuses};
}

void HttpClient::close_idle(const std::string& destination) {
  const auto pool = state_->idle.find(destination);
  if (pool == state_->idle.end()) return;
  const auto connections = pool->second;
  for (const auto& connection : connections) connection->close();
}

}  // namespace dualmesh::net
