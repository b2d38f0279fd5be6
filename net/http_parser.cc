#include "net/http_parser.h"

#include <algorithm>
#include <cstring>

#include "net/field_kind.h"
#include "net/head_text.h"
#include "net/target_check.h"

namespace dualmesh::net {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// "HTTP/1.0" or "HTTP/1.1": 0 or 1; another version -1; anything else -2.
int http_version(std::string_view text) {
  if (text.size() != 8 || text.substr(0, 5) != "HTTP/" || !is_digit(text[5]) || text[6] != '.' ||
      !is_digit(text[7])) {
    return -2;
  }
  if (text[5] != '1' || text[7] > '1') return -1;
  return text[7] - '0';
}

}  // namespace

bool split_field(std::string_view line, std::string_view& name, std::string_view& value) {
  const char* const end = line.data() + line.size();
  const char* const colon = token_end(line.data(), end);
  if (colon == line.data() || colon == end || *colon != ':') return false;
  const auto name_size = static_cast<std::size_t>(colon - line.data());
  name = line.substr(0, name_size);
  value = trim(line.substr(name_size + 1));
  return is_field_value(value);
}

bool HeadParser::fail(int status, std::string_view reason) {
  error_status_ = status;
  error_reason_ = reason;
  return false;
}

// The next three are one with the loop over the fields, of which a head has a dozen.
//
// Where the line that goes on at `searched_` ends: after its LF. Null: it has none yet.
[[gnu::always_inline]] inline const char* HeadParser::line_end(StopFinder& stops,
                                                               std::string_view buffered) {
  const char* const end = buffered.data() + buffered.size();
  const char* stop = buffered.data() + searched_;
  for (;; ++stop) {
    stop = stops.next(stop);
    searched_ = static_cast<std::size_t>(stop - buffered.data());
    if (stop == end || (*stop == '\r' && stop + 1 == end)) return nullptr;
    if (stop[0] == '\r' && stop[1] == '\n') return stop + 2;
    if (is_control(*stop)) break;
  }
  dirty_ = true;
  searched_ = buffered.size();
  const void* const found = std::memchr(stop, '\n', static_cast<std::size_t>(end - stop));
  return found ? static_cast<const char*>(found) + 1 : nullptr;
}

[[gnu::always_inline]] inline HeadParser::Line HeadParser::next_line(StopFinder& stops,
                                                                     std::string_view buffered,
                                                                     std::string_view& line) {
  const char* const found = line_end(stops, buffered);
  const std::size_t end =
      found ? static_cast<std::size_t>(found - buffered.data()) : buffered.size();
  if (end > limits_.head_bytes) {
    if (started_) {
      fail(431, "the header fields are larger than this server accepts");
    } else {
      fail(414, "the request line is longer than this server accepts");
    }
    return Line::failed;
  }
  if (!found) return Line::need_more;
  line = buffered.substr(position_, end - position_ - 1);
  position_ = searched_ = end;
  if (line.empty() || line.back() != '\r') {
    fail(400, "a line does not end with CR LF");
    return Line::failed;
  }
  line.remove_suffix(1);
  return Line::complete;
}

bool HeadParser::parse_connection(std::string_view value) {
  while (!value.empty()) {
    const std::size_t comma = value.find(',');
    const std::string_view option = trim(value.substr(0, comma));
    if (equals_ignoring_case(option, "keep-alive")) {
      says_keep_alive_ = true;
    } else if (equals_ignoring_case(option, "close")) {
      says_close_ = true;
    } else if (!option.empty()) {
      if (!is_token(option)) return fail(400, "a malformed Connection field");
      if (may_end_here(option)) named_.emplace_back(option);
    }
    if (named_.size() > kMostNamed) return fail(400, "a Connection field that names too many");
    value.remove_prefix(comma == std::string_view::npos ? value.size() : comma + 1);
  }
  return true;
}

bool HeadParser::parse_content_length(std::string_view value) {
  if (has_length_) return fail(400, "more than one Content-Length");
  if (value.empty() || value.size() > 18) return fail(400, "a malformed Content-Length");
  std::uint64_t length = 0;
  for (char c : value) {
    if (!is_digit(c)) return fail(400, "a malformed Content-Length");
    length = length * 10 + static_cast<std::uint64_t>(c - '0');
  }
  has_length_ = true;
  length_ = length;
  return true;
}

