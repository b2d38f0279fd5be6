// A blocking TLS client for tests, on OpenSSL: a RawPeer that encrypts.
//
// Every wait is bounded, so that a test that fails ends.
#pragma once

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tests/net/raw_peer.h"

namespace dualmesh::net::testing {

struct TlsOptions {
  std::string ca;    // file; empty: anything is taken
  std::string name;  // that the certificate must bear
  int version = TLS1_3_VERSION;
  std::vector<std::string> protocols;  // offered by ALPN
  SSL_SESSION* session = nullptr;      // to resume
};

class TlsPeer {
 public:
  TlsPeer(std::uint16_t port, const TlsOptions& options, int receive_buffer = 0)
      : context_(SSL_CTX_new(TLS_client_method()), SSL_CTX_free) {
    SSL_CTX* const c = context_.get();
    // Version 1.1 is tried to see it refused: the library's own floor must not decide.
    SSL_CTX_set_security_level(c, 0);
    SSL_CTX_set_min_proto_version(c, options.version);
    SSL_CTX_set_max_proto_version(c, options.version);
    if (!options.ca.empty()) {
      SSL_CTX_load_verify_locations(c, options.ca.c_str(), nullptr);
      SSL_CTX_set_verify(c, SSL_VERIFY_PEER, nullptr);
    }
    ssl_.reset(SSL_new(c));
    if (!options.name.empty()) SSL_set1_host(ssl_.get(), options.name.c_str());
    std::string offered;
    for (const auto& one : options.protocols) offered += static_cast<char>(one.size()) + one;
    SSL_set_alpn_protos(ssl_.get(), reinterpret_cast<const unsigned char*>(offered.data()),
                        static_cast<unsigned>(offered.size()));
    if (options.session) SSL_set_session(ssl_.get(), options.session);
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_buffer > 0) {
      ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    }
    const timeval patience{patience_ms / 1000, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    const sockaddr_in to = RawPeer::loopback(port);
    REQUIRE(::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
    SSL_set_fd(ssl_.get(), fd_);
    connected_ = SSL_connect(ssl_.get()) == 1;
  }
  ~TlsPeer() { close(); }
  TlsPeer(const TlsPeer&) = delete;

  bool connected() const { return connected_; }
  SSL* ssl() { return ssl_.get(); }
  std::string protocol() {
    const unsigned char* name = nullptr;
    unsigned length = 0;
    SSL_get0_alpn_selected(ssl_.get(), &name, &length);
    return std::string(reinterpret_cast<const char*>(name), length);
  }
  // Of the server's certificate.
  std::string serial() {
    const std::unique_ptr<X509, void (*)(X509*)> shown(SSL_get1_peer_certificate(ssl_.get()),
                                                       X509_free);
    REQUIRE(shown);
    const ASN1_INTEGER* number = X509_get0_serialNumber(shown.get());
    return std::string(reinterpret_cast<const char*>(ASN1_STRING_get0_data(number)),
                       static_cast<std::size_t>(ASN1_STRING_length(number)));
  }

  bool send(std::string_view bytes) {
    return SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size())) > 0;
  }
  bool receive_more() {
    char bytes[16 * 1024];
    const int count = SSL_read(ssl_.get(), bytes, sizeof bytes);
    if (count <= 0) return false;
    received_.append(bytes, static_cast<std::size_t>(count));
    return true;
  }
  std::string receive_to_end() {
    while (receive_more()) {
    }
    return std::exchange(received_, {});
  }
  // Whether the end, which was reached, was said and not just cut.
  bool was_told_the_end() { return (SSL_get_shutdown(ssl_.get()) & SSL_RECEIVED_SHUTDOWN) != 0; }
  // One message whose body has a Content-Length: head and body.
  std::string receive_message() {
    std::size_t end = std::string::npos;
    while ((end = received_.find("\r\n\r\n")) == std::string::npos) {
      if (!receive_more()) return std::exchange(received_, {});
    }
    end += 4;
    const std::size_t field = received_.find("Content-Length: ");
    if (field < end) end += std::stoul(received_.substr(field + 16));
    while (received_.size() < end && receive_more()) {
    }
    std::string message = received_.substr(0, end);
    received_.erase(0, message.size());
    return message;
  }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  struct Free {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context_;
  std::unique_ptr<SSL, Free> ssl_;
  int fd_ = -1;
  bool connected_ = false;
  std::string received_;
};

}  // namespace dualmesh::net::testing
