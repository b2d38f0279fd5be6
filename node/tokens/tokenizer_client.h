// TokenizerClient: asks an instance for the tokens of one prompt, and waits no longer than it may.
//
// Invariant: `done` runs once, with null when there are no tokens, unless the question is let go of
// before; then the connection is closed and `done` never runs.
// Threads: everything on the I/O thread of the HttpClient; the gates are shared by all.
// Source: ours.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "net/http_client.h"
#include "node/tokens/token_cache.h"
#include "node/tokens/tokenize_gates.h"

namespace dualmesh::node {

struct TokenQuestion {
  std::string address;  // one that TokenizeGates::may_ask has let through
  net::TokenForm form = net::TokenForm::messages;
  std::string body;           // tokenize_body
  std::string authorization;  // header; empty: none
};

class TokenizerClient {
 public:
  TokenizerClient(net::IoThread& thread, net::HttpClient& client, TokenizeGates& gates,
                  std::chrono::milliseconds timeout, std::function<policies::Time()> clock)
      : thread_(thread),
        client_(client),
        gates_(gates),
        timeout_(timeout),
        clock_(std::move(clock)) {}

  using Done = std::function<void(TokenList, TokenizeEnd)>;
  using Handle = std::shared_ptr<void>;  // letting go of it calls the question off
  [[nodiscard]] Handle ask(TokenQuestion question, Done done);

 private:
  net::IoThread& thread_;
  net::HttpClient& client_;
  TokenizeGates& gates_;
  const std::chrono::milliseconds timeout_;
  const std::function<policies::Time()> clock_;
};

}  // namespace dualmesh::node
