// PromptIntake: the fields and the chain of a request's prompt, made while its body arrives.
//
// Invariant: finish() says what read_prompt() says of the same body, or nothing; then read_prompt()
// is to be asked.
// Threads: values, on the request's thread. Source: ours.
#pragma once

#include <optional>
#include <string_view>

#include "net/prompt_scan.h"
#include "node/identity/namespace_salt.h"
#include "policies/prompt_chain.h"

namespace dualmesh::node {

struct ReadPrompt {
  net::PromptFields fields;  // with the canonical text only where tokens are wanted
  policies::ChainParameters parameters;
  policies::PromptChain chain;
};

// Of fields that PromptReader has read. `salt`: of the namespace of whoever asks.
ReadPrompt cut_prompt(net::PromptFields fields, const policies::ChainParameters& parameters,
                      const NamespaceSalt& salt);

class PromptIntake {
 public:
  PromptIntake(net::Endpoint endpoint, net::Tokens tokens,
               const policies::ChainParameters& parameters)
      : tokens_(tokens), sink_(tokens, parameters), scan_(endpoint, tokens, sink_) {}
  PromptIntake(const PromptIntake&) = delete;
  PromptIntake& operator=(const PromptIntake&) = delete;

  net::Tokens tokens() const { return tokens_; }
  void grown(std::string_view body) { scan_.grown(body); }
  std::optional<ReadPrompt> finish(std::string_view body, const NamespaceSalt& salt);

 private:
  // Hashes the text, and keeps it only for those who ask engines for its tokens.
  struct Sink final : net::PromptSink {
    Sink(net::Tokens tokens, const policies::ChainParameters& parameters)
        : keeps(tokens == net::Tokens::wanted), builder(parameters) {}
    void text(std::string_view piece) override {
      builder.update(piece);
      if (keeps) kept += piece;
    }
    void restart() override {
      builder.restart();
      kept.clear();
    }
    const bool keeps;
    policies::PromptChainBuilder builder;
    std::string kept;
  };

  const net::Tokens tokens_;
  Sink sink_;
  net::PromptScan scan_;
};

}  // namespace dualmesh::node