// Of a field that means something to us.
HeadParser::Take HeadParser::take_known(FieldKind kind, std::string_view line,
                                        std::string_view value) {
  const auto failed = [this](int status, std::string_view reason) {
    fail(status, reason);
    return Take::fail;
  };
  const bool frames = kind == FieldKind::content_length || kind == FieldKind::transfer_encoding;
  // Allowed, but some servers do not take it for a space here, and read another framing.
  if (frames && line.find('\t') != std::string_view::npos) {
    return failed(400, "a TAB in a field that says where the body ends");
  }
  switch (kind) {
    case FieldKind::content_length:
      if (!parse_content_length(value)) return Take::fail;
      return drops_length_ ? Take::drop : Take::keep;
    case FieldKind::transfer_encoding:
      ++transfer_encodings_;
      chunked_ = equals_ignoring_case(value, "chunked");
      return Take::drop;
    case FieldKind::connection:
      return parse_connection(value) ? Take::drop : Take::fail;
    case FieldKind::host:
      ++hosts_;
      if (!is_host(value)) return failed(400, "a malformed Host");
      break;
    case FieldKind::expect:
      expects_continue_ = equals_ignoring_case(value, "100-continue");
      unknown_expectation_ = unknown_expectation_ || !expects_continue_;
      return Take::drop;
    case FieldKind::disguised:
      return failed(400, "a field that servers may take for one that says where the body ends");
    case FieldKind::dropped:
      return Take::drop;
    case FieldKind::other:
      break;
  }
  return Take::keep;
}

[[gnu::always_inline]] inline bool HeadParser::take_field(std::string_view buffered,
                                                          std::string_view line) {
  if (line.front() == ' ' || line.front() == '\t') return fail(400, "a folded header line");
  if (++fields_ > limits_.fields) {
    return fail(431, kTooManyFields);
  }
  const char* const begin = line.data();
  const char* const colon = token_end(begin, buffered.data() + buffered.size());
  if (dirty_ || colon == begin || *colon != ':') return fail(400, "a malformed header field");
  const auto name_size = static_cast<std::size_t>(colon - begin);
  const std::string_view name = line.substr(0, name_size);
  const std::string_view value = trim(line.substr(name_size + 1));
  const std::uint32_t fingerprint = name_fingerprint(name);
  if (const FieldKind kind = field_kind(name, fingerprint); kind != FieldKind::other) {
    const Take take = take_known(kind, line, value);
    if (take != Take::keep) return take == Take::drop;
  }
  if (places_.empty()) places_.reserve(16);
  const auto name_at = static_cast<std::uint32_t>(begin - buffered.data());
  const auto value_at = static_cast<std::uint32_t>(value.data() - buffered.data());
  const bool as_written = line.size() == name_size + 2 + value.size() && colon[1] == ' ';
  places_.push_back({name_at, static_cast<std::uint32_t>(name_size), value_at,
                     static_cast<std::uint32_t>(value.size()), fingerprint, as_written});
  return true;
}

Parsed HeadParser::take_fields(StopFinder stops, std::string_view buffered) {
  for (;;) {
    std::string_view line;
    switch (next_line(stops, buffered, line)) {
      case Line::need_more:
        return Parsed::need_more;
      case Line::failed:
        return Parsed::failed;
      case Line::complete:
        break;
    }
    if (line.empty()) return Parsed::complete;
    if (!take_field(buffered, line)) return Parsed::failed;
  }
}

void HeadParser::take_headers(std::string_view buffered, Headers& headers) {
  headers.adopt(buffered.substr(0, position_), std::move(places_));
  for (const std::string& name : named_) headers.remove(name);
}

void HeadParser::set_keep_alive() {
  keep_alive_ = minor_version_ == 1 ? !says_close_ : says_keep_alive_ && !says_close_;
}

Parsed RequestParser::parse(std::string_view buffered, HttpRequest& request) {
  StopFinder stops(buffered.substr(searched_));
  while (!started_) {
    std::string_view line;
    const Line step = next_line(stops, buffered, line);
    if (step != Line::complete) return step == Line::failed ? Parsed::failed : Parsed::need_more;
    if (line.empty() && !skipped_empty_line_) {
      skipped_empty_line_ = true;  // RFC 9112 2.2 asks for patience with one
      continue;
    }
    if (!take_request_line(line, request)) return Parsed::failed;
    started_ = true;
  }
  const Parsed fields = take_fields(stops, buffered);
  if (fields != Parsed::complete) return fields;
  take_headers(buffered, request.headers);
  return finish(request) ? Parsed::complete : Parsed::failed;
}

bool RequestParser::take_request_line(std::string_view line, HttpRequest& request) {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last)
    return fail(400, "a malformed request line");
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  if (!is_token(method)) return fail(400, "a malformed method");
  const int version = http_version(line.substr(last + 1));
  if (version == -2) return fail(400, "a malformed HTTP version");
  if (version == -1) return fail(505, "only HTTP/1.1 and HTTP/1.0 are served, no HTTP/2");
  minor_version_ = version;
  for (unsigned char c : target) {
    if (c <= 0x20 || c >= 0x7f || c == '#') return fail(400, "a malformed request target");
  }
  if (!is_served_method(method)) return fail(501, "a method that is not served");
  request.method = method;
  return take_target(target, request);
}

