// An instance of raw sockets that writes down each request exactly as it came, and answers "ok";
// and a listener of ours that relays everything to it.
//
// It takes a request to end where its Content-Length says, so it is right only while what we send
// is as plain as it must be: is_plain() checks that.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "net/http_server.h"
#include "net/http_writer.h"
#include "tests/net/raw_peer.h"

namespace dualmesh::net::testing {

struct LoggedRequest {
  std::string head, body;

  // "METHOD target body", as outcomes of wire cases are told.
  std::string text() const {
    const std::string line = head.substr(0, head.find(" HTTP/1.1\r\n"));
    return body.empty() ? line : line + " " + body;
  }
  // How many fields have this name, compared without case.
  std::size_t count(const std::string& name) const;
  bool has(const std::string& name, const std::string& value) const {
    return head.find("\r\n" + name + ": " + value + "\r\n") != std::string::npos;
  }
  // Nothing in the head that another server could read in a second way.
  bool is_plain() const;
};

class LoggingInstance {
 public:
  LoggingInstance() : acceptor_([this] { accept_all(); }) {}
  ~LoggingInstance() {
    stopping_ = true;
    RawPeer::connect(listener_.port());
    acceptor_.join();
    for (std::thread& thread : threads_) thread.join();
  }

  std::string destination() const { return listener_.destination(); }
  std::vector<LoggedRequest> take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(requests_, {});
  }

 private:
  void accept_all();
  void serve(RawPeer peer);

  RawListener listener_;
  std::mutex mutex_;
  std::vector<LoggedRequest> requests_;
  std::list<std::thread> threads_;
  std::atomic<bool> stopping_{false};
  std::thread acceptor_;
};

class RelayingServer {
 public:
  RelayingServer();
  ~RelayingServer();
  std::uint16_t port() const { return port_; }
  std::vector<LoggedRequest> take_requests() { return instance_.take(); }
  ServerStats stats() const { return server_->stats(); }

 private:
  struct Relaying;

  LoggingInstance instance_;
  IoThreads threads_{1};
  std::unique_ptr<HttpClient> client_;
  std::unique_ptr<HttpServer> server_;
  std::uint16_t port_ = 0;
};

}  // namespace dualmesh::net::testing
