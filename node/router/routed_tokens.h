// RoutedTokens: the tokens of one request, from its body, from the cache, or from an instance that
// is asked while the request waits; and its hits by them.
//
// Asked is only where some instance of the model publishes events, and at most once: after the
// time-out, or where nobody can be asked, the request is placed by as much as is known.
//
// Threads: everything on the I/O thread of the request. Source: ours.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "net/http_client.h"
#include "net/prompt_reader.h"
#include "node/metrics/metrics_text.h"
#include "node/router/cache_knowledge.h"
#include "node/router/flow_stats.h"
#include "node/tokens/tokenizer_client.h"
#include "policies/fleet_view.h"
#include "policies/scheduler.h"

namespace dualmesh::node {

struct TokenSettings {
  bool ask = true;
  std::chrono::milliseconds timeout{50};
  std::size_t cache_bytes = 64u << 20;
};

// What all requests of a node share to know tokens.
struct TokenSources {
  explicit TokenSources(const TokenSettings& token_settings)
      : settings(token_settings), cache(token_settings.cache_bytes) {}
  const TokenSettings settings;
  TokenCache cache;
  TokenizeGates gates;
  // Requests for models of which some instance publishes events, by where their tokens came from.
  Counter given{0}, cached{0}, asked{0}, beginning{0}, unknown{0};

  void append_to(MetricsText& out) const;
};

class RoutedTokens {
 public:
  RoutedTokens() = default;
  // Finds what is known at once. `arrival` has model, chain and estimated tokens.
  RoutedTokens(TokenSources& sources, const CacheKnowledge& knowledge,
               const policies::FleetView& fleet, const policies::ChainParameters& chain,
               net::PromptFields& fields, const policies::Arrival& arrival);

  // Whether an instance should be asked before it is placed.
  bool should_ask() const;
  // Asks one that may be asked; false: there is none. `done` comes later, once, unless stopped.
  bool ask(TokenizerClient& client, const policies::FleetView& fleet, const std::string& model,
           std::string_view body, const std::string& authorization, policies::Time now,
           std::function<void()> done);
  void stop() { question_.reset(); }
  bool was_refused() const { return refused_; }
  // An engine has taken the request: if it was refused tokens, the request was not at fault.
  void was_taken(policies::Time now);

  // The hits of the arrival, by all that is known by now.
  void look_up(const CacheKnowledge& knowledge, policies::Arrival& arrival,
               RankChoices& ranks) const;

 private:
  static constexpr std::size_t kMaxTried = 4;  // gates, before it goes without
  void answered(TokenList tokens, TokenizeEnd end, const std::function<void()>& done);
  std::uint32_t prompt_tokens() const;

  TokenSources* sources_ = nullptr;  // null: no instance publishes events
  net::TokenForm form_ = net::TokenForm::none;
  TokenCacheKey key_;
  std::string cache_salt_;
  std::uint32_t block_bytes_ = 0;
  std::uint32_t estimate_ = 0;  // tokens of the prompt by its bytes
  TokenCache::Found known_;
  TokenizerClient::Handle question_;
  std::string asked_;     // the instance; empty: none
  bool refused_ = false;  // by it, rightly or not
};

}  // namespace dualmesh::node
