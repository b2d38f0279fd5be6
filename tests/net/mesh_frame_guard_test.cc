// The framing guard against a straightforward parser, at every split of the bytes, and over a pipe.
#include "net/mesh_frame_guard.h"

#include <capnp/message.h>
#include <capnp/serialize-async.h>
#include <capnp/serialize.h>
#include <doctest/doctest.h>

#include <random>
#include <vector>

#include "tests/net/frame_oracle.h"

namespace dualmesh::net {
namespace {

using Bytes = std::vector<std::uint8_t>;
constexpr std::uint64_t kMaxWords = 1'000;

void add_u32(Bytes& bytes, std::uint32_t value) {
  for (int i = 0; i < 4; ++i) bytes.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
}

Bytes frame(const std::vector<std::uint32_t>& sizes) {
  Bytes bytes;
  add_u32(bytes, static_cast<std::uint32_t>(sizes.size() - 1));
  std::uint64_t words = 0;
  for (const std::uint32_t size : sizes) {
    add_u32(bytes, size);
    words += size;
  }
  if (sizes.size() % 2 == 0) add_u32(bytes, 0);
  for (std::uint64_t i = 0; i < words * 8; ++i)
    bytes.push_back(static_cast<std::uint8_t>(0xF0 + i));
  return bytes;
}

Bytes joined(std::initializer_list<Bytes> parts) {
  Bytes all;
  for (const Bytes& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

void check_as_oracle(const FrameScanner& scanner, FrameScanner::Verdict verdict,
                     const Bytes& bytes) {
  const FrameOutcome expected = read_frames(bytes, kMaxWords);
  CHECK(scanner.messages() == expected.messages);
  CHECK((verdict == FrameScanner::Verdict::too_many_segments) == expected.too_many_segments);
  CHECK((verdict == FrameScanner::Verdict::too_large) == expected.too_large);
}

}  // namespace

TEST_CASE("messages are followed and refused as by a straightforward parser, at every split") {
  Bytes first_word_all_ones;
  add_u32(first_word_all_ones, 0xFFFFFFFF);
  Bytes segments_511;  // the most that is allowed, all empty
  add_u32(segments_511, 510);
  for (int i = 0; i < 511; ++i) add_u32(segments_511, 0);
  Bytes segments_512;
  add_u32(segments_512, 511);
  Bytes sum_beyond;  // each within the limit, together beyond 32 bits
  add_u32(sum_beyond, 2);
  for (int i = 0; i < 3; ++i) add_u32(sum_beyond, 0xFFFFFFFF);
  const std::vector<Bytes> cases = {
      frame({1}),
      frame({0}),
      frame({1, 2}),
      frame({1, 2, 3}),
      joined({frame({3}), frame({0, 0}), frame({2, 0, 1})}),
      joined({frame({2}), first_word_all_ones, frame({1})}),
      first_word_all_ones,
      joined({segments_511, frame({1})}),
      segments_512,
      joined({frame({1}), segments_512}),
      sum_beyond,
      joined({frame({kMaxWords}), frame({1})}),
      joined({frame({1}), frame({kMaxWords + 1})}),
      frame({kMaxWords - 1, 2}),
  };
  for (const Bytes& bytes : cases) {
    const std::size_t header = std::min<std::size_t>(bytes.size(), 64);
    for (std::size_t a = 0; a <= header; ++a) {
      for (std::size_t b = a; b <= header; ++b) {
        FrameScanner scanner(kMaxWords);
        scanner.follow(std::span(bytes).first(a));
        scanner.follow(std::span(bytes).subspan(a, b - a));
        check_as_oracle(scanner, scanner.follow(std::span(bytes).subspan(b)), bytes);
      }
    }
    FrameScanner one_by_one(kMaxWords);
    auto verdict = FrameScanner::Verdict::good;
    for (const std::uint8_t& byte : bytes) verdict = one_by_one.follow({&byte, 1});
    check_as_oracle(one_by_one, verdict, bytes);
    // A refusal is final.
    if (verdict != FrameScanner::Verdict::good) {
      const Bytes good = frame({1});
      CHECK(one_by_one.follow(good) == verdict);
    }
  }
}

TEST_CASE("the guard passes messages byte for byte, whatever the reads, and stops the bad one") {
  kj::EventLoop loop;
  kj::WaitScope scope(loop);
  std::mt19937 random(11);
  for (int round = 0; round < 200; ++round) {
    Bytes bytes;
    for (int i = 0; i < 4; ++i) {
      std::vector<std::uint32_t> sizes(1 + random() % 4);
      for (auto& size : sizes) size = random() % 9;
      const Bytes one = frame(sizes);
      bytes.insert(bytes.end(), one.begin(), one.end());
    }
    const std::size_t good = bytes.size();
    add_u32(bytes, 0xFFFFFFFF);
    auto pipe = kj::newTwoWayPipe();
    FrameGuard guard(*pipe.ends[0], kMaxWords);
    auto writing =
        pipe.ends[1]->write(bytes.data(), bytes.size()).eagerlyEvaluate([](kj::Exception&&) {});
    Bytes passed(good);
    std::size_t done = 0;
    while (done < good) {
      const std::size_t least = 1 + random() % std::min<std::size_t>(good - done, 20);
      done += guard.tryRead(passed.data() + done, least, least).wait(scope);
    }
    CHECK(passed == Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(good)));
    CHECK(guard.violation().empty());
    std::uint8_t rest[8];
    CHECK_THROWS(guard.tryRead(rest, 4, 4).wait(scope));
    CHECK(guard.violation() == "a message of 4294967296 segments");
    CHECK(guard.reason() == Refusal::framing);
  }
}

TEST_CASE("Cap'n Proto's own messages pass, and one beyond the limit does not reach it") {
  kj::EventLoop loop;
  kj::WaitScope scope(loop);
  auto pipe = kj::newTwoWayPipe();
  FrameGuard guard(*pipe.ends[0], kMaxWords);
  for (const std::size_t words : {1u, 10u, 900u, 1'100u}) {
    capnp::MallocMessageBuilder message(32);  // several segments
    auto list = message.initRoot<capnp::AnyPointer>().initAs<capnp::List<std::uint64_t>>(
        static_cast<unsigned>(words));
    for (unsigned i = 0; i < words; ++i) list.set(i, i * i);
    auto writing =
        capnp::writeMessage(*pipe.ends[1], message).eagerlyEvaluate([](kj::Exception&&) {});
    if (words > kMaxWords) {
      CHECK_THROWS(capnp::readMessage(guard).wait(scope));
      CHECK(guard.reason() == Refusal::oversize);
      break;
    }
    auto read = capnp::readMessage(guard).wait(scope);
    const auto same = read->getRoot<capnp::AnyPointer>().getAs<capnp::List<std::uint64_t>>();
    REQUIRE(same.size() == words);
    CHECK(same[static_cast<unsigned>(words) - 1] == (words - 1) * (words - 1));
  }
}

TEST_CASE("a TLS handshake at a plain port is named as such") {
  kj::EventLoop loop;
  kj::WaitScope scope(loop);
  auto pipe = kj::newTwoWayPipe();
  FrameGuard guard(*pipe.ends[0], kMaxWords);
  auto writing =
      pipe.ends[1]->write("\x16\x03\x01\x02\x00\x01\x00\x01", 8).eagerlyEvaluate(nullptr);
  std::uint8_t bytes[8];
  CHECK_THROWS(guard.tryRead(bytes, 8, 8).wait(scope));
  CHECK(guard.violation() == "it speaks TLS, and there is no certificate here");
}

}  // namespace dualmesh::net
