#include "net/field_kind.h"

#include <algorithm>
#include <array>
#include <initializer_list>

#include "net/http_message.h"

namespace dualmesh::net {
namespace {

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::ranges::any_of(names,
                             [&](std::string_view one) { return equals_ignoring_case(name, one); });
}

struct Known {
  constexpr Known(std::string_view field, FieldKind what)
      : name(field), fingerprint(name_fingerprint(field)), kind(what) {}
  std::string_view name;
  std::uint32_t fingerprint;
  FieldKind kind;
};
constexpr std::array<Known, 14> known{{
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
constexpr std::uint64_t bits_of_known = [] {
  std::uint64_t bits = 0;
  for (const Known& field : known) bits |= fingerprint_bit(field.fingerprint);
  return bits;
}();

}  // namespace

FieldKind field_kind(std::string_view name, std::uint32_t fingerprint) {
  if ((bits_of_known & fingerprint_bit(fingerprint)) == 0) return FieldKind::other;
  for (const Known& field : known) {
    if (field.fingerprint == fingerprint && equals_ignoring_case(name, field.name)) {
      return field.kind;
    }
  }
  return FieldKind::other;
}

bool may_end_here(std::string_view name) {
  return !is_one_of(name, {"close", "keep-alive", "host", "content-length", "content-type",
                           "content-encoding", "authorization"});
}

}  // namespace dualmesh::net
