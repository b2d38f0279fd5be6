// What a header field is to a parser of heads, and which fields Connection may take away.
//
// Threads: pure functions. Source: RFC 9110 7.6.1; RFC 9112 6, 9.6.
#pragma once

#include <cstdint>
#include <string_view>

namespace dualmesh::net {

enum class FieldKind {
  other,
  content_length,
  transfer_encoding,
  connection,
  host,
  expect,
  dropped,    // ends at this hop, or is one that we write ourselves
  disguised,  // many servers hand fields on as variables, in which `-` and `_` are one
};
FieldKind field_kind(std::string_view name, std::uint32_t fingerprint);  // its own

// May a field vanish because Connection names it? What says how a message is to be read may not.
bool may_end_here(std::string_view name);

}  // namespace dualmesh::net
