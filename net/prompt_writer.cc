#include "net/prompt_writer.h"

#include <simdjson.h>

#include <bit>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace dualmesh::net {
namespace {

constexpr std::string_view hex_digits = "0123456789abcdef";

// As simdjson writes them: the short form where JSON has one, and only what must be escaped.
std::string_view escaped_in_json(char c, char (&into)[6]) {
  switch (c) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\b':
      return "\\b";
    case '\f':
      return "\\f";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      break;
  }
  into[0] = c;
  if (static_cast<unsigned char>(c) >= 0x20) return {into, 1};
  std::memcpy(into, "\\u00", 4);
  into[4] = hex_digits[static_cast<std::size_t>(c >> 4)];
  into[5] = hex_digits[static_cast<std::size_t>(c & 15)];
  return {into, 6};
}

// Calls plain(run) for what stands for itself, and code_point(c) for each escape.
template <class Plain, class CodePoint>
void each_part(const JsonString& string, Plain plain, CodePoint code_point) {
  if (!string.escaped) return plain(string.raw);
  const char* at = string.raw.data();
  const char* const end = at + string.raw.size();
  for (bool high = false;;) {
    const char* const stop = find_in_string(at, end, high);
    if (stop != at) plain(std::string_view(at, static_cast<std::size_t>(stop - at)));
    if (stop == end) return;
    const JsonEscape escape = read_escape(stop, end);
    code_point(escape.code_point);
    at = stop + escape.length;
  }
}

}  // namespace

void PromptWriter::append(std::string_view text) {
  if (text.size() > kHeldBytes - used_) {
    if (text.size() >= kWorthNoCopy) {
      flush();
      return sink_.text(text);
    }
    const std::size_t fits = kHeldBytes - used_;
    std::memcpy(held_ + used_, text.data(), fits);
    used_ = kHeldBytes;
    flush();
    text.remove_prefix(fits);
  }
  std::memcpy(held_ + used_, text.data(), text.size());
  used_ += text.size();
}

// Copies while it looks for escapes, a vector at a time; returns where the last bytes begin, which
// are too few for one.
const char* PromptWriter::copy_unescaped(const char* at, const char* end) {
#ifdef __SSE2__
  constexpr std::ptrdiff_t step = 32;
  const __m128i backslash = _mm_set1_epi8('\\');
  char* to = held_ + used_;
  const char* const full = held_ + kHeldBytes - step - 8;
  while (end - at >= step) {
    if (to > full) {
      used_ = static_cast<std::size_t>(to - held_);
      flush();
      to = held_;
    }
    const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at + 16));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), a);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 16), b);
    const auto low = static_cast<unsigned>(_mm_movemask_epi8(_mm_cmpeq_epi8(a, backslash)));
    const auto up = static_cast<unsigned>(_mm_movemask_epi8(_mm_cmpeq_epi8(b, backslash)));
    const unsigned found = low | up << 16;
    const int plain = found == 0 ? step : std::countr_zero(found);
    at += plain;
    to += plain;
    if (found == 0) continue;
    if (const char stands_for = short_escape(at[1])) {  // none of these is a mark
      *to++ = stands_for;
      at += 2;
      continue;
    }
    used_ = static_cast<std::size_t>(to - held_);
    at += put_escape(at, end);
    to = held_ + used_;
  }
  used_ = static_cast<std::size_t>(to - held_);
#endif
  return at;
}

// With room for four bytes. Returns the escape's length.
std::size_t PromptWriter::put_escape(const char* at, const char* end) {
  const JsonEscape escape = read_escape(at, end);
  char bytes[4];
  const std::size_t size = encode_utf8(escape.code_point, bytes);
  if (PromptMark::is(bytes[0])) {
    held_[used_++] = PromptMark::escape;
    held_[used_++] = PromptMark::escaped(bytes[0]);
  } else {
    std::memcpy(held_ + used_, bytes, 4);
    used_ += size;
  }
  return escape.length;
}

void PromptWriter::words(const JsonString& string, SystemPrefix* system) {
  if (system != nullptr && system->is_full()) system = nullptr;
  if (system == nullptr && string.escaped) {
    const char* const end = string.raw.data() + string.raw.size();
    const char* const rest = copy_unescaped(string.raw.data(), end);
    return words_in_parts({{rest, static_cast<std::size_t>(end - rest)}, true}, nullptr);
  }
  words_in_parts(string, system);
}

void PromptWriter::words_in_parts(const JsonString& string, SystemPrefix* system) {
  each_part(
      string,
      [&](std::string_view run) {
        append(run);
        if (system != nullptr) system->add(run);
      },
      [&](char32_t code_point) {
        char bytes[4];
        const std::string_view encoded(bytes, encode_utf8(code_point, bytes));
        if (system != nullptr) system->add(encoded);
        if (!PromptMark::is(bytes[0])) return append(encoded);
        put(PromptMark::escape);
        put(PromptMark::escaped(bytes[0]));
      });
}

void PromptWriter::json_string(const JsonString& string) {
  put('"');
  each_part(
      string, [&](std::string_view run) { append(run); },
      [&](char32_t code_point) {
        char bytes[6];
        if (code_point < 0x80) return append(escaped_in_json(static_cast<char>(code_point), bytes));
        char encoded[4];
        append({encoded, encode_utf8(code_point, encoded)});
      });
  put('"');
}

// Whole numbers keep their spelling; the rest as simdjson spells what it has read.
bool PromptWriter::number(std::string_view spelled) {
  if (spelled != "-0" && spelled.find_first_of(".eE") == std::string_view::npos) {
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
