#include "tests/net/parser_twins.h"

// In a file of its own, as it takes long to compile.
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

namespace dualmesh::net::testing {

namespace beast_http = boost::beast::http;
using End = TwinReading::End;

namespace {

// One message from the front of `bytes`; how it ended.
template <bool is_request>
End take_message(std::string_view& bytes, TwinMessage& message) {
  beast_http::parser<is_request, beast_http::string_body> parser;
  parser.header_limit(1024 * 1024);
  parser.body_limit(16 * 1024 * 1024);  // it makes room for all of them at once
  bool has_head = false;
  boost::system::error_code error;
  while (!parser.is_done() && !bytes.empty()) {
    parser.eager(has_head);
    const std::size_t read = parser.put(boost::asio::buffer(bytes.data(), bytes.size()), error);
    bytes.remove_prefix(read);
    if (error == beast_http::error::need_more) break;
    if (error) return End::refused;
    if (!has_head && parser.is_header_done()) {
      has_head = true;
      for (const auto& field : parser.get()) {
        message.fields.emplace_back(field.name_string(), field.value());
      }
    }
  }
  if (!is_request && !parser.is_done() && has_head) {
    error = {};
    parser.put_eof(error);
  }
  if (!parser.is_done()) return End::waits;
  if constexpr (is_request) {
    message.method = parser.get().method_string();
    message.target = parser.get().target();
  } else {
    message.method = std::to_string(parser.get().result_int());
  }
  message.body = parser.get().body();
  const bool is_last = is_request ? !parser.keep_alive() : !message.method.starts_with("1");
  return is_last ? End::closed : End::clean;
}

template <bool is_request>
TwinReading read(std::string_view bytes) {
  TwinReading reading;
  while (!bytes.empty() && reading.end == End::clean) {
    TwinMessage message;
    reading.end = take_message<is_request>(bytes, message);
    const bool whole = reading.end == End::clean || reading.end == End::closed;
    if (whole) reading.messages.push_back(std::move(message));
  }
  return reading;
}

}  // namespace

TwinReading read_beast(std::string_view bytes) { return read<true>(bytes); }
TwinReading read_beast_answer(std::string_view bytes) { return read<false>(bytes); }

}  // namespace dualmesh::net::testing
