#include "net/field_kind.h"

#include <algorithm>
#include <initializer_list>

#include "net/http_message.h"

namespace dualmesh::net {
namespace {

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::ranges::any_of(names,
                             [&](std::string_view one) { return equals_ignoring_case(name, one); });
}

}  // namespace

FieldKind known_field_kind(std::string_view name, std::uint32_t fingerprint) {
  for (const KnownField& field : known_fields) {
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
