// TlsSession: the server's side of TLS on one socket that does not block. Private to net/*.cc.
//
// Each step goes as far as it can and says what it waits for. OpenSSL works on the socket itself: a
// pair of memory buffers, as asio::ssl has it, would hold 68 KB for each idle connection.
//
// Invariant: after a failure nothing more is sent, not even a farewell.
// Threads: on the thread of its connection.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

typedef struct ssl_st SSL;

namespace dualmesh::net {

class ServerCertificate;

class TlsSession {
 public:
  // done: some bytes, or the handshake. ended: the peer said so, or stopped.
  enum class Step { done, want_read, want_write, ended, failed };

  TlsSession(const ServerCertificate& certificate, int socket);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  Step handshake();
  bool resumed() const;
  // Fills `into` as far as bytes are there.
  Step read(char* into, std::size_t size, std::size_t& count);
  // Whether a read may find something though nothing comes on the socket.
  bool more_inside() const { return more_inside_; }
  // Takes from `front`, then `back`; what a write waited with must come again, wherever it lies.
  Step write(std::string_view front, std::string_view back, std::size_t& count);
  // Tells the peer that nothing more comes, if that can be said at once.
  void say_goodbye();

 private:
  Step outcome(int result);

  SSL* ssl_;
  bool failed_ = false;
  bool more_inside_ = true;
};

}  // namespace dualmesh::net
