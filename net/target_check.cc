#include "net/target_check.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <optional>

#include "net/http_message.h"

namespace dualmesh::net {
namespace {

constexpr std::array<bool, 256> characters(std::string_view which) {
  std::array<bool, 256> table{};
  for (unsigned char c : which) table[c] = true;
  return table;
}
// Without these a target has no escapes, no dot segments and no names cut short.
constexpr auto needs_care = characters(std::string_view("%.;\\\0", 5));
constexpr auto ends_host = characters("/?#@,\\\"<>[]");

// Takes the next character of `text`, unescaped. Nothing: a `%` without two hexadecimal digits.
std::optional<unsigned char> take(std::string_view& text) {
  const char first = text.front();
  if (first != '%') {
    text.remove_prefix(1);
    return static_cast<unsigned char>(first);
  }
  if (text.size() < 3 || hex_digit(text[1]) < 0 || hex_digit(text[2]) < 0) return std::nullopt;
  const int value = 16 * hex_digit(text[1]) + hex_digit(text[2]);
  text.remove_prefix(3);
  return static_cast<unsigned char>(value);
}

bool is_port(std::string_view text) {
  if (text.empty()) return true;
  std::uint16_t port = 0;
  const char* const end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, port);
  return read.ec == std::errc() && read.ptr == end && port > 0;
}

bool is_address_v6(std::string_view text) {
  return text.size() >= 2 && std::ranges::all_of(text, [](char c) {
           return hex_digit(c) >= 0 || c == ':' || c == '.';
         });
}

}  // namespace

bool is_served_method(std::string_view method) {
  constexpr std::array<std::string_view, 7> kServed{"GET", "POST",   "HEAD", "OPTIONS",
                                                    "PUT", "DELETE", "PATCH"};
  return std::ranges::find(kServed, method) != kServed.end();
}

// A segment ends at a slash or backslash, escaped ones too, and its name at a semicolon, as some
// servers read it.
// Two spellings of one path: what we compare, and what a server makes of it.
bool is_unreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || c == '~';
}

std::string_view target_fault(std::string_view target) {
  // Most hold nothing that would have to be looked at closely.
  if (std::ranges::none_of(target,
                           [](char c) { return needs_care[static_cast<unsigned char>(c)]; })) {
    return "";
  }
  std::size_t dots = 0, others = 0;  // of the segment's name
  bool in_path = true, in_name = true;
  const auto is_dot_segment = [&] { return others == 0 && (dots == 1 || dots == 2); };
  while (!target.empty()) {
    in_path = in_path && target.front() != '?';
    const bool escaped = target.front() == '%';
    const auto c = take(target);
    if (!c) return "an escape in the request target without two hexadecimal digits";
    if (escaped && in_path && is_unreserved(*c)) {
      return "an escape in the request target of a character that needs none";
    }
    if (*c == 0) return "a NUL in the request target";
    if (!in_path) continue;
    if (*c == '/' || *c == '\\') {
      if (is_dot_segment()) break;
      dots = others = 0;
      in_name = true;
    } else if (*c == ';') {
      in_name = false;
    } else if (in_name) {
      ++(*c == '.' ? dots : others);
    }
  }
  return is_dot_segment() ? "a dot segment in the request target" : "";
}

bool is_host(std::string_view value) {
  if (value.starts_with('[')) {
    const std::size_t end = value.find(']');
    if (end == std::string_view::npos || !is_address_v6(value.substr(1, end - 1))) return false;
    value.remove_prefix(end + 1);
    return value.empty() || (value.front() == ':' && is_port(value.substr(1)));
  }
  const std::size_t colon = value.find(':');
  if (colon != std::string_view::npos && !is_port(value.substr(colon + 1))) return false;
  const std::string_view name = value.substr(0, colon);
  return !name.empty() && std::ranges::all_of(name, [](unsigned char c) {
    return c > 0x20 && c < 0x7f && !ends_host[c];
  });
}

}  // namespace dualmesh::net
