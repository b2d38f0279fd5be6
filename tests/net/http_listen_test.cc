// HttpServer's listening sockets, under clients that do not wait for them.

#include "net/http_server.h"
#include "net/io_threads.h"
#include "tests/net/raw_peer.h"

using namespace dualmesh::net;

TEST_CASE("a client that knocks before the server listens does not hold its port") {
  IoThreads threads(1);
  HttpServer server(threads, {}, [](std::shared_ptr<Exchange>) {});
  const auto port = server.listen("127.0.0.1", 0);
  REQUIRE(port.has_value());
  server.close_listener();
  std::atomic<bool> enough = false;
  std::thread client([&] {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(*port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    while (!enough) {
      const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
      ::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to);
      ::close(fd);
    }
  });
  std::string failed;
  for (int round = 0; round < 10000 && failed.empty(); ++round) {
    const auto again = server.listen("127.0.0.1", *port);
    if (again.has_error()) failed = again.error().message;
    server.close_listener();
  }
  enough = true;
  client.join();
  CHECK(failed == "");
}
