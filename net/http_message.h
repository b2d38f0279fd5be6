// HTTP messages as values: what the parser yields and the writer serialises.
//
// Threads: values.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dualmesh::net {

class Headers {
 public:
  using Field = std::pair<std::string, std::string>;

  void add(std::string_view name, std::string_view value) { fields_.emplace_back(name, value); }
  void set(std::string_view name, std::string_view value);  // replaces every field of that name
  void remove(std::string_view name);
  // First value of that name, compared without case; empty view with null data when absent.
  std::string_view find(std::string_view name) const;
  bool has(std::string_view name) const { return find(name).data() != nullptr; }
  const std::vector<Field>& fields() const { return fields_; }
  template <class Predicate>
  void remove_if(Predicate unwanted) {
    std::erase_if(fields_, unwanted);
  }

 private:
  std::vector<Field> fields_;
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
// Connection-named and standard hop-by-hop fields (RFC 9110, 7.6.1).
void remove_hop_by_hop(Headers& headers);

}  // namespace dualmesh::net
