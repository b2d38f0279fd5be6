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

FieldKind kind_if(std::string_view name, std::string_view known, FieldKind kind) {
  return equals_ignoring_case(name, known) ? kind : FieldKind::other;
}

}  // namespace

FieldKind field_kind(std::string_view name, std::uint32_t fingerprint) {
  switch (fingerprint) {
    case name_fingerprint("content-length"):
      return kind_if(name, "content-length", FieldKind::content_length);
    case name_fingerprint("transfer-encoding"):
      // The middle of a long name is not in its fingerprint.
      return equals_ignoring_case(name, "transfer_encoding")
                 ? FieldKind::disguised
                 : kind_if(name, "transfer-encoding", FieldKind::transfer_encoding);
    case name_fingerprint("connection"):
      return kind_if(name, "connection", FieldKind::connection);
    case name_fingerprint("host"):
      return kind_if(name, "host", FieldKind::host);
    case name_fingerprint("expect"):
      return kind_if(name, "expect", FieldKind::expect);
    case name_fingerprint("te"):
      return kind_if(name, "te", FieldKind::dropped);
    case name_fingerprint("trailer"):
      return kind_if(name, "trailer", FieldKind::dropped);
    case name_fingerprint("upgrade"):
      return kind_if(name, "upgrade", FieldKind::dropped);
    case name_fingerprint("keep-alive"):
      return kind_if(name, "keep-alive", FieldKind::dropped);
    case name_fingerprint("proxy-connection"):
      return kind_if(name, "proxy-connection", FieldKind::dropped);
    case name_fingerprint("proxy-authenticate"):
      return kind_if(name, "proxy-authenticate", FieldKind::dropped);
    case name_fingerprint("proxy-authorization"):
      return kind_if(name, "proxy-authorization", FieldKind::dropped);
    case name_fingerprint("content_length"):
      return kind_if(name, "content_length", FieldKind::disguised);
    default:
      return FieldKind::other;
  }
}

bool may_end_here(std::string_view name) {
  return !is_one_of(name, {"close", "keep-alive", "host", "content-length", "content-type",
                           "content-encoding", "authorization"});
}

}  // namespace dualmesh::net
