#include "net/prompt_writer.h"

#include <simdjson.h>

#include "net/json_skip.h"

namespace dualmesh::net {

void PromptWriter::append(std::string_view text) {
  if (text.size() >= kWorthNoCopy) {
    flush();
    return sink_.text(text);
  }
  if (text.size() > kHeldBytes - used_) flush();
  std::memcpy(held_ + used_, text.data(), text.size());
  used_ += text.size();
}

// What is minimal in it is told as it stands, escapes and all.
void PromptWriter::respelled(const JsonString& string) {
  const char* at = string.raw.data();
  const char* const end = at + string.raw.size();
  for (bool high = false, escaped = false; at != end;) {
    const char* const stop = skip_minimal(at, end, high, escaped);
    append({at, static_cast<std::size_t>(stop - at)});
    for (at = stop; at != end && *at == '\\';) {
      const JsonEscape escape = read_escape(at, end);
      char bytes[6], encoded[4];
      const std::size_t size = encode_utf8(escape.code_point, encoded);
      append(must_be_escaped(encoded[0]) ? minimal_escape(encoded[0], bytes)
                                         : std::string_view(encoded, size));
      at += escape.length;
      const char* const next = near_escape(at, end, high);
      append({at, static_cast<std::size_t>(next - at)});
      at = next;
    }
  }
}

void PromptWriter::json_string(const JsonString& string) {
  put('"');
  words(string);
  put('"');
}

// Whole numbers keep their spelling; the rest as simdjson spells what it has read.
bool PromptWriter::number(std::string_view spelled) {
  if (is_minimal_number(spelled)) {
    append(spelled);
    return true;
  }
  if (++fractions_ > kMostFractions) return false;
  simdjson::dom::parser parser;
  simdjson::dom::element value;
  if (parser.parse(spelled.data(), spelled.size()).get(value) != simdjson::SUCCESS) return false;
  append(simdjson::minify(value));
  return true;
}

bool PromptWriter::minified(std::string_view text, std::size_t begin) {
  using Token = JsonScan::Token;
  JsonScan scan(begin);
  bool follows = false;  // something in this object or array
  do {
    const Token token = scan.next(text);
    const bool closes = token == Token::object_end || token == Token::array_end;
    if (follows && !closes) put(',');
    follows = true;
    switch (token) {
      case Token::object:
      case Token::array:
        put(token == Token::object ? '{' : '[');
        follows = false;
        break;
      case Token::object_end:
        put('}');
        break;
      case Token::array_end:
        put(']');
        break;
      case Token::key:
        json_string(scan.string(text));
        put(':');
        follows = false;
        break;
      case Token::string:
        json_string(scan.string(text));
        break;
      case Token::number:
        if (!number(text.substr(scan.token_begin(), scan.position() - scan.token_begin()))) {
          return false;
        }
        break;
      case Token::yes:
        append("true");
        break;
      case Token::no:
        append("false");
        break;
      case Token::null:
        append("null");
        break;
      default:
        return false;
    }
  } while (scan.depth() > 0);
  return true;
}

}  // namespace dualmesh::net
