// What a request costs in net/: parsing its head, reading its prompt, and being relayed over
// loopback.
//
// relayed/N counts the CPU time of the proxy's one I/O thread per request (cpu_us), with N clients
// on other threads; client and upstream run elsewhere and are not counted.
#include <benchmark/benchmark.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <future>
#include <string>
#include <thread>
#include <vector>

#include "net/http_parser.h"
#include "net/http_server.h"
#include "net/http_writer.h"
#include "net/prompt_reader.h"

namespace {

using namespace dualmesh::net;

// What the official Python client sends.
const std::string client_head =
    "POST /v1/chat/completions HTTP/1.1\r\nHost: router.example:8080\r\n"
    "Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nAccept: application/json\r\n"
    "Content-Type: application/json\r\nUser-Agent: OpenAI/Python 1.54.0\r\n"
    "X-Stainless-Lang: python\r\nX-Stainless-Package-Version: 1.54.0\r\nX-Stainless-OS: Linux\r\n"
    "X-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\n"
    "X-Stainless-Runtime-Version: 3.11.2\r\nAuthorization: Bearer sk-0123456789abcdef\r\n"
    "X-Stainless-Retry-Count: 0\r\n";

std::string chat_body(std::size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += "The quick brown fox said \\\"no\\\" and went on.\\n";
  return R"({"model":"llama","messages":[{"role":"system","content":"Be brief."},)"
         R"({"role":"user","content":")" +
         text + R"("}],"stream":true,"max_tokens":100})";
}

void parse_head(benchmark::State& state) {
  const std::string head = client_head + "Content-Length: 100\r\n\r\n";
  for (auto _ : state) {
    HttpRequest request;
    RequestParser parser(HeadLimits{});
    benchmark::DoNotOptimize(parser.parse(head, request));
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * head.size()));
}
BENCHMARK(parse_head);

void read_prompt(benchmark::State& state) {
  const std::string body = chat_body(static_cast<std::size_t>(state.range(0)));
  PromptReader reader;
  for (auto _ : state) benchmark::DoNotOptimize(reader.read(Endpoint::chat, body));
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * body.size()));
}
BENCHMARK(read_prompt)->Arg(1'000)->Arg(33'000)->Arg(400'000);

double thread_cpu_us(IoThread& thread) {
  std::promise<double> time;
  thread.post([&] {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    time.set_value(static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3);
  });
  return time.get_future().get();
}

// One keep-alive client that asks and waits; false when the connection fails.
bool ask(int fd, const std::string& request, std::size_t answer_bytes) {
  if (::send(fd, request.data(), request.size(), MSG_NOSIGNAL) < 0) return false;
  static thread_local char bytes[64 * 1024];
  for (std::size_t got = 0; got < answer_bytes;) {
    const ssize_t count = ::recv(fd, bytes, sizeof bytes, 0);
    if (count <= 0) return false;
    got += static_cast<std::size_t>(count);
  }
  return true;
}

int connect_to(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to);
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

void relayed(benchmark::State& state) {
  IoThreads upstream_threads(1), proxy_threads(1);
  HttpServer upstream(upstream_threads, {}, [](std::shared_ptr<Exchange> exchange) {
    HttpResponse response;
    response.body.assign(256, 'x');
    exchange->respond(std::move(response));
  });
  const std::string destination = "127.0.0.1:" + std::to_string(*upstream.listen("127.0.0.1", 0));
  HttpClient client(proxy_threads.at(0), HttpClient::Limits{});
  struct PassOn final : RelayOwner {
    bool relay_head(HttpResponse&) override { return true; }
    void relay_body(std::string_view) override {}
    void relay_done(const RelayResult&) override {}
  };
  const auto owner = std::make_shared<PassOn>();
  HttpServer proxy(proxy_threads, {}, [&](std::shared_ptr<Exchange> exchange) {
    const HttpRequest& request = exchange->request();
    std::string head;
    append_request_head(head, request, destination, request.body.size());
    exchange->relay(client, destination, std::move(head), {}, owner);
  });
  const std::uint16_t port = *proxy.listen("127.0.0.1", 0);
  const std::string body = chat_body(1'000);
  const std::string request =
      client_head + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  const std::size_t answer_bytes =
      std::string("HTTP/1.1 200 OK\r\nContent-Length: 256\r\n\r\n").size() + 256;

  const auto clients = static_cast<std::size_t>(state.range(0));
  constexpr std::size_t each = 200;
  std::vector<int> sockets;
  for (std::size_t i = 0; i < clients; ++i) sockets.push_back(connect_to(port));
  const double before = thread_cpu_us(proxy_threads.at(0));
  std::atomic<bool> failed = false;
  for (auto _ : state) {
    std::vector<std::thread> threads;
    for (const int fd : sockets) {
      threads.emplace_back([&, fd] {
        for (std::size_t i = 0; i < each; ++i) {
          if (!ask(fd, request, answer_bytes)) failed = true;
        }
      });
    }
    for (auto& thread : threads) thread.join();
  }
  const double requests = static_cast<double>(state.iterations() * clients * each);
  state.counters["cpu_us"] = (thread_cpu_us(proxy_threads.at(0)) - before) / requests;
  state.SetItemsProcessed(static_cast<std::int64_t>(requests));
  for (const int fd : sockets) ::close(fd);
  if (failed) state.SkipWithError("a request failed");
}
BENCHMARK(relayed)->Arg(1)->Arg(16)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
