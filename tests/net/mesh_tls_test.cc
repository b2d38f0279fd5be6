// Certificates as loaded from files, and TLS over an in-memory pipe.
#include <doctest/doctest.h>
#include <kj/async-io.h>
#include <openssl/err.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <random>

#include "net/mesh_certificate.h"
#include "net/mesh_tls_stream.h"
#include "tests/net/certificates.h"

namespace dualmesh::net {
namespace {

constexpr std::int64_t kDay_s = 86'400;

std::shared_ptr<const MeshCertificate> loaded(const CertificateFiles& files,
                                              std::int64_t now_s = std::time(nullptr)) {
  auto certificate = MeshCertificate::load(files, now_s);
  REQUIRE_MESSAGE(certificate.has_value(), (certificate ? "" : certificate.error().message));
  return *certificate;
}

std::string why_not(const CertificateFiles& files, std::int64_t now_s = std::time(nullptr)) {
  auto certificate = MeshCertificate::load(files, now_s);
  return certificate ? "it is good" : certificate.error().message;
}

bool says(const std::string& text, const char* part) {
  const bool found = text.find(part) != std::string::npos;
  if (!found) MESSAGE(text);
  return found;
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::string outcome(kj::Promise<void> promise, kj::WaitScope& scope) {
  std::string why;
  auto failure = kj::runCatchingExceptions([&] { promise.wait(scope); });
  KJ_IF_MAYBE (exception, failure) {
    why = exception->getDescription().cStr();
  }
  return why;
}

struct Pair {
  Pair(std::shared_ptr<const MeshCertificate> dialling,
       std::shared_ptr<const MeshCertificate> accepting, kj::TwoWayPipe pipe = kj::newTwoWayPipe())
      : dialler(kj::mv(pipe.ends[0]), std::move(dialling), TlsStream::Side::dialling),
        acceptor(kj::mv(pipe.ends[1]), std::move(accepting), TlsStream::Side::accepting) {}
  TlsStream dialler;
  TlsStream acceptor;
};

}  // namespace

TEST_CASE("a certificate that cannot be used is refused with its file and what is wrong") {
  Certificates good("r1 r2");
  const CertificateFiles r1 = good.of("r1");
  CHECK(loaded(r1)->identity().is_node("r1"));
  CHECK_FALSE(loaded(r1)->identity().is_node("r2"));
  CHECK_FALSE(loaded(r1)->identity().is_node("R1"));
  const std::int64_t left_s = loaded(r1)->not_after_s() - std::time(nullptr);
  CHECK(left_s > 364 * kDay_s);
  CHECK(left_s <= 365 * kDay_s);

  CHECK(says(why_not({r1.ca, r1.certificate, good.path("none")}), "none: the key cannot be read"));
  CHECK(
      says(why_not({r1.ca, r1.certificate, good.of("r2").key}), "not the key of the certificate"));
  CHECK(says(why_not({r1.ca, r1.key, r1.key}), "r1.key: holds no PEM certificate"));
  CHECK(says(why_not({r1.ca, r1.certificate, r1.certificate}), "holds no PEM key"));
  CHECK(says(why_not(r1, std::time(nullptr) + 366 * kDay_s), "'r1' expired on 20"));
  CHECK(says(why_not(r1, std::time(nullptr) - kDay_s), "'r1' is not valid before 20"));

  Certificates other("r1");
  CHECK(says(why_not({other.of("r1").ca, r1.certificate, r1.key}),
             "'r1' is not signed by the CA of this mesh"));
  write_file(good.path("empty"), "");
  CHECK(says(why_not({good.path("empty"), r1.certificate, r1.key}), "the CA is empty"));
  write_file(good.path("half"), "-----BEGIN CERTIFICATE-----\nMIIB");
  CHECK(says(why_not({r1.ca, good.path("half"), r1.key}), "holds no PEM certificate"));
}

TEST_CASE("an administrator's certificate is never a node's") {
  Certificates good("admin-of-name");
  good.make("r1", "--admin admin");
  const auto admin = loaded(good.of("admin"));
  CHECK(admin->identity().names == std::vector<std::string>{"admin"});
  CHECK_FALSE(admin->identity().is_node("admin"));

  // Nor may it answer as one: the dialling side asks for a server's certificate.
  kj::EventLoop loop;
  kj::WaitScope scope(loop);
  Pair pair(loaded(good.of("r1")), admin);
  auto accepting = pair.acceptor.handshake().eagerlyEvaluate([](kj::Exception&&) {});
  CHECK(says(outcome(pair.dialler.handshake(), scope), "purpose"));
  CHECK(pair.dialler.refusal() == Refusal::certificate);
}

TEST_CASE("both sides learn who the other is, and bytes arrive as they were sent") {
  Certificates good("r1 r2");
  kj::EventLoop loop;
  kj::WaitScope scope(loop);
  Pair pair(loaded(good.of("r1")), loaded(good.of("admin")));
  // admin dials r1: an administrator may.
  Pair right(loaded(good.of("admin")), loaded(good.of("r1")));
  auto accepting = right.acceptor.handshake().eagerlyEvaluate(nullptr);
  right.dialler.handshake().wait(scope);
  accepting.wait(scope);
  CHECK(right.dialler.identity().is_node("r1"));
  CHECK_FALSE(right.acceptor.identity().may_serve);
  CHECK(right.acceptor.identity().names == std::vector<std::string>{"admin"});

  std::mt19937 random(7);
  for (const std::size_t size : {1u, 7u, 16'384u, 16'385u, 65'536u, 65'537u, 3'000'000u}) {
    std::vector<kj::byte> sent(size), there(size), back(size);
    for (auto& byte : sent) byte = static_cast<kj::byte>(random());
    // Three pieces, an empty one among them, as a message's segments come.
    const std::size_t cut = random() % (size + 1);
    const kj::ArrayPtr<const kj::byte> pieces[] = {kj::arrayPtr(sent.data(), cut),
                                                   kj::arrayPtr(sent.data(), std::size_t{0}),
                                                   kj::arrayPtr(sent.data() + cut, size - cut)};
    auto writing = right.dialler.write(kj::arrayPtr(pieces, 3)).eagerlyEvaluate(nullptr);
    auto echo = right.acceptor.tryRead(there.data(), size, size)
                    .then([&](size_t n) {
                      CHECK(n == size);
                      return right.acceptor.write(there.data(), n);
                    })
                    .eagerlyEvaluate(nullptr);
    std::size_t done = 0;
    while (done < size) {
      const std::size_t least = 1 + random() % std::min<std::size_t>(size - done, 5'000);
      const std::size_t n =
          right.dialler.tryRead(back.data() + done, least, size - done).wait(scope);
      REQUIRE(n >= least);
      done += n;
    }
    writing.wait(scope);
    echo.wait(scope);
    CHECK(sent == back);
  }
  right.dialler.shutdownWrite();
  kj::byte byte;
  CHECK(right.acceptor.tryRead(&byte, 1, 1).wait(scope) == 0);
}

TEST_CASE("a stranger's, an expired and a missing certificate are refused, by name and date") {
  Certificates good("r1");
  kj::EventLoop loop;
  kj::WaitScope scope(loop);
  const auto r1 = loaded(good.of("r1"));

  SUBCASE("another CA") {
    Certificates other("r2");
    Pair pair(loaded(other.of("r2")), r1);
    auto accepting = pair.acceptor.handshake();
    auto refused = outcome(pair.dialler.handshake(), scope);
    CHECK(says(refused, "the certificate of 'r1' is not signed by the CA of this mesh"));
    CHECK(says(outcome(kj::mv(accepting), scope), "alert unknown ca"));
  }
  SUBCASE("expired since it was loaded") {
    good.make("r1", "--days 0");
    const auto expired = loaded(good.of("r1"), std::time(nullptr) - kDay_s - kDay_s / 2);
    Pair pair(expired, r1);
    // The dialling side hears of it with its first read.
    kj::byte byte;
    bool through = false;
    auto dialling = pair.dialler.handshake()
                        .then([&]() {
                          through = true;
                          return pair.dialler.tryRead(&byte, 1, 1);
                        })
                        .ignoreResult()
                        .eagerlyEvaluate(nullptr);
    const std::string why = outcome(pair.acceptor.handshake(), scope);
    CHECK(says(why, "the certificate of 'r1' expired on 20"));
    CHECK(pair.acceptor.refusal() == Refusal::certificate);
    CHECK(says(outcome(kj::mv(dialling), scope), "alert certificate expired"));
    CHECK(through);
  }
  SUBCASE("not TLS at all") {
    auto pipe = kj::newTwoWayPipe();
    TlsStream acceptor(kj::mv(pipe.ends[0]), r1, TlsStream::Side::accepting);
    auto handshake = acceptor.handshake().eagerlyEvaluate(nullptr);
    const char hello[] = "\0\0\0\0\5\0\0\0and so on, as Cap'n Proto begins";
    pipe.ends[1]->write(hello, sizeof(hello)).wait(scope);
    CHECK(says(outcome(kj::mv(handshake), scope), "does not speak TLS"));
    CHECK(acceptor.refusal() == Refusal::tls);
  }
  SUBCASE("gone in the middle of the handshake") {
    auto pipe = kj::newTwoWayPipe();
    TlsStream acceptor(kj::mv(pipe.ends[0]), r1, TlsStream::Side::accepting);
    auto handshake = acceptor.handshake().eagerlyEvaluate(nullptr);
    pipe.ends[1]->write("\x16\x03\x01", 3).wait(scope);
    pipe.ends[1] = nullptr;
    CHECK(says(outcome(kj::mv(handshake), scope), "ended the handshake"));
  }
}

TEST_CASE("bytes that were changed on the way never arrive") {
  Certificates good("r1");
  kj::EventLoop loop;
  kj::WaitScope scope(loop);
  const auto r1 = loaded(good.of("r1"));
  // dialler <-> middle.ends, with somebody between.
  auto left = kj::newTwoWayPipe();
  auto right = kj::newTwoWayPipe();
  TlsStream dialler(kj::mv(left.ends[0]), r1, TlsStream::Side::dialling);
  TlsStream acceptor(kj::mv(right.ends[0]), r1, TlsStream::Side::accepting);
  auto back = right.ends[1]->pumpTo(*left.ends[1]).ignoreResult().eagerlyEvaluate(nullptr);
  bool tampering = false;
  std::vector<kj::byte> buffer(4'096);
  std::function<kj::Promise<void>()> forward = [&]() -> kj::Promise<void> {
    return left.ends[1]->tryRead(buffer.data(), 1, buffer.size()).then([&](size_t n) {
      if (n == 0) return kj::Promise<void>(kj::READY_NOW);
      if (tampering) buffer[n - 1] ^= 1;
      return right.ends[1]->write(buffer.data(), n).then([&]() { return forward(); });
    });
  };
  auto forwarding = forward().eagerlyEvaluate(nullptr);
  auto accepting = acceptor.handshake().eagerlyEvaluate(nullptr);
  dialler.handshake().wait(scope);
  accepting.wait(scope);
  char text[6] = {};
  dialler.write("first", 5).wait(scope);
  CHECK(acceptor.tryRead(text, 5, 5).wait(scope) == 5);
  CHECK(std::string(text) == "first");
  tampering = true;
  auto writing = dialler.write("other", 5).eagerlyEvaluate([](kj::Exception&&) {});
  CHECK(says(outcome(acceptor.tryRead(text, 5, 5).ignoreResult(), scope), "bad record mac"));
  CHECK(std::string(text) == "first");
}

}  // namespace dualmesh::net
