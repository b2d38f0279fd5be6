// ServerConnection: what it says no to, and how.
#include <spdlog/fmt/fmt.h>

#include "net/http_exchange.h"
#include "net/http_writer.h"
#include "net/prompt_reader.h"
#include "net/server_connection.h"

namespace dualmesh::net {
namespace {

// The settings by which people change these limits.
constexpr const char* head_bytes_setting = "http.max_head_bytes";
constexpr const char* fields_setting = "http.max_header_fields";
constexpr const char* body_bytes_setting = "http.max_body_bytes";

// Of a head that is no request: where a limit did it, which one and how to change it.
std::string refused_head(int status, std::string_view reason, const ServerLimits& limits) {
  if (status != 414 && status != 431) return std::string(reason);
  const bool fields = reason == kTooManyFields;
  return fmt::format("{}: more than {}{} ({})", reason,
                     fields ? limits.header_fields : limits.head_bytes, fields ? "" : " bytes",
                     fields ? fields_setting : head_bytes_setting);
}

}  // namespace

void ServerConnection::refuse(int status, std::string_view reason) {
  ++(status == 413   ? shared_->refused_too_large
     : status == 408 ? shared_->refused_slow
                     : shared_->refused_malformed);
  ApiError error;
  error.status = status;
  error.message = reason;
  send_refusal(error);
}

void ServerConnection::refuse_head() {
  refuse(parser_.error_status(),
         refused_head(parser_.error_status(), parser_.error_reason(), shared_->limits));
}

void ServerConnection::refuse_large() {
  refuse(413, fmt::format("the body is larger than this server accepts: more than {} bytes ({})",
                          shared_->limits.body_bytes, body_bytes_setting));
}

void ServerConnection::refuse_overload() {
  ++shared_->refused_overload;
  send_refusal({.status = 503,
                .message = "this node holds as many requests as it may",
                .type = "server_error",
                .code = "overloaded"});
}

void ServerConnection::send_refusal(const ApiError& error) {
  HttpResponse answer = json_response(error.status, to_json(error));
  if (error.status == 503) answer.headers.add("Retry-After", "1");
  send_refusal(std::move(answer), false);
}

void ServerConnection::send_refusal(HttpResponse answer, bool keep_alive) {
  set_half_open(false);
  if (listener_) listener_->refused(answer);
  std::string out;
  append_response_head(out, answer.status, answer.headers,
                       {.length = answer.body.size(),
                        .close = !keep_alive,
                        .keep_alive_10 = keep_alive && minor_version() == 0});
  if (request_.method != "HEAD") out += answer.body;
  held_.release();
  listener_.reset();
  if (reading_) abandoned_body_ = std::move(request_.body);  // perhaps it is read into
  request_ = {};
  phase_ = Phase::answering;
  append(out);
  finish_answer(keep_alive);
}

}  // namespace dualmesh::net
