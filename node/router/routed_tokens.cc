#include "node/router/routed_tokens.h"

#include <algorithm>
#include <utility>

#include "node/tokens/tokenize_messages.h"

namespace dualmesh::node {

namespace {

void count(Counter& counter) { counter.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

RoutedTokens::RoutedTokens(TokenSources& sources, const CacheKnowledge& knowledge,
                           const policies::FleetView& fleet, const policies::ChainParameters& chain,
                           net::PromptFields& fields, const policies::Arrival& arrival) {
  if (!knowledge.wants_tokens(fleet, fields.model)) return;
  sources_ = &sources;
  form_ = fields.token_form;
  cache_salt_ = std::move(fields.cache_salt);
  block_bytes_ = chain.block_bytes;
  estimate_ = arrival.input_tokens;
  if (form_ == net::TokenForm::given) {
    known_.tokens =
        std::make_shared<const std::vector<policies::TokenId>>(std::move(fields.tokens));
    known_.certain = known_.tokens->size();
    known_.whole = true;
    count(sources.given);
  } else if (form_ != net::TokenForm::none) {
    key_ = TokenCacheKey(arrival.chain, fields.canonical, block_bytes_, fields.template_key);
    known_ = sources.cache.find(key_, arrival.chain, fields.canonical, block_bytes_,
                                fields.template_key);
    if (known_.whole) count(sources.cached);
  }
}

bool RoutedTokens::should_ask() const {
  return sources_ != nullptr && sources_->settings.ask && !known_.whole &&
         form_ != net::TokenForm::none;
}

bool RoutedTokens::ask(TokenizerClient& client, const policies::FleetView& fleet,
                       const std::string& model, std::string_view body,
                       const std::string& authorization, policies::Time now,
                       std::function<void()> done) {
  const auto served = fleet.models.find(model);
  if (served == fleet.models.end()) return false;
  const std::vector<policies::Slot>& slots = served->second.active;
  // All have the same tokens to tell: by the prompt's key, so that no instance is asked by
  // everybody.
  for (std::size_t i = 0; i < std::min(slots.size(), kMaxTried); ++i) {
    const policies::Slot slot = slots[(key_.whole + i) % slots.size()];
    const std::string& address = fleet.instances[slot].address;
    if (!sources_->gates.may_ask(address, form_, now)) continue;
    question_ = client.ask({address, form_, tokenize_body(body), authorization},
                           [this, done = std::move(done)](TokenList tokens, TokenizeEnd end) {
                             answered(std::move(tokens), end, done);
                           });
    asked_ = address;
    return true;
  }
  return false;
}

void RoutedTokens::answered(TokenList tokens, TokenizeEnd end, const std::function<void()>& done) {
  refused_ = end == TokenizeEnd::refused || end == TokenizeEnd::malformed;
  if (tokens) {
    sources_->cache.insert(key_, tokens);
    known_ = {tokens, tokens->size(), key_.bytes, true};
    count(sources_->asked);
  }
  done();
}

void RoutedTokens::was_taken(policies::Time now) {
  if (std::exchange(refused_, false)) sources_->gates.at_fault(asked_, form_, now);
}

// A prompt that goes on: what its beginning has, and the rest by its share of the bytes.
std::uint32_t RoutedTokens::prompt_tokens() const {
  if (!known_.tokens) return 0;
  const std::uint64_t tokens = known_.tokens->size();
  if (known_.whole) return static_cast<std::uint32_t>(tokens);
  const std::uint64_t rest = key_.bytes - known_.bytes;
  return static_cast<std::uint32_t>(tokens +
                                    rest * estimate_ / std::max<std::uint64_t>(key_.bytes, 1) + 1);
}

void RoutedTokens::look_up(const CacheKnowledge& knowledge, policies::Arrival& arrival,
                           RankChoices& ranks) const {
  KnownTokens tokens;
  tokens.cache_salt = cache_salt_;
  tokens.block_bytes = block_bytes_;
  tokens.prompt_tokens = prompt_tokens();
  if (known_.tokens) tokens.ids = std::span(*known_.tokens).first(known_.certain);
  if (sources_ != nullptr && !known_.whole) {
    count(known_.tokens ? sources_->beginning : sources_->unknown);
  }
  knowledge.look_up(arrival, tokens, ranks);
}

void TokenSources::append_to(MetricsText& out) const {
  const auto number = [](std::uint64_t value) { return static_cast<double>(value); };
  out.family("dualmesh_kv_prompt_tokens_total", MetricType::counter,
             "Requests for models with events, by where their tokens came from.");
  const std::pair<std::string_view, const Counter*> origins[] = {{"given", &given},
                                                                 {"cache", &cached},
                                                                 {"asked", &asked},
                                                                 {"beginning", &beginning},
                                                                 {"unknown", &unknown}};
  for (const auto& [name, counter] : origins) {
    out.sample({{"from", name}}, number(counter->load(std::memory_order_relaxed)));
  }
  out.family("dualmesh_kv_tokenize_total", MetricType::counter,
             "Questions for tokens put to instances, by how they ended.");
  for (std::size_t end = 0; end < kTokenizeEnds; ++end) {
    const auto how = static_cast<TokenizeEnd>(end);
    out.sample({{"end", to_string(how)}}, number(gates.ended(how)));
  }
  out.gauge("dualmesh_kv_tokenize_asking", "Questions for tokens without an answer yet.",
            number(gates.asking()));
  const TokenCache::Stats stats = cache.stats();
  out.gauge("dualmesh_kv_token_cache_bytes", "Memory of remembered tokens.", number(stats.bytes));
  out.gauge("dualmesh_kv_token_cache_prompts", "Prompts whose tokens are remembered.",
            number(stats.entries));
  out.counter("dualmesh_kv_token_cache_evicted_total", "Prompts forgotten to make room.",
              number(stats.evicted));
}

}  // namespace dualmesh::node
