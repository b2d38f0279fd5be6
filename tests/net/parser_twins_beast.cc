#include "tests/net/parser_twins.h"

// In a file of its own, as it takes long to compile.
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

namespace dualmesh::net::testing {

namespace beast_http = boost::beast::http;
using End = TwinReading::End;

TwinReading read_beast(std::string_view bytes) {
  TwinReading reading;
  while (!bytes.empty()) {
    beast_http::request_parser<beast_http::string_body> parser;
    parser.header_limit(1024 * 1024);
    parser.body_limit(16 * 1024 * 1024);  // it makes room for all of them at once
    TwinMessage message;
    bool has_head = false;
    while (!parser.is_done() && !bytes.empty()) {
      parser.eager(has_head);
      boost::system::error_code error;
      const std::size_t read = parser.put(boost::asio::buffer(bytes.data(), bytes.size()), error);
      bytes.remove_prefix(read);
      if (error == beast_http::error::need_more) break;
      if (error) reading.end = End::refused;
      if (error) return reading;
      if (!has_head && parser.is_header_done()) {
        has_head = true;
        for (const auto& field : parser.get()) {
          message.fields.emplace_back(field.name_string(), field.value());
        }
      }
    }
    if (!parser.is_done()) reading.end = End::waits;
    if (!parser.is_done()) break;
    message.method = parser.get().method_string();
    message.target = parser.get().target();
    message.body = parser.get().body();
    reading.messages.push_back(std::move(message));
    if (!parser.keep_alive()) reading.end = End::closed;
    if (!parser.keep_alive()) break;
  }
  return reading;
}

}  // namespace dualmesh::net::testing
