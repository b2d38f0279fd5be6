// What a header field is to a parser of heads, and which fields Connection may take away.
//
// Threads: pure functions. Source: RFC 9110 7.6.1; RFC 9112 6, 9.6.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "net/name_fingerprint.h"

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
struct KnownField {
  constexpr KnownField(std::string_view field, FieldKind what)
      : name(field), fingerprint(name_fingerprint(field)), kind(what) {}
  std::string_view name;
  std::uint32_t fingerprint;
  FieldKind kind;
};
inline constexpr std::array<KnownField, 14> known_fields{{
    {"content-length", FieldKind::content_length},
    {"transfer-encoding", FieldKind::transfer_encoding},
    {"connection", FieldKind::connection},
    {"host", FieldKind::host},
    {"expect", FieldKind::expect},
    {"te", FieldKind::dropped},
    {"trailer", FieldKind::dropped},
    {"upgrade", FieldKind::dropped},
    {"keep-alive", FieldKind::dropped},
    {"proxy-connection", FieldKind::dropped},
    {"proxy-authenticate", FieldKind::dropped},
    {"proxy-authorization", FieldKind::dropped},
    {"content_length", FieldKind::disguised},
    {"transfer_encoding", FieldKind::disguised},
}};
inline constexpr std::uint64_t known_field_bits = [] {
  std::uint64_t bits = 0;
  for (const KnownField& field : known_fields) bits |= fingerprint_bit(field.fingerprint);
  return bits;
}();

FieldKind known_field_kind(std::string_view name, std::uint32_t fingerprint);
inline FieldKind field_kind(std::string_view name, std::uint32_t fingerprint) {  // its own
  const bool may_be_known = (known_field_bits & fingerprint_bit(fingerprint)) != 0;
  return may_be_known ? known_field_kind(name, fingerprint) : FieldKind::other;
}

// May a field vanish because Connection names it? What says how a message is to be read may not.
bool may_end_here(std::string_view name);

}  // namespace dualmesh::net
