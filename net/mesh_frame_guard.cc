#include "net/mesh_frame_guard.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>

namespace dualmesh::net {

FrameScanner::Verdict FrameScanner::follow(std::span<const std::uint8_t> bytes) {
  while (!bytes.empty() && verdict_ == Verdict::good) {
    if (part_ == Part::body) {
      const auto n =
          static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), body_bytes_left_));
      body_bytes_left_ -= n;
      bytes = bytes.subspan(n);
      if (body_bytes_left_ == 0) {
        ++messages_;
        part_ = Part::count;
      }
      continue;
    }
    word_ |= static_cast<std::uint32_t>(bytes[0]) << (8 * have_);
    bytes = bytes.subspan(1);
    if (++have_ < 4) continue;
    const std::uint32_t word = word_;
    word_ = have_ = 0;
    take_word(word);
  }
  return verdict_;
}

void FrameScanner::take_word(std::uint32_t word) {
  switch (part_) {
    case Part::count:
      declared_ = std::uint64_t{word} + 1;
      if (declared_ >= kMaxSegments) {
        verdict_ = Verdict::too_many_segments;
        return;
      }
      segments_ = sizes_left_ = static_cast<std::uint32_t>(declared_);
      words_ = 0;
      part_ = Part::sizes;
      return;
    case Part::sizes:
      words_ += word;
      if (--sizes_left_ > 0) return;
      declared_ = words_;
      if (words_ > max_words_) {
        verdict_ = Verdict::too_large;
      } else if (segments_ % 2 == 0) {
        part_ = Part::padding;  // the table is a whole number of 8 bytes
      } else {
        begin_body();
      }
      return;
    case Part::padding:
      begin_body();
      return;
    case Part::body:
      return;
  }
}

void FrameScanner::begin_body() {
  body_bytes_left_ = words_ * 8;
  part_ = Part::body;
  if (body_bytes_left_ > 0) return;
  ++messages_;
  part_ = Part::count;
}

kj::Promise<size_t> FrameGuard::tryRead(void* buffer, size_t min_bytes, size_t max_bytes) {
  return inner_.tryRead(buffer, min_bytes, max_bytes).then([this, buffer](size_t n) {
    const std::span<const std::uint8_t> bytes(static_cast<const std::uint8_t*>(buffer), n);
    const auto verdict = scanner_.follow(bytes);
    if (verdict != FrameScanner::Verdict::good) refuse(verdict, bytes, bytes_read_ == 0);
    bytes_read_ += n;
    return n;
  });
}

void FrameGuard::refuse(FrameScanner::Verdict verdict, std::span<const std::uint8_t> bytes,
                        bool first) {
  if (verdict == FrameScanner::Verdict::too_large) {
    reason_ = Refusal::oversize;
    violation_ = fmt::format("a message of {} bytes, beyond the limit", scanner_.declared() * 8);
  } else {
    reason_ = Refusal::framing;
    violation_ = fmt::format("a message of {} segments", scanner_.declared());
    // A TLS record: handshake or alert, version 3.x.
    if (first && bytes.size() >= 2 && (bytes[0] == 0x16 || bytes[0] == 0x15) && bytes[1] == 3) {
      violation_ = "it speaks TLS, and there is no certificate here";
    }
  }
  kj::throwFatalException(kj::Exception(kj::Exception::Type::FAILED, __FILE__, __LINE__,
                                        kj::str("refused: ", violation_.c_str())));
}

}  // namespace dualmesh::net
