#include "tests/net/parser_twins.h"

#include <http_parser.h>

#include <algorithm>

#include "net/chunked_body.h"
#include "net/http_writer.h"

namespace dualmesh::net::testing {
namespace {

using End = TwinReading::End;
using Fields = std::vector<std::pair<std::string, std::string>>;

std::string trimmed(std::string_view text) {
  const std::size_t from = text.find_first_not_of(" \t"), to = text.find_last_not_of(" \t");
  return from == std::string_view::npos ? "" : std::string(text.substr(from, to - from + 1));
}

// ---- http-parser

struct CallbackState {
  TwinReading reading;
  TwinMessage message;
  bool in_value = false, in_body = false, in_message = false;

  static CallbackState& of(http_parser* parser) {
    return *static_cast<CallbackState*>(parser->data);
  }
};

http_parser_settings callbacks() {
  http_parser_settings on{};
  on.on_message_begin = [](http_parser* parser) {
    auto& state = CallbackState::of(parser);
    state.message = {};
    state.in_value = state.in_body = false;
    state.in_message = true;
    return 0;
  };
  on.on_url = [](http_parser* parser, const char* at, std::size_t length) {
    CallbackState::of(parser).message.target.append(at, length);
    return 0;
  };
  on.on_header_field = [](http_parser* parser, const char* at, std::size_t length) {
    auto& state = CallbackState::of(parser);
    if (state.in_body) return 0;  // a trailer
    if (state.message.fields.empty() || state.in_value) state.message.fields.emplace_back();
    state.in_value = false;
    state.message.fields.back().first.append(at, length);
    return 0;
  };
  on.on_header_value = [](http_parser* parser, const char* at, std::size_t length) {
    auto& state = CallbackState::of(parser);
    if (state.in_body) return 0;
    state.in_value = true;
    state.message.fields.back().second.append(at, length);
    return 0;
  };
  on.on_headers_complete = [](http_parser* parser) {
    auto& state = CallbackState::of(parser);
    state.message.method = parser->type == HTTP_REQUEST
                               ? http_method_str(static_cast<http_method>(parser->method))
                               : std::to_string(parser->status_code);
    state.in_body = true;
    // It takes a length of these at its word, and must be told that there is no body.
    const unsigned status = parser->type == HTTP_RESPONSE ? parser->status_code : 0;
    return status / 100 == 1 || status == 204 || status == 304 ? 1 : 0;
  };
  on.on_body = [](http_parser* parser, const char* at, std::size_t length) {
    CallbackState::of(parser).message.body.append(at, length);
    return 0;
  };
  on.on_message_complete = [](http_parser* parser) {
    auto& state = CallbackState::of(parser);
    state.reading.messages.push_back(std::move(state.message));
    state.in_message = false;
    const bool last = parser->type == HTTP_REQUEST ? http_should_keep_alive(parser) == 0
                                                   : parser->status_code >= 200;
    if (last) http_parser_pause(parser, 1);  // as Debian's reads on
    return 0;
  };
  return on;
}

// ---- comparing

// Absolute form to origin form, in the plainest way.
std::string origin_form(const std::string& target) {
  const std::size_t scheme = target.find("://");
  if (target.starts_with("/") || scheme == std::string::npos) return target;
  const std::size_t path = target.find_first_of("/?", scheme + 3);
  if (path == std::string::npos) return "/";
  return (target[path] == '?' ? "/" : "") + target.substr(path);
}

bool is_list_with(const std::string& list, const std::string& name) {
  for (std::size_t from = 0; from <= list.size();) {
    const std::size_t comma = std::min(list.find(',', from), list.size());
    if (equals_ignoring_case(trimmed(list.substr(from, comma - from)), name)) return true;
    from = comma + 1;
  }
  return false;
}

// May a field that they kept be missing from ours?
bool may_be_dropped(const std::string& name, const TwinMessage& theirs) {
  for (const char* hop :
       {"connection", "keep-alive", "te", "trailer", "upgrade", "expect", "transfer-encoding",
        "content-length", "proxy-connection", "proxy-authenticate", "proxy-authorization"}) {
    if (equals_ignoring_case(name, hop)) return true;
  }
  return std::ranges::any_of(theirs.fields, [&](const auto& field) {
    return equals_ignoring_case(field.first, "connection") && is_list_with(field.second, name);
  });
}

// Beast keeps fields of one name together.
Fields by_name(Fields fields) {
  const auto in_lower_case = [](std::string text) {
    std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
    return text;
  };
  std::ranges::stable_sort(fields, {}, [&](const auto& one) { return in_lower_case(one.first); });
  return fields;
}

std::string difference(const TwinMessage& ours, const TwinMessage& theirs) {
  if (ours.method != theirs.method) return "method " + ours.method + " and " + theirs.method;
  if (ours.target != origin_form(theirs.target)) {
    return "target " + ours.target + " and " + theirs.target;
  }
  if (ours.body != theirs.body) return "body " + ours.body + " and " + theirs.body;
  const auto fields = by_name(ours.fields);
  auto field = fields.begin();
  for (const auto& other : by_name(theirs.fields)) {
    if (field != fields.end() && field->first == other.first &&
        field->second == trimmed(other.second)) {
      ++field;
    } else if (!may_be_dropped(other.first, theirs)) {
      return "field " + other.first + ": " + other.second;
    }
  }
  return field == fields.end() ? "" : "field " + field->first + " is ours alone";
}

}  // namespace

// The last line has not ended, and will be refused whatever comes: a CR in it is not its end.
static bool ends_in_a_bad_line(std::string_view bytes) {
  const std::string_view line = bytes.substr(bytes.rfind('\n') + 1);
  const std::size_t cr = line.find('\r');
  return cr != std::string_view::npos && cr + 1 < line.size();
}

TwinReading read_ours(std::string_view bytes) {
  TwinReading reading;
  const End waits = ends_in_a_bad_line(bytes) ? End::refused : End::waits;
  while (!bytes.empty()) {
    HttpRequest request;
    RequestParser parser{HeadLimits{}};
    const Parsed parsed = parser.parse(bytes, request);
    if (parsed == Parsed::need_more) reading.end = waits;
    if (parsed == Parsed::failed) reading.end = End::refused;
    if (parsed != Parsed::complete) break;
    bytes.remove_prefix(parser.head_size());
    TwinMessage message{request.method, request.target, {}, {}};
    for (const auto& field : request.headers) message.fields.emplace_back(field.name, field.value);
    BodyReader body(parser.framing());
    std::string_view piece;
    Decoded step;
    while ((step = body.decode(bytes, piece)) == Decoded::piece) message.body += piece;
    const bool in_data =
        parser.framing().kind == BodyFraming::Kind::length || body.promised_bytes() > 0;
    if (step == Decoded::need_more) reading.end = in_data ? End::waits : waits;
    if (step == Decoded::failed) reading.end = End::refused;
    if (step != Decoded::done) break;
    reading.messages.push_back(std::move(message));
    if (!parser.keep_alive()) reading.end = End::closed;
    if (!parser.keep_alive()) break;
  }
  return reading;
}

static TwinReading read_by_callbacks(std::string_view bytes, http_parser_type type) {
  static const http_parser_settings on = callbacks();
  CallbackState state;
  http_parser parser;
  http_parser_init(&parser, type);
  parser.data = &state;
  const std::size_t read = http_parser_execute(&parser, &on, bytes.data(), bytes.size());
  const bool good = HTTP_PARSER_ERRNO(&parser) == HPE_OK && read == bytes.size();
  const bool waits = good && state.in_message;
  if (type == HTTP_RESPONSE && waits) http_parser_execute(&parser, &on, nullptr, 0);  // the end
  if (parser.upgrade || HTTP_PARSER_ERRNO(&parser) == HPE_PAUSED) {
    state.reading.end = End::closed;
  } else if (!good) {
    state.reading.end = End::refused;
  } else if (state.in_message) {
    state.reading.end = End::waits;
  }
  return state.reading;
}

TwinReading read_http_parser(std::string_view bytes) {
  return read_by_callbacks(bytes, HTTP_REQUEST);
}

TwinReading read_http_parser_answer(std::string_view bytes) {
  return read_by_callbacks(bytes, HTTP_RESPONSE);
}

TwinReading read_our_answer(std::string_view bytes) {
  TwinReading reading;
  const End waits = ends_in_a_bad_line(bytes) ? End::refused : End::waits;
  while (!bytes.empty()) {
    HttpResponse answer;
    ResponseParser parser(HeadLimits{}, false);
    const Parsed parsed = parser.parse(bytes, answer);
    if (parsed != Parsed::complete) {
      reading.end = parsed == Parsed::failed ? End::refused : waits;
      break;
    }
    bytes.remove_prefix(parser.head_size());
    TwinMessage message{std::to_string(answer.status), "", {}, {}};
    for (const auto& field : answer.headers) message.fields.emplace_back(field.name, field.value);
    BodyReader body(parser.framing());
    std::string_view piece;
    Decoded step;
    while ((step = body.decode(bytes, piece)) == Decoded::piece) message.body += piece;
    const bool ends = step == Decoded::done || body.ends_with_connection();
    if (!ends) reading.end = step == Decoded::failed ? End::refused : waits;
    if (!ends) break;
    reading.messages.push_back(std::move(message));
    if (answer.status >= 200) reading.end = End::closed;
    if (answer.status >= 200) break;
  }
  return reading;
}

std::string difference(const TwinReading& ours, const TwinReading& theirs) {
  for (std::size_t i = 0; i < ours.messages.size(); ++i) {
    if (i == theirs.messages.size()) {
      const bool stopped = theirs.end == End::refused || theirs.end == End::closed;
      return stopped ? "" : "a request that is ours alone";
    }
    const std::string found = difference(ours.messages[i], theirs.messages[i]);
    if (!found.empty()) return found;
  }
  // What we refuse, or do not read, they may take; what we wait for, and what is nobody's, they may
  // not.
  const bool goes_on = ours.end == End::clean || ours.end == End::waits;
  if (goes_on && theirs.messages.size() > ours.messages.size()) {
    return "a request that is theirs alone";
  }
  return "";
}

TwinMessage with_host(TwinMessage message) {
  const bool has = std::ranges::any_of(
      message.fields, [](const auto& field) { return equals_ignoring_case(field.first, "host"); });
  if (!has) message.fields.emplace_back("Host", "a");
  return message;
}

std::string written_again(const TwinMessage& message) {
  HttpRequest request;
  request.method = message.method;
  request.target = message.target;
  for (const auto& field : message.fields) request.headers.add(field.first, field.second);
  std::string bytes;
  append_request_head(bytes, request, "a", message.body.size());
  return bytes + message.body;
}

}  // namespace dualmesh::net::testing
