// A port that is not the mesh's: an HTTP server is named, and asked no more than once.
#include "node/ctl/http_probe.h"

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <string_view>
#include <thread>

#include "node/ctl/session.h"

using namespace dualmesh;
using namespace dualmesh::node::ctl;

namespace {

// Says the same to whoever connects, and counts those who speak HTTP. Not thread safe but for
// `asked`.
class Server {
 public:
  explicit Server(std::string_view says) : says_(says), socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    auto* address = reinterpret_cast<sockaddr*>(&at);
    REQUIRE(bind(socket_, address, size) == 0);
    REQUIRE(listen(socket_, 8) == 0);
    REQUIRE(getsockname(socket_, address, &size) == 0);
    port_ = ntohs(at.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() {
    shutdown(socket_, SHUT_RDWR);
    thread_.join();
    close(socket_);
  }
  std::string at(const std::string& host) const { return host + ":" + std::to_string(port_); }
  int asked() const { return asked_; }

 private:
  void serve() {
    for (int peer; (peer = accept(socket_, nullptr, nullptr)) >= 0; close(peer)) {
      char read[256] = {};
      const ssize_t size = recv(peer, read, sizeof read, 0);
      if (size > 0 && std::string_view(read, size).starts_with("GET ")) ++asked_;
      send(peer, says_.data(), says_.size(), MSG_NOSIGNAL);
      shutdown(peer, SHUT_WR);
      while (recv(peer, read, sizeof read, 0) > 0) {
      }
    }
  }

  const std::string_view says_;
  const int socket_;
  std::uint16_t port_ = 0;
  std::atomic<int> asked_ = 0;
  std::thread thread_;
};

constexpr std::string_view kBad = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";

}  // namespace

TEST_CASE("an HTTP server is known by its answer, at any address its name stands for") {
  auto io = kj::setupAsyncIo();
  const auto probe = [&](const std::string& address) {
    return speaks_http(*io.provider, address, 7000).wait(io.waitScope);
  };
  std::string nobody;
  {
    const Server http(kBad), other("SSH-2.0"), curt("HTT"), mute("");
    CHECK(probe(http.at("127.0.0.1")));
    CHECK(probe(http.at("localhost")));
    for (const Server* server : {&other, &curt, &mute}) {
      CHECK_FALSE(probe(server->at("127.0.0.1")));
      CHECK(server->asked() == 1);
    }
    nobody = http.at("127.0.0.1");
  }
  CHECK_FALSE(probe(nobody));
  CHECK_FALSE(probe("no address"));
}

TEST_CASE("only the address that was given is asked whether it speaks HTTP, and once") {
  const Server given(kBad), other(kBad);
  Session session(given.at("127.0.0.1"), false);
  const auto fails_at = [&](const Server& server) {
    const std::string address = server.at("127.0.0.1");
    AdminClient& client = session.client(address);
    auto answer = client.call(client.admin().statusRequest(), "read its status");
    session.forget(address);
    REQUIRE_FALSE(answer.has_value());
    return answer.error().message.find("speaks HTTP") != std::string::npos;
  };
  CHECK_FALSE(fails_at(other));
  CHECK(other.asked() == 0);
  CHECK(fails_at(given));
  CHECK(given.asked() == 1);
  CHECK_FALSE(fails_at(given));
  CHECK(given.asked() == 1);
}
