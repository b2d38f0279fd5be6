// FrameGuard: follows the Cap'n Proto framing of received bytes before Cap'n Proto sees them.
//
// The library of Debian 12 adds one to a message's first word without looking: 0xFFFFFFFF makes
// zero segments and a read beyond its buffer. Whatever declares 512 segments or more, or a size
// beyond the limit, ends the stream here instead, before anything is allocated for it. Everything
// else passes byte for byte.
//
//   message = u32 segments-1, u32 words of each segment, padding to 8 bytes, the segments
//
// Invariant: bytes of a message that was refused never reach the reader; a refusal is final.
// Threads: FrameScanner is plain; FrameGuard: kj, one thread.
// Source: capnproto.org/encoding.html, "Serialization over a stream"; advisory 2026-03-12-0.
#pragma once

#include <kj/async-io.h>

#include <cstdint>
#include <span>
#include <string>

#include "net/mesh_refusals.h"

namespace dualmesh::net {

class FrameScanner {
 public:
  static constexpr std::uint64_t kMaxSegments = 512;  // this many are too many, as in the library
  enum class Verdict : std::uint8_t { good, too_many_segments, too_large };

  explicit FrameScanner(std::uint64_t max_words) : max_words_(max_words) {}

  // Takes the next bytes, however they are cut; once not good, it stays so.
  Verdict follow(std::span<const std::uint8_t> bytes);
  void set_max_words(std::uint64_t max_words) { max_words_ = max_words; }  // of later messages
  std::uint64_t messages() const { return messages_; }  // whose last byte has come
  bool between_messages() const { return part_ == Part::count && have_ == 0; }
  std::uint64_t declared() const { return declared_; }  // segments or words, when not good

 private:
  enum class Part : std::uint8_t { count, sizes, padding, body };
  void take_word(std::uint32_t word);
  void begin_body();

  std::uint64_t max_words_;
  Part part_ = Part::count;
  std::uint32_t word_ = 0;  // of the table, as far as it came
  std::uint32_t have_ = 0;  // bytes of it
  std::uint32_t segments_ = 0;
  std::uint32_t sizes_left_ = 0;
  std::uint64_t words_ = 0;
  std::uint64_t body_bytes_left_ = 0;
  std::uint64_t messages_ = 0;
  std::uint64_t declared_ = 0;
  Verdict verdict_ = Verdict::good;
};

class FrameGuard final : public kj::AsyncIoStream {
 public:
  FrameGuard(kj::AsyncIoStream& inner, std::uint64_t max_words)
      : inner_(inner), scanner_(max_words) {}

  void set_max_words(std::uint64_t max_words) { scanner_.set_max_words(max_words); }
  std::uint64_t bytes_read() const { return bytes_read_; }
  // Empty while all is well.
  const std::string& violation() const { return violation_; }
  Refusal reason() const { return reason_; }  // of the violation

  kj::Promise<size_t> tryRead(void* buffer, size_t min_bytes, size_t max_bytes) override;
  kj::Promise<void> write(const void* buffer, size_t size) override {
    return inner_.write(buffer, size);
  }
  kj::Promise<void> write(kj::ArrayPtr<const kj::ArrayPtr<const kj::byte>> pieces) override {
    return inner_.write(pieces);
  }
  kj::Promise<void> whenWriteDisconnected() override { return inner_.whenWriteDisconnected(); }
  void shutdownWrite() override { inner_.shutdownWrite(); }
  void abortRead() override { inner_.abortRead(); }
  void getsockopt(int level, int option, void* value, kj::uint* length) override {
    inner_.getsockopt(level, option, value, length);
  }

 private:
  void refuse(FrameScanner::Verdict verdict, std::span<const std::uint8_t> bytes, bool first);

  kj::AsyncIoStream& inner_;
  FrameScanner scanner_;
  std::uint64_t bytes_read_ = 0;
  std::string violation_;
  Refusal reason_ = Refusal::framing;
};

}  // namespace dualmesh::net
