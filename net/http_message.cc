#include "net/http_message.h"

#include <algorithm>

namespace dualmesh::net {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

}  // namespace

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] != b[i] && lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

// Values of our own making could carry a line end from outside; it must not become a field.
void Headers::add(std::string_view name, std::string_view value) {
  if (places_.empty()) {
    text_.reserve(256);
    places_.reserve(8);
  }
  const std::size_t at = text_.size();
  const auto begin = static_cast<std::uint32_t>(at);
  const auto name_bytes = static_cast<std::uint32_t>(name.size());
  const auto value_bytes = static_cast<std::uint32_t>(value.size());
  text_.append(value).append(name);  // first the one that may be a view of ours
  places_.push_back({begin + value_bytes, name_bytes, begin, value_bytes});
  for (std::size_t i = at; i < at + value.size(); ++i) {
    if (text_[i] == '\r' || text_[i] == '\n' || text_[i] == '\0') text_[i] = ' ';
  }
}

// The value may be a view of what is replaced: nothing is taken out of the buffer.
void Headers::set(std::string_view name, std::string_view value) {
  const std::size_t replaced = places_.size();
  add(name, value);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < places_.size(); ++i) {
    if (i >= replaced || !equals_ignoring_case((*this)[i].name, (*this)[replaced].name)) {
      places_[kept++] = places_[i];
    }
  }
  places_.resize(kept);
}

void Headers::remove(std::string_view name) {
  std::erase_if(places_, [&](const Place& at) {
    return equals_ignoring_case({text_.data() + at.name, at.name_bytes}, name);
  });
}

std::string_view Headers::find(std::string_view name) const {
  for (const Field field : *this) {
    if (equals_ignoring_case(field.name, name)) return field.value;
  }
  return {};
}

bool Headers::operator==(const Headers& other) const {
  if (size() != other.size()) return false;
  for (std::size_t i = 0; i < size(); ++i) {
    if ((*this)[i] != other[i]) return false;
  }
  return true;
}

HttpResponse json_response(int status, std::string body) {
  HttpResponse response;
  response.status = status;
  response.headers.add("Content-Type", "application/json");
  response.body = std::move(body);
  return response;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool is_event_stream(const Headers& headers) {
  constexpr std::string_view type = "text/event-stream";
  return equals_ignoring_case(headers.find("content-type").substr(0, type.size()), type);
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 100:
      return "Continue";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 206:
      return "Partial Content";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 304:
      return "Not Modified";
    case 307:
      return "Temporary Redirect";
    case 308:
      return "Permanent Redirect";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Status";
  }
}

}  // namespace dualmesh::net
