#include "net/http_message.h"

#include <algorithm>
#include <cstring>

#include "net/head_text.h"

namespace dualmesh::net {
namespace {

// Of eight bytes each: they differ in the case of letters at most.
bool equal_words(std::uint64_t a, std::uint64_t b) {
  constexpr std::uint64_t ones = 0x0101010101010101, high = 0x8080808080808080;
  const std::uint64_t differ = a ^ b;
  if (differ == 0) return true;
  if ((differ & ~(ones * 0x20)) != 0) return false;
  const std::uint64_t small = a | differ, seven = small & ~high;
  const std::uint64_t from_a = seven + ones * (0x80 - 'a'), past_z = seven + ones * (0x7f - 'z');
  const std::uint64_t letters = (from_a ^ past_z) & ~small & high;
  return (differ << 2 & ~letters) == 0;
}

}  // namespace

bool equal_but_for_case(std::string_view a, std::string_view b) {
  const char *of_a = a.data(), *of_b = b.data();
  std::size_t bytes = a.size();
  for (; bytes > 8; of_a += 8, of_b += 8, bytes -= 8) {
    if (!equal_words(load<std::uint64_t>(of_a), load<std::uint64_t>(of_b))) return false;
  }
  return equal_words(load_short(of_a, bytes), load_short(of_b, bytes));
}

// Name and value may be views of ours: what they show stays until they have been copied.
void Headers::add(std::string_view name, std::string_view value, std::uint32_t fingerprint) {
  if (places_.empty()) places_.reserve(8);
  const std::size_t begin = text_.size();
  const std::size_t value_at = begin + name.size() + 2;
  const std::size_t size = value_at + value.size() + 2;
  ByteBuffer before;
  if (size > text_.capacity()) {
    before.reserve(std::max<std::size_t>(kRoomForOurs, 2 * size));
    before += text_;
    std::swap(before, text_);
  }
  char* at = text_.grow(size - begin);
  name.copy(at, name.size());
  at += name.size();
  std::memcpy(at, ": ", 2);
  at += 2;
  value.copy(at, value.size());
  char* const end = at + value.size();
  std::memcpy(end, "\r\n", 2);
  blank_line_ends(at, end);
  seen_ |= fingerprint_bit(fingerprint);
  places_.push_back({static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(name.size()),
                     static_cast<std::uint32_t>(value_at), static_cast<std::uint32_t>(value.size()),
                     fingerprint, true});
}

// The value may be a view of what is replaced: nothing is taken out of the buffer.
void Headers::set(std::string_view name, std::string_view value, std::uint32_t fingerprint) {
  const std::size_t replaced = places_.size();
  const bool is_there = find(name, fingerprint).data() != nullptr;
  add(name, value, fingerprint);
  if (!is_there) return;
  const std::string_view added = (*this)[replaced].name;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < places_.size(); ++i) {
    if (i >= replaced || !is_named(places_[i], added, fingerprint)) places_[kept++] = places_[i];
  }
  places_.resize(kept);
}

void Headers::remove(std::string_view name) {
  const std::uint32_t fingerprint = name_fingerprint(name);
  std::erase_if(places_, [&](const Place& at) { return is_named(at, name, fingerprint); });
}

std::string_view Headers::look_up(std::string_view name, std::uint32_t fingerprint) const {
  for (const Place& at : places_) {
    if (is_named(at, name, fingerprint)) return value_of(at);
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
