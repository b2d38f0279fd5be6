// FailedAttempts: how a request's attempts at instances ended, and what the client is told when no
// other is made.
//
// An instance that says itself that it cannot now (503) is passed on as that, with its Retry-After;
// one that was late is 504; connections that failed and answers that were none are 502. Only where
// nobody could be asked is there no instance.
//
// Threads: a value.
#pragma once

#include <cstdint>
#include <string>

#include "net/http_client.h"
#include "net/http_message.h"

namespace dualmesh::node {

class FailedAttempts {
 public:
  void answered(int status, const net::Headers& headers);  // 502 or 503, not passed on
  void failed(net::ClientError error);

  bool any() const { return last_ != Last::none; }
  net::HttpResponse answer() const;

 private:
  enum class Last : std::uint8_t { none, failed, late };

  Last last_ = Last::none;
  bool busy_ = false;  // one of them said 503
  std::string retry_after_ = "1";
};

}  // namespace dualmesh::node
