// HTTP messages as values: what the parser yields and the writer serialises.
//
// Invariant: the values of Headers hold no CR, LF or NUL, whoever put them there.
// Threads: values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dualmesh::net {

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
  Field operator[](std::size_t index) const {
    const Place& at = places_[index];
    return {{text_.data() + at.name, at.name_bytes}, {text_.data() + at.value, at.value_bytes}};
  }
  Iterator begin() const { return {*this, 0}; }
  Iterator end() const { return {*this, places_.size()}; }

  void add(std::string_view name, std::string_view value);
  void set(std::string_view name, std::string_view value);  // replaces every field of that name
  void remove(std::string_view name);
  // First value of that name, compared without case; empty view with null data when absent.
  std::string_view find(std::string_view name) const;
  bool has(std::string_view name) const { return find(name).data() != nullptr; }
  bool operator==(const Headers& other) const;

  // For the parser: `places` in `head`, whose values it has checked.
  void adopt(std::string_view head, std::vector<Place> places) {
    text_.assign(head);
    places_ = std::move(places);
  }

 private:
  std::string text_;
  std::vector<Place> places_;
};

struct HttpRequest {
  std::string method;
  std::string target;  // origin form: path and query
  Headers headers;     // hop-by-hop and framing fields already removed
  std::string body;    // de-chunked
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
bool equals_ignoring_case(std::string_view a, std::string_view b);
int hex_digit(char c);                         // its value; -1 when it is none
bool is_event_stream(const Headers& headers);  // by Content-Type

}  // namespace dualmesh::net
