// HTTP messages as values: what the parser yields and the writer serialises.
//
// Invariant: the values of Headers hold no CR, LF or NUL, whoever put them there.
// Threads: values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "net/byte_buffer.h"
#include "net/name_fingerprint.h"

namespace dualmesh::net {

bool equal_but_for_case(std::string_view a, std::string_view b);  // of one size
inline bool equals_ignoring_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && may_be_one_name(a, b) && equal_but_for_case(a, b);
}

// Fields in their order, names with the case they came in. Names and values lie in one buffer:
// a head of the wire is taken over whole, with the places of its fields.
class Headers {
 public:
  struct Field {
    std::string_view name, value;  // good until the Headers change
    bool operator==(const Field&) const = default;
  };
  struct Place {  // of a field, in the buffer
    std::uint32_t name = 0, name_bytes = 0, value = 0, value_bytes = 0;
    std::uint32_t fingerprint = 0;  // of its name
    bool as_written = false;        // is followed by CRLF, and ": " stands between the two
  };
  class Iterator {
   public:
    Iterator(const Headers& headers, std::size_t index) : headers_(&headers), index_(index) {}
    Field operator*() const { return (*headers_)[index_]; }
    Iterator& operator++() { return ++index_, *this; }
    bool operator==(const Iterator&) const = default;

   private:
    const Headers* headers_;
    std::size_t index_;
  };

  std::size_t size() const { return places_.size(); }
  std::size_t bytes() const { return text_.size(); }  // all of them written need hardly more
  Field operator[](std::size_t index) const {
    const Place& at = places_[index];
    return {name_of(at), value_of(at)};
  }
  Iterator begin() const { return {*this, 0}; }
  Iterator end() const { return {*this, places_.size()}; }

  void add(std::string_view name, std::string_view value) {
    add(name, value, name_fingerprint(name));
  }
  void set(std::string_view name, std::string_view value) {  // replaces every field of that name
    set(name, value, name_fingerprint(name));
  }
  void remove(std::string_view name);
  // First value of that name, compared without case; empty view with null data when absent.
  std::string_view find(std::string_view name) const {
    return find(name, name_fingerprint(name));  // of a name known here, known to the compiler
  }
  std::string_view find(std::string_view name, std::uint32_t fingerprint) const {
    return (seen_ & fingerprint_bit(fingerprint)) == 0 ? std::string_view()
                                                       : look_up(name, fingerprint);
  }
  bool has(std::string_view name) const { return find(name).data() != nullptr; }
  bool operator==(const Headers& other) const;

  // For the writer: fields that stand in the buffer as they are written, side by side, are copied
  // at once.
  const Place& place(std::size_t index) const { return places_[index]; }
  std::string_view lines(const Place& first, const Place& last) const {
    return {text_.data() + first.name, last.value + last.value_bytes + 2 - first.name};
  }

  // For the parser: `places` in `head`, whose values it has checked.
  void adopt(std::string_view head, std::vector<Place> places) {
    text_.cut(0);
    text_.reserve(head.size() + kRoomForOurs);
    text_ += head;
    places_ = std::move(places);
    seen_ = 0;
    for (const Place& at : places_) seen_ |= fingerprint_bit(at.fingerprint);
  }

 private:
  static constexpr std::size_t kRoomForOurs = 256;  // what we add ourselves

  void add(std::string_view name, std::string_view value, std::uint32_t fingerprint);
  void set(std::string_view name, std::string_view value, std::uint32_t fingerprint);
  std::string_view look_up(std::string_view name, std::uint32_t fingerprint) const;
  bool is_named(const Place& at, std::string_view name, std::uint32_t fingerprint) const {
    return at.fingerprint == fingerprint && equals_ignoring_case(name_of(at), name);
  }
  std::string_view name_of(const Place& at) const {
    return {text_.data() + at.name, at.name_bytes};
  }
  std::string_view value_of(const Place& at) const {
    return {text_.data() + at.value, at.value_bytes};
  }

  ByteBuffer text_;
  std::vector<Place> places_;
  std::uint64_t seen_ = 0;  // the bits of all names that are there, perhaps of others
};

struct HttpRequest {
  std::string method;
  std::string target;  // origin form: path and query
  Headers headers;     // hop-by-hop and framing fields already removed
  ByteBuffer body;     // de-chunked
  std::string peer;    // address of the client

  std::string_view path() const { return std::string_view(target).substr(0, target.find('?')); }
};

struct HttpResponse {
  int status = 200;
  Headers headers;
  std::string body;
};

HttpResponse json_response(int status, std::string body);
std::string_view reason_phrase(int status);
int hex_digit(char c);                         // its value; -1 when it is none
bool is_event_stream(const Headers& headers);  // by Content-Type

}  // namespace dualmesh::net
