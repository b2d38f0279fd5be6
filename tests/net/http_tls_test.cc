// HttpServer's TLS listeners, against OpenSSL's client and against peers that speak something else.
#include <openssl/err.h>
#include <signal.h>

#include <ctime>
#include <filesystem>
#include <random>

#include "net/http_server.h"
#include "net/server_certificate.h"
#include "tests/net/certificates.h"
#include "tests/net/tls_peer.h"

using namespace dualmesh;
using namespace dualmesh::net;
using namespace dualmesh::net::testing;

namespace {

constexpr std::string_view get_x = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

std::shared_ptr<const ServerCertificate> loaded(const CertificateFiles& files) {
  auto certificate = ServerCertificate::load(files, std::time(nullptr));
  REQUIRE_MESSAGE(certificate.has_value(), (certificate ? "" : certificate.error().message));
  return *certificate;
}

std::string why_not(const CertificateFiles& files, std::int64_t now_s = std::time(nullptr)) {
  const auto certificate = ServerCertificate::load(files, now_s);
  return certificate ? "it is good" : certificate.error().message;
}

// One for all cases: making keys takes longer than they do.
Certificates& certificates() {
  static Certificates made("a b");
  return made;
}

// Answers with method, target and body; /held waits in `held` for the test.
struct SecureServer {
  explicit SecureServer(ServerLimits limits = {})
      : threads(1), server(threads, limits, [this](std::shared_ptr<Exchange> exchange) {
          const auto& request = exchange->request();
          if (request.path() == "/held") return held.set(std::move(exchange));
          HttpResponse answer;
          answer.body = request.method + " " + request.target + " " + std::string(request.body);
          exchange->respond(std::move(answer));
        }) {
    ::signal(SIGPIPE, SIG_IGN);  // for the client's sockets
    server.set_certificate(loaded(certificates().of("a")));
    const auto bound = server.listen("127.0.0.1", 0, Transport::tls);
    REQUIRE(bound.has_value());
    port = *bound;
  }
  ~SecureServer() {
    held.set(nullptr);
    CHECK(becomes_true([&] { return server.stats().held_requests == 0; }));
    CHECK(becomes_true([&] { return server.stats().half_open_connections == 0; }));
  }

  IoThreads threads;
  Eventually<std::shared_ptr<Exchange>> held;
  HttpServer server;
  std::uint16_t port = 0;
};

TlsOptions verified() { return {.ca = certificates().path("ca.crt"), .name = "a"}; }

}  // namespace

