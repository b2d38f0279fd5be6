// HTTP messages to bytes. Heads are always written from parsed fields, so nothing a peer hid in its
// head passes through. Fields that were received byte for byte as they would be written
// (Headers::Place::as_written) are copied together: the bytes are the same.
//
// Threads: functions.
// Source: RFC 9112 3, 4, 7.1.
#pragma once

#include <boost/container/small_vector.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "net/http_message.h"

namespace dualmesh::net {

// What is left out of and added to the fields of a head while it is written again. Names and values
// are views: what they show must stay until then.
struct FieldChanges {
  boost::container::small_vector<std::string_view, 4> dropped;
  std::string_view dropped_prefix;  // of names, in small letters; empty: none
  boost::container::small_vector<Headers::Field, 4> set;  // in place of every field of that name
};

// Request line, Host (from `authority` unless given) and fields; Content-Length for `body_bytes`
// where the method or the body asks for one.
void append_request_head(std::string& out, const HttpRequest& request, std::string_view authority,
                         std::size_t body_bytes, const FieldChanges& changes = {});

struct ResponseFraming {
  std::optional<std::uint64_t> length;  // none: see chunked
  bool chunked = false;
  bool close = false;          // adds Connection: close
  bool keep_alive_10 = false;  // an HTTP/1.0 client asked to go on
};
// Status line, fields without hop-by-hop and Content-Length ones, then the framing given.
void append_response_head(std::string& out, int status, const Headers& headers,
                          const ResponseFraming& framing);

// What surrounds a chunk of that many bytes; never for 0, which would end the body.
std::string chunk_head(std::size_t bytes);
inline constexpr std::string_view chunk_tail = "\r\n";
inline constexpr std::string_view last_chunk = "0\r\n\r\n";

}  // namespace dualmesh::net
