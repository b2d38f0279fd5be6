// Plays many instances that answer chat completions without computing anything, for the front
// door's bench.
//
//   bench_front_fake --instances 32 --latency-us 20000 --events 200 --interval-us 100000
//
// Says {"ports": [...]} when it listens. A plain request gets a small JSON answer with usage when
// its latency is over. A body that begins with "stream":true gets server-sent events: the first
// after the latency, the second at a phase of its own, so that many streams do not speak at once,
// the others one interval apart. An event's id holds the microsecond at which it was sent. Ends
// with its standard input.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "tests/bench/front/event_loop.h"
#include "tests/bench/front/http_text.h"

namespace dualmesh::bench {
namespace {

struct Options {
  std::string host = "127.0.0.1";
  int instances = 32;
  long latency_us = 20'000, events = 200, interval_us = 100'000;
};

std::string with_head(std::string_view type, std::string_view body) {
  return "HTTP/1.1 200 OK\r\ndate: Sun, 22 Nov 2026 09:00:00 GMT\r\nserver: "
         "uvicorn\r\ncontent-length: " +
         std::to_string(body.size()) + "\r\ncontent-type: " + std::string(type) + "\r\n\r\n" +
         std::string(body);
}

std::string completion(std::size_t body_bytes) {
  const std::size_t prompt = body_bytes / 4, answer = 25;
  return with_head(
      "application/json",
      R"({"id":"chatcmpl-0123456789abcdef0123456789abcdef","object":"chat.completion",)"
      R"("created":1700000000,"model":"sim","choices":[{"index":0,"message":{"role":"assistant",)"
      R"("content":"The quick brown fox jumps over the lazy dog and says nothing more about it."},)"
      R"("logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":)" +
          std::to_string(prompt) + R"(,"total_tokens":)" + std::to_string(prompt + answer) +
          R"(,"completion_tokens":)" + std::to_string(answer) +
          R"(,"prompt_tokens_details":null}})");
}

constexpr std::string_view kModels =
    R"({"object":"list","data":[{"id":"sim","object":"model","created":1,"owned_by":"bench"}]})";
constexpr std::string_view kStreamHead =
    "HTTP/1.1 200 OK\r\ndate: Sun, 22 Nov 2026 09:00:00 GMT\r\nserver: uvicorn\r\n"
    "content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    "transfer-encoding: chunked\r\n\r\n";

class Connection final : public EventLoop::Handler {
 public:
  Connection(EventLoop& loop, const Options& options) : loop_(loop), options_(options) {}

  void open(int socket) {
    socket_ = socket;
    in_.clear();
    out_.clear();
    need_ = 0;
    streaming_ = false;
    const int on = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    loop_.watch(socket, EPOLLIN, *this);
  }
  bool is_open() const { return socket_ >= 0; }

  void ready(std::uint32_t events) override {
    if (!is_open()) return;
    if ((events & EPOLLOUT) != 0) flush();
    if ((events & ~EPOLLOUT) == 0 || !is_open()) return;
    static char buffer[1 << 18];
    const ssize_t count = recv(socket_, buffer, sizeof buffer, 0);
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) return shut();
    in_.append(buffer, static_cast<std::size_t>(count));
    while (is_open() && take_request()) {
    }
  }

  void due(std::uint32_t ticket) override {
    if (ticket != ticket_ || !is_open()) return;
    if (!streaming_) return write(answer_);
    if (sent_events_ == 0) write(kStreamHead);
    write_event();
  }

 private:
  bool take_request() {
    if (need_ == 0) {
      const std::size_t end = in_.find(kHeadEnd);
      if (end == std::string::npos) return false;
      const long body = content_length(std::string_view(in_).substr(0, end + 2));
      body_at_ = end + kHeadEnd.size();
      need_ = body_at_ + static_cast<std::size_t>(std::max(body, 0L));
    }
    if (in_.size() < need_) return false;
    respond(std::string_view(in_).substr(0, need_));
    in_.erase(0, need_);
    if (in_.empty() && in_.capacity() > (1U << 20)) in_.shrink_to_fit();
    need_ = 0;
    return true;
  }

  void respond(std::string_view request) {
    if (request.starts_with("GET ")) {
      const bool models = request.substr(4).starts_with("/v1/models");
      return write(with_head(models ? "application/json" : "text/plain", models ? kModels : ""));
    }
    streaming_ = request.substr(body_at_, 64).find(R"("stream":true)") != std::string_view::npos;
    sent_events_ = 0;
    if (!streaming_) answer_ = completion(need_ - body_at_);
    ++ticket_;
    if (options_.latency_us == 0) return due(ticket_);
    loop_.at(now_us() + options_.latency_us, *this, ticket_);
  }

