// The router's own answers, in OpenAI's error shape.
//
// Threads: pure functions.
#pragma once

#include <string>

#include "net/http_message.h"
#include "net/prompt_reader.h"

namespace dualmesh::node {

using net::json_response;

inline net::HttpResponse error_response(const net::ApiError& error) {
  return json_response(error.status, net::to_json(error));
}

inline net::HttpResponse unknown_model(const std::string& model) {
  std::string quoted = model;
  if (std::size_t end = 256; quoted.size() > end) {
    while (end > 0 && (static_cast<unsigned char>(quoted[end]) & 0xc0) == 0x80) --end;
    quoted.replace(end, std::string::npos, "...");
  }
  return error_response({404, "The model `" + quoted + "` does not exist or is not served here.",
                         "invalid_request_error", "model", "model_not_found"});
}

// 503 with Retry-After: the client may try again, here or at another node.
inline net::HttpResponse unavailable(const std::string& message, const std::string& code,
                                     std::uint32_t retry_after_s = 1) {
  net::HttpResponse response = error_response({503, message, "server_error", "", code});
  response.headers.add("Retry-After", std::to_string(retry_after_s));
  return response;
}

}  // namespace dualmesh::node
