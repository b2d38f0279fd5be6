// ClientSocket: a client's connection as bytes, with TLS over it or without. Private to net/*.cc.
//
// Has the members of Asio's socket that a connection uses. Without TLS they are that socket's: one
// test of a pointer is all it costs. A handler is never called from inside the call that takes it;
// it keeps this object alive.
//
// Invariant: one read and one write at a time; after close() nobody touches the descriptor.
// Threads: on the thread of its connection.
#pragma once

#include <sys/socket.h>

#include <array>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>
#include <memory>
#include <string_view>
#include <utility>

#include "net/tls_session.h"

namespace dualmesh::net {

// Writes what the socket takes without waiting; where it takes nothing, that is no error.
template <class Buffers>
std::size_t write_at_once(asio::ip::tcp::socket& socket, const Buffers& buffers,
                          std::error_code& error) {
  const std::size_t count = socket.write_some(buffers, error);
  if (error == asio::error::would_block || error == asio::error::try_again) error.clear();
  return count;
}

class ClientSocket {
 public:
  using Buffers = std::array<asio::const_buffer, 2>;
  enum class Handshake { done, plain_text, failed };

  explicit ClientSocket(asio::ip::tcp::socket socket) : socket_(std::move(socket)) {}

  asio::ip::tcp::socket& plain() { return socket_; }

  // Before anything is read. handler(Handshake); after `plain_text` (a client that speaks HTTP
  // without TLS) what it sent can be read, and it can be answered, in plain.
  template <class Handler>
  void async_handshake(const ServerCertificate& certificate, Handler handler) {
    tls_ = std::make_unique<TlsSession>(certificate, socket_.native_handle());
    socket_.async_wait(asio::socket_base::wait_read,
                       [this, handler = std::move(handler)](const std::error_code& error) mutable {
                         if (error || !socket_.is_open()) return handler(Handshake::failed);
                         char first = 0;
                         const auto seen =
                             ::recv(socket_.native_handle(), &first, 1, MSG_PEEK | MSG_DONTWAIT);
                         if (seen == 1 && first >= 'A' && first <= 'Z') {
                           tls_.reset();
                           return handler(Handshake::plain_text);
                         }
                         go_on_with_handshake(std::move(handler));
                       });
  }
  bool resumed() const { return tls_ && tls_->resumed(); }

  template <class Handler>
  void async_read_some(asio::mutable_buffer into, Handler handler) {
    if (!tls_) return socket_.async_read_some(into, std::move(handler));
    auto go_on = [this, into, handler = std::move(handler)](const std::error_code& error) mutable {
      if (error) return handler(error, 0);
      go_on_reading(into, std::move(handler));
    };
    if (!tls_->more_inside())
      return socket_.async_wait(asio::socket_base::wait_read, std::move(go_on));
    asio::post(socket_.get_executor(),
               [go_on = std::move(go_on)]() mutable { go_on(std::error_code()); });
  }

  // What can be written at once. With TLS nothing, as its handler tells more.
  std::size_t write_now(const Buffers& buffers, std::error_code& error) {
    return tls_ ? 0 : write_at_once(socket_, buffers, error);
  }

  template <class Handler>
  void async_write_some(const Buffers& buffers, Handler handler) {
    if (!tls_) return socket_.async_write_some(buffers, std::move(handler));
    std::size_t count = 0;
    const TlsSession::Step step = write(buffers, count);
    if (is_wait(step)) return wait_to_write(step, buffers, std::move(handler));
    asio::post(socket_.get_executor(), [step, count, handler = std::move(handler)]() mutable {
      handler(error_of(step), count);
    });
  }

  // Nothing more comes from us, and the client is told so.
  void shutdown_send() {
    std::error_code ignored;
    say_goodbye();
    socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  }
  void say_goodbye() {
    if (tls_ && socket_.is_open()) tls_->say_goodbye();
  }
  void reset_on_close() {
    std::error_code ignored;
    socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  }
  void close() {
    std::error_code ignored;
    socket_.close(ignored);
  }

 private:
  using Step = TlsSession::Step;

  static bool is_wait(Step step) { return step == Step::want_read || step == Step::want_write; }
  static asio::socket_base::wait_type wait_of(Step step) {
    return step == Step::want_read ? asio::socket_base::wait_read : asio::socket_base::wait_write;
  }
  static std::error_code error_of(Step step) {
    return step == Step::done ? std::error_code() : asio::error::make_error_code(asio::error::eof);
  }
  Step write(const Buffers& buffers, std::size_t& count) {
    const auto text = [](const asio::const_buffer& buffer) {
      return std::string_view(static_cast<const char*>(buffer.data()), buffer.size());
    };
    return tls_->write(text(buffers[0]), text(buffers[1]), count);
  }

  template <class Handler>
  void go_on_with_handshake(Handler handler) {
    const Step step = tls_->handshake();
    if (!is_wait(step)) return handler(step == Step::done ? Handshake::done : Handshake::failed);
    socket_.async_wait(wait_of(step),
                       [this, handler = std::move(handler)](const std::error_code& error) mutable {
                         if (error || !socket_.is_open()) return handler(Handshake::failed);
                         go_on_with_handshake(std::move(handler));
                       });
  }

  template <class Handler>
  void go_on_reading(asio::mutable_buffer into, Handler handler) {
    if (!socket_.is_open()) return handler(asio::error::operation_aborted, 0);
    std::size_t count = 0;
    const Step step = tls_->read(static_cast<char*>(into.data()), into.size(), count);
    if (!is_wait(step)) return handler(error_of(step), count);
    socket_.async_wait(wait_of(step), [this, into, handler = std::move(handler)](
                                          const std::error_code& error) mutable {
      if (error) return handler(error, 0);
      go_on_reading(into, std::move(handler));
    });
  }

  template <class Handler>
  void wait_to_write(Step step, const Buffers& buffers, Handler handler) {
    socket_.async_wait(wait_of(step), [this, buffers, handler = std::move(handler)](
                                          const std::error_code& error) mutable {
      if (error) return handler(error, 0);
      if (!socket_.is_open()) return handler(asio::error::operation_aborted, 0);
      std::size_t count = 0;
      const Step next = write(buffers, count);
      if (is_wait(next)) return wait_to_write(next, buffers, std::move(handler));
      handler(error_of(next), count);
    });
  }

  asio::ip::tcp::socket socket_;
  std::unique_ptr<TlsSession> tls_;  // null: none
};

}  // namespace dualmesh::net
