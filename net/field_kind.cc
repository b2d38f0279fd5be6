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

bool is_disguised_framing(std::string_view name) {
  return name.find('_') != std::string_view::npos &&
         is_one_of(name, {"content_length", "transfer_encoding"});
}

}  // namespace

// By the size of its name first, as most are none of these.
FieldKind field_kind(std::string_view name) {
  const auto is = [name](std::string_view known) { return equals_ignoring_case(name, known); };
  switch (name.size()) {
    case 2:
      return is("te") ? FieldKind::dropped : FieldKind::other;
    case 4:
      return is("host") ? FieldKind::host : FieldKind::other;
    case 6:
      return is("expect") ? FieldKind::expect : FieldKind::other;
    case 7:
      return is("trailer") || is("upgrade") ? FieldKind::dropped : FieldKind::other;
    case 10:
      if (is("connection")) return FieldKind::connection;
      return is("keep-alive") ? FieldKind::dropped : FieldKind::other;
    case 14:
      if (is("content-length")) return FieldKind::content_length;
      return is_disguised_framing(name) ? FieldKind::disguised : FieldKind::other;
    case 16:
      return is("proxy-connection") ? FieldKind::dropped : FieldKind::other;
    case 17:
      if (is("transfer-encoding")) return FieldKind::transfer_encoding;
      return is_disguised_framing(name) ? FieldKind::disguised : FieldKind::other;
    case 18:
      return is("proxy-authenticate") ? FieldKind::dropped : FieldKind::other;
    case 19:
      return is("proxy-authorization") ? FieldKind::dropped : FieldKind::other;
    default:
      return FieldKind::other;
  }
}

bool may_end_here(std::string_view name) {
  return !is_one_of(name, {"close", "keep-alive", "host", "content-length", "content-type",
                           "content-encoding", "authorization"});
}

}  // namespace dualmesh::net
