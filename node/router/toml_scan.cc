#include "node/router/toml_scan.h"

namespace dualmesh::node {
namespace {

// What stands around the next character: nothing, a comment, or a string by its delimiter.
struct Place {
  bool comment = false;
  char quote = 0;
  bool many_lines = false;

  bool plain() const { return !comment && quote == 0; }
};

// Enters or leaves a string at a quote; the number of characters the delimiter takes.
std::size_t step_over_quote(Place& place, std::string_view rest) {
  const char quote = rest.front();
  const bool triple = rest.size() >= 3 && rest[1] == quote && rest[2] == quote;
  if (place.plain()) {
    place.quote = quote;
    place.many_lines = triple;
    return triple ? 3 : 1;
  }
  if (place.comment || quote != place.quote || (place.many_lines && !triple)) return 1;
  const std::size_t length = place.many_lines ? 3 : 1;
  place = {};
  return length;
}

}  // namespace

std::size_t line_of_stray_character(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);  // a byte order mark is allowed
  std::size_t line = 1;
  Place place;
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c == '\n') {
      ++line;
      place.comment = false;
      if (!place.many_lines) place = {};  // such a string does not span lines: an error for later
    } else if (c == '"' || c == '\'') {
      at += step_over_quote(place, text.substr(at));
      continue;
    } else if (c == '\\' && place.quote == '"') {
      at += at + 1 < text.size() && text[at + 1] != '\n' ? 2 : 1;
      continue;
    } else if (place.plain()) {
      if (c == '#') place.comment = true;
      if (static_cast<unsigned char>(c) >= 0x80) return line;
    }
    ++at;
  }
  return 0;
}

}  // namespace dualmesh::node