bool RequestParser::take_target(std::string_view target, HttpRequest& request) {
  if (target.empty()) return fail(400, "an empty request target");
  if (target == "*") {
    if (request.method != "OPTIONS") return fail(400, "a malformed request target");
  } else if (target.front() != '/') {
    std::size_t scheme = 0;
    if (equals_ignoring_case(target.substr(0, 7), "http://")) scheme = 7;
    if (equals_ignoring_case(target.substr(0, 8), "https://")) scheme = 8;
    if (scheme == 0) return fail(400, "a malformed request target");
    const std::size_t slash = target.find_first_of("/?", scheme);
    authority_ = target.substr(scheme, slash == std::string_view::npos ? slash : slash - scheme);
    if (!is_host(authority_)) return fail(400, "a malformed request target");
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
    request.target = target.front() == '?' ? "/" : "";
    request.target += target;
    return check_target(request.target);
  }
  request.target = target;
  return check_target(target);
}

bool RequestParser::check_target(std::string_view target) {
  const std::string_view fault = target_fault(target);
  return fault.empty() || fail(400, fault);
}

bool RequestParser::finish(HttpRequest& request) {
  if (hosts_ > 1) return fail(400, "more than one Host");
  if (hosts_ == 0 && minor_version_ == 1) return fail(400, "no Host");
  if (!authority_.empty() && hosts_ == 1 &&
      !equals_ignoring_case(authority_, request.headers.find("host"))) {
    return fail(400, "the request target and Host name different authorities");
  }
  if (transfer_encodings_ > 0) {
    if (has_length_) return fail(400, "both Content-Length and Transfer-Encoding");
    if (minor_version_ == 0) return fail(400, "Transfer-Encoding in HTTP/1.0");
    if (transfer_encodings_ > 1) return fail(400, "more than one Transfer-Encoding");
    if (!chunked_) return fail(501, "the only Transfer-Encoding served is chunked");
    framing_.kind = BodyFraming::Kind::chunked;
  } else if (has_length_ && length_ > 0) {
    framing_ = {BodyFraming::Kind::length, length_};
  }
  if (unknown_expectation_) return fail(417, "the only Expect served is 100-continue");
  if (minor_version_ == 0) expects_continue_ = false;
  set_keep_alive();
  return true;
}

Parsed ResponseParser::parse(std::string_view buffered, HttpResponse& response) {
  StopFinder stops(buffered.substr(searched_));
  if (!started_) {
    std::string_view line;
    const Line step = next_line(stops, buffered, line);
    if (step != Line::complete) return step == Line::failed ? Parsed::failed : Parsed::need_more;
    if (!take_status_line(line, response)) return Parsed::failed;
    started_ = true;
  }
  const Parsed fields = take_fields(stops, buffered);
  if (fields != Parsed::complete) return fields;
  take_headers(buffered, response.headers);
  return finish(response) ? Parsed::complete : Parsed::failed;
}

bool ResponseParser::take_status_line(std::string_view line, HttpResponse& response) {
  const int version = http_version(line.substr(0, 8));
  if (version < 0) return fail(502, "the answer is not HTTP/1.1");
  minor_version_ = version;
  line.remove_prefix(8);
  // Some servers leave out the reason together with the space before it.
  if (line.size() < 4 || line[0] != ' ' || !is_digit(line[1]) || !is_digit(line[2]) ||
      !is_digit(line[3]) || (line.size() > 4 && line[4] != ' ') || !is_field_value(line)) {
    return fail(502, "a malformed status line");
  }
  response.status = (line[1] - '0') * 100 + (line[2] - '0') * 10 + (line[3] - '0');
  if (response.status < 100 || response.status > 599) return fail(502, "a status out of range");
  if (response.status == 101) return fail(502, "a change of protocol nobody asked for");
  return true;
}

bool ResponseParser::finish(HttpResponse& response) {
  if (transfer_encodings_ > 0) {
    if (has_length_) return fail(502, "both Content-Length and Transfer-Encoding");
    if (minor_version_ == 0) return fail(502, "Transfer-Encoding in HTTP/1.0");
    if (transfer_encodings_ > 1 || !chunked_) return fail(502, "an unknown Transfer-Encoding");
  }
  set_keep_alive();
  const int status = response.status;
  if (answers_head_ || status < 200 || status == 204 || status == 304) {
    framing_.kind = BodyFraming::Kind::none;
  } else if (transfer_encodings_ > 0) {
    framing_.kind = BodyFraming::Kind::chunked;
  } else if (has_length_) {
    framing_ = {length_ == 0 ? BodyFraming::Kind::none : BodyFraming::Kind::length, length_};
  } else {
    framing_.kind = BodyFraming::Kind::until_close;
    keep_alive_ = false;
  }
  return true;
}

}  // namespace dualmesh::net