TEST_CASE("requests over TLS 1.3 and 1.2, the certificate verified") {
  SecureServer echo;
  for (const int version : {TLS1_3_VERSION, TLS1_2_VERSION}) {
    CAPTURE(version);
    TlsOptions options = verified();
    options.version = version;
    options.protocols = {"h2", "http/1.1"};
    TlsPeer peer(echo.port, options);
    REQUIRE(peer.connected());
    CHECK(peer.protocol() == "http/1.1");
    for (int round = 0; round < 3; ++round) {
      peer.send("POST /y HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
      CHECK(peer.receive_message().ends_with("POST /y abc"));
    }
    peer.send(std::string(get_x) + std::string(get_x));  // pipelined
    CHECK(peer.receive_message().ends_with("GET /x "));
    CHECK(peer.receive_message().ends_with("GET /x "));
  }
  CHECK(echo.server.stats().tls_handshakes == 2);
  CHECK(echo.server.stats().requests == 10);
}

TEST_CASE("old versions, other protocols and other names are refused") {
  SecureServer echo;
  TlsOptions old = verified();
  old.version = TLS1_1_VERSION;
  CHECK_FALSE(TlsPeer(echo.port, old).connected());
  TlsOptions other = verified();
  other.protocols = {"h2"};
  CHECK_FALSE(TlsPeer(echo.port, other).connected());
  CHECK(becomes_true([&] { return echo.server.stats().tls_failed == 2; }));
  TlsOptions named = verified();
  named.name = "b";
  CHECK_FALSE(TlsPeer(echo.port, named).connected());  // the client's own doing
  TlsOptions plain = verified();
  CHECK(TlsPeer(echo.port, plain).protocol().empty());
}

TEST_CASE("large bodies pass whole both ways, also to a client that reads late") {
  SecureServer echo;
  std::mt19937_64 random(7);
  std::string body(5 * 1024 * 1024 + 17, ' ');
  for (char& c : body) c = static_cast<char>(random());
  for (const int version : {TLS1_3_VERSION, TLS1_2_VERSION}) {
    CAPTURE(version);
    TlsOptions options = verified();
    options.version = version;
    TlsPeer peer(echo.port, options, 16 * 1024);
    REQUIRE(peer.connected());
    peer.send("POST /y HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) +
              "\r\n\r\n");
    for (std::size_t at = 0; at < body.size();) {
      const std::string_view piece = std::string_view(body).substr(at, 1 + random() % 50'000);
      REQUIRE(peer.send(piece));
      at += piece.size();
    }
    const std::string answer = peer.receive_message();
    CHECK(answer.size() > body.size());
    CHECK(answer.ends_with(body));
    peer.send(get_x);
    CHECK(peer.receive_message().ends_with("GET /x "));
  }
}

TEST_CASE("a session is resumed by its ticket") {
  for (const int version : {TLS1_3_VERSION, TLS1_2_VERSION}) {
    CAPTURE(version);
    SecureServer echo;
    TlsOptions options = verified();
    options.version = version;
    TlsPeer first(echo.port, options);
    first.send(get_x);
    first.receive_message();  // in 1.3 the ticket comes before it
    CHECK_FALSE(SSL_session_reused(first.ssl()));
    const std::unique_ptr<SSL_SESSION, void (*)(SSL_SESSION*)> session(
        SSL_get1_session(first.ssl()), SSL_SESSION_free);
    options.session = session.get();
    TlsPeer second(echo.port, options);
    second.send(get_x);
    CHECK(second.receive_message().ends_with("GET /x "));
    CHECK(SSL_session_reused(second.ssl()));
    CHECK(echo.server.stats().tls_resumed == 1);
    CHECK(echo.server.stats().tls_handshakes == 1);
    // Not under another certificate.
    echo.server.set_certificate(loaded(certificates().of("a")));
    TlsPeer third(echo.port, options);
    CHECK(third.connected());
    CHECK_FALSE(SSL_session_reused(third.ssl()));
  }
}

TEST_CASE("a new certificate is shown to who comes now; the others go on with theirs") {
  SecureServer echo;
  TlsPeer before(echo.port, verified());
  REQUIRE(before.connected());
  echo.server.set_certificate(loaded(certificates().of("b")));
  TlsOptions options = verified();
  options.name = "b";
  TlsPeer after(echo.port, options);
  REQUIRE(after.connected());
  CHECK(after.serial() != before.serial());
  for (TlsPeer* peer : {&before, &after}) {
    peer->send(get_x);
    CHECK(peer->receive_message().ends_with("GET /x "));
  }
}

TEST_CASE("the end of a connection is said: after the last answer, and after idleness") {
  SecureServer echo;
  TlsPeer peer(echo.port, verified());
  peer.send("GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  CHECK(peer.receive_to_end().ends_with("GET /x "));
  CHECK(peer.was_told_the_end());

  ServerLimits limits;
  limits.idle_timeout = std::chrono::milliseconds(40);
  SecureServer impatient(limits);
  TlsPeer idle(impatient.port, verified());
  CHECK(idle.receive_to_end() == "");
  CHECK(idle.was_told_the_end());
}

TEST_CASE("a client that leaves is noticed while its answer is made") {
  SecureServer echo;
  Eventually<bool> gone;
  TlsPeer peer(echo.port, verified());
  peer.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
  const auto exchange = echo.held.get();
  exchange->thread().post([&] { exchange->on_gone([&] { gone.set(true); }); });
  SUBCASE("with a farewell alone") { SSL_shutdown(peer.ssl()); }
  SUBCASE("without one") { peer.close(); }
  CHECK(gone.get());
}

TEST_CASE("HTTP without TLS is told so, in plain") {
  SecureServer echo;
  RawPeer peer = RawPeer::connect(echo.port);
  peer.send(get_x);
  const std::string answer = peer.receive_to_end();
  CHECK(answer.starts_with("HTTP/1.1 400 "));
  CHECK(answer.find("this port speaks TLS") != std::string::npos);
  CHECK(echo.server.stats().refused_plain_text == 1);
  CHECK(echo.server.stats().requests == 0);
}

TEST_CASE("TLS where none is spoken is answered in plain at once") {
  SecureServer echo;
  const auto plain = echo.server.listen("127.0.0.1", 0);
  REQUIRE(plain.has_value());
  CHECK_FALSE(TlsPeer(*plain, verified()).connected());
  CHECK(echo.server.stats().refused_tls == 1);
  RawPeer hello = RawPeer::connect(*plain);
  hello.send(std::string("\x16\x03\x01\x02\x00\x01", 6));
  const std::string answer = hello.receive_to_end();
  CHECK(answer.starts_with("HTTP/1.1 400 "));
  CHECK(answer.find("without TLS: use http://") != std::string::npos);
  CHECK(echo.server.stats().refused_tls == 2);
  CHECK(echo.server.stats().refused_malformed == 0);
  RawPeer peer = RawPeer::connect(*plain);  // the other port goes on beside it
  peer.send(get_x);
  CHECK(peer.receive_message().ends_with("GET /x "));
}

TEST_CASE("a handshake that does not end is half-open until its time is up") {
  ServerLimits limits;
  limits.head_timeout = std::chrono::milliseconds(100);
  SecureServer echo(limits);
  RawPeer silent = RawPeer::connect(echo.port);
  RawPeer half = RawPeer::connect(echo.port);
  half.send(std::string("\x16\x03\x01\x02\x00\x01", 6));
  CHECK(becomes_true([&] { return echo.server.stats().half_open_connections == 2; }));
  CHECK(silent.is_closed_by_peer());
  CHECK(half.is_closed_by_peer());
  CHECK(becomes_true([&] { return echo.server.stats().tls_failed == 2; }));
}

TEST_CASE("connections over the limit get an alert, and cost no handshake") {
  ServerLimits limits;
  limits.connections = 1;
  SecureServer echo(limits);
  TlsPeer first(echo.port, verified());
  REQUIRE(first.connected());
  ERR_clear_error();
  CHECK_FALSE(TlsPeer(echo.port, verified()).connected());
  CHECK(ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_TLSV1_ALERT_INTERNAL_ERROR);
  ERR_clear_error();
  const ServerStats stats = echo.server.stats();
  CHECK(stats.refused_connections == 1);
  CHECK(stats.tls_handshakes == 1);
  CHECK(stats.tls_failed == 0);
  first.send(get_x);
  CHECK(first.receive_message().ends_with("GET /x "));
}

TEST_CASE("an idle connection is told the end when the server closes") {
  SecureServer echo;
  TlsPeer idle(echo.port, verified());
  idle.send(get_x);
  idle.receive_message();
  echo.server.close_listener();
  CHECK(idle.receive_to_end() == "");
  CHECK(idle.was_told_the_end());
}

TEST_CASE("garbage in place of a handshake harms nobody else") {
  SecureServer echo;
  TlsPeer good(echo.port, verified());
  std::mt19937_64 random(3);
  for (int round = 0; round < 100; ++round) {
    std::string bytes(1 + random() % 400, ' ');
    for (char& c : bytes) c = static_cast<char>(random());
    if (round % 2 == 0) bytes.replace(0, 1, "\x16");
    if (round % 4 == 0 && bytes.size() > 3) bytes.replace(1, 2, "\x03\x01");
    RawPeer peer = RawPeer::connect(echo.port);
    peer.send(bytes);
    peer.shutdown_send();
    peer.receive_to_end();
  }
  good.send(get_x);
  CHECK(good.receive_message().ends_with("GET /x "));
  const ServerStats stats = echo.server.stats();
  CHECK(stats.tls_failed + stats.refused_plain_text == 100);
}

TEST_CASE("what cannot serve is refused with its file and why") {
  const CertificateFiles good = certificates().of("a");
  CHECK(why_not(good) == "it is good");
  CertificateFiles files = good;
  files.key = certificates().path("none");
  CHECK(why_not(files) == files.key + ": the key cannot be read");
  files.key = certificates().path("b.key");
  CHECK(why_not(files) ==
        files.key + ": this is not the key of the certificate in " + good.certificate);
  files = good;
  files.certificate = good.key;
  CHECK(why_not(files) == good.key + ": holds no PEM certificate");
  const CertificateFiles clients = certificates().of("admin");
  CHECK(why_not(clients) ==
        clients.certificate + ": the certificate is not for servers (its key usage)");
  CHECK(why_not(good, std::time(nullptr) + 366 * 86'400).find("the certificate expired on 20") !=
        std::string::npos);
  CHECK(why_not(good, std::time(nullptr) - 366 * 86'400).find("is not valid before 20") !=
        std::string::npos);
}