  void write_event() {
    char event[320];
    const std::int64_t now = now_us();
    int size = std::snprintf(event, sizeof event,
                             R"(data: {"id":"chatcmpl-%ld","object":"chat.completion.chunk",)"
                             R"("created":1700000000,"model":"sim","choices":[{"index":0,)"
                             R"("delta":{"content":" word%ld"},"finish_reason":null}]})"
                             "\n\n",
                             now, sent_events_);
    const bool last = ++sent_events_ == options_.events;
    if (last) size += std::snprintf(event + size, sizeof event - size, "data: [DONE]\n\n");
    char chunk[400];
    size =
        std::snprintf(chunk, sizeof chunk, "%x\r\n%s\r\n%s", size, event, last ? "0\r\n\r\n" : "");
    write({chunk, static_cast<std::size_t>(size)});
    if (last || !is_open()) return;
    const long phase_us = static_cast<long>(now * 7919 % options_.interval_us);
    loop_.at(now + (sent_events_ == 1 ? phase_us : options_.interval_us), *this, ticket_);
  }

  void write(std::string_view bytes) {
    ssize_t sent = out_.empty() ? send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL) : 0;
    if (sent < 0 && errno != EAGAIN) return shut();
    sent = std::max<ssize_t>(sent, 0);
    if (static_cast<std::size_t>(sent) == bytes.size()) return;
    out_.append(bytes.substr(static_cast<std::size_t>(sent)));
    loop_.change(socket_, EPOLLIN | EPOLLOUT, *this);
  }

  void flush() {
    const ssize_t sent = send(socket_, out_.data(), out_.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return shut();
    if (sent > 0) out_.erase(0, static_cast<std::size_t>(sent));
    if (out_.empty()) loop_.change(socket_, EPOLLIN, *this);
  }

  void shut() {
    close(socket_);
    socket_ = -1;
    ++ticket_;  // what was to be answered is not
  }

  EventLoop& loop_;
  const Options& options_;
  int socket_ = -1;
  std::string in_, out_, answer_;
  std::size_t need_ = 0,
              body_at_ = 0;  // need_: bytes of the request at the front of in_, once known
  bool streaming_ = false;
  long sent_events_ = 0;
  std::uint32_t ticket_ = 0;
};

class Listener final : public EventLoop::Handler {
 public:
  Listener(EventLoop& loop, const Options& options,
           std::vector<std::unique_ptr<Connection>>& by_socket)
      : loop_(loop), options_(options), by_socket_(by_socket) {
    socket_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    inet_pton(AF_INET, options.host.c_str(), &address.sin_addr);
    if (bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        listen(socket_, 4096) != 0) {
      throw std::system_error(errno, std::generic_category(), "cannot listen at " + options.host);
    }
    loop.watch(socket_, EPOLLIN, *this);
  }

  int port() const {
    sockaddr_in address{};
    socklen_t size = sizeof address;
    getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
    return ntohs(address.sin_port);
  }

  void ready(std::uint32_t /*events*/) override {
    for (int socket; (socket = accept4(socket_, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
      if (by_socket_.size() <= static_cast<std::size_t>(socket)) by_socket_.resize(socket + 1);
      auto& connection = by_socket_[socket];
      if (!connection) connection = std::make_unique<Connection>(loop_, options_);
      connection->open(socket);
    }
  }

 private:
  EventLoop& loop_;
  const Options& options_;
  std::vector<std::unique_ptr<Connection>>& by_socket_;
  int socket_;
};

class StandardInput final : public EventLoop::Handler {
 public:
  explicit StandardInput(EventLoop& loop) { loop.watch(STDIN_FILENO, EPOLLIN, *this); }
  void ready(std::uint32_t /*events*/) override {
    char byte;
    if (read(STDIN_FILENO, &byte, 1) <= 0) open = false;
  }
  bool open = true;
};

int run(const Options& options) {
  raise_file_limit();
  EventLoop loop;
  std::vector<std::unique_ptr<Connection>> by_socket;
  std::vector<std::unique_ptr<Listener>> listeners;
  std::printf("{\"ports\": [");
  for (int i = 0; i < options.instances; ++i) {
    listeners.push_back(std::make_unique<Listener>(loop, options, by_socket));
    std::printf("%s%d", i == 0 ? "" : ", ", listeners.back()->port());
  }
  std::printf("]}\n");
  std::fflush(stdout);
  StandardInput input(loop);
  while (input.open) loop.turn(now_us() + 1'000'000);
  return 0;
}

}  // namespace
}  // namespace dualmesh::bench

int main(int argc, char** argv) {
  dualmesh::bench::Options options;
  CLI::App app("Plays instances that answer without computing");
  app.add_option("--host", options.host, "Address to listen at; the ports are free ones");
  app.add_option("--instances", options.instances, "How many")->check(CLI::Range(1, 1000));
  app.add_option("--latency-us", options.latency_us, "Until an answer or the first event");
  app.add_option("--events", options.events, "Of a stream")->check(CLI::Range(2, 1'000'000));
  app.add_option("--interval-us", options.interval_us, "Between two of them")
      ->check(CLI::Range(1, 1'000'000'000));
  CLI11_PARSE(app, argc, argv);
  try {
    return dualmesh::bench::run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_front_fake: %s\n", error.what());
    return 1;
  }
}
