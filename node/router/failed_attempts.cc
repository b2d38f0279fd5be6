#include "node/router/failed_attempts.h"

#include "node/router/api_error.h"

namespace dualmesh::node {

void FailedAttempts::answered(int status, const net::Headers& headers) {
  last_ = Last::failed;
  if (status != 503) return;
  busy_ = true;
  const std::string_view wanted = headers.find("Retry-After");
  if (!wanted.empty()) retry_after_ = wanted;
}

void FailedAttempts::failed(net::ClientError error) {
  last_ = error == net::ClientError::timeout ? Last::late : Last::failed;
}

net::HttpResponse FailedAttempts::answer() const {
  if (busy_) {
    net::HttpResponse response = error_response({503, "The instances cannot take this request now.",
                                                 "server_error", "", "upstream_unavailable"});
    response.headers.add("Retry-After", retry_after_);
    return response;
  }
  const bool late = last_ == Last::late;
  return error_response(
      {late ? 504 : 502,
       late ? "The instance did not answer in time." : "No instance answered this request.",
       "server_error", "", late ? "upstream_timeout" : "upstream_failed"});
}

}  // namespace dualmesh::node
