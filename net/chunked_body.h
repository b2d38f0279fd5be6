// Bodies as they come off the wire: chunked, by length, or until the connection closes.
//
// decode() takes bytes from the front of `input` and yields at most one piece of payload each call;
// call it until it wants more. Chunk extensions and trailers are checked, bounded and dropped.
//
// Invariant: the payload and the verdict do not depend on where the input was cut; bytes after the
// end of the body are left in `input`. Threads: values. Source: RFC 9112 6, 7.1 (strict: CRLF only,
// 1 to 16 hex digits, no space around the size; extensions without spaces, quotes closed: some
// readers take an open one over the line's end).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "net/http_parser.h"

namespace dualmesh::net {

enum class Decoded { need_more, piece, done, failed };

class ChunkedBody {
 public:
  Decoded decode(std::string_view& input, std::string_view& piece);
  // What the chunk now begun still owes: a limit need not wait for it.
  std::uint64_t promised_bytes() const { return state_ == State::data ? left_ : 0; }

 private:
  enum class State { size, extension, size_lf, data, data_cr, data_lf, trailer, done, failed };
  State take_size(char c);
  State take_extension(char c);
  State take_trailer(char c);
  bool takes_quoted(unsigned char c);

  State state_ = State::size;
  int digits_ = 0;
  std::uint64_t left_ = 0;                                                // of the chunk
  enum class Quote { none, open, escaped, closed } quote_ = Quote::none;  // in an extension
  char last_ = 0;                                                         // of an extension
  std::size_t overhead_bytes_ = 0;  // extensions and trailers so far
  std::string line_;                // of the trailers
};

class BodyReader {
 public:
  BodyReader() = default;
  explicit BodyReader(const BodyFraming& framing) : framing_(framing) {}

  Decoded decode(std::string_view& input, std::string_view& piece);
  // Of the chunk now begun; 0 for other bodies.
  std::uint64_t promised_bytes() const { return chunks_.promised_bytes(); }
  // The connection has ended: true if that is how this body ends.
  bool ends_with_connection() const { return framing_.kind == BodyFraming::Kind::until_close; }

 private:
  BodyFraming framing_;
  ChunkedBody chunks_;
};

}  // namespace dualmesh::net
