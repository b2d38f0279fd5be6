// TokenizeGates: whether an instance may be asked for tokens now, by how it has answered before.
//
// A router that waits for /tokenize pays with every request's time to first token, so whoever does
// not answer in time is left alone for a while, longer each time; whoever cannot answer is asked
// again after a minute; and nobody is asked more than some questions at a time. A request to whom
// no gate is open goes on at once without tokens.
//
// SGLang knows prompts alone, and answers 400 to messages as it does to requests at fault. Which of
// the two it was shows when the request itself is answered: only then is the form taken for one
// that the instance does not know, unless it has answered such a question before. So no client's
// bad request closes a gate for others.
//
// Invariant: every may_ask that said yes is followed by exactly one `answered`.
// Threads: all calls thread-safe. Time is an argument. Source: exponential back-off; ours.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <mutex>
#include <string>

#include "net/prompt_reader.h"
#include "policies/time.h"

namespace dualmesh::node {

enum class TokenizeEnd : std::uint8_t {
  tokens,
  refused,     // 400 and the like: not in this form, or not this request
  unable,      // 404, 405 or 501: there is no such thing there
  late,        // not in time, not reached, or 5xx
  malformed,   // an answer without tokens
  called_off,  // nobody waits for it any more; says nothing
};
inline constexpr std::size_t kTokenizeEnds = 6;
const char* to_string(TokenizeEnd end);

class TokenizeGates {
 public:
  struct Settings {
    std::uint32_t max_at_once = 16;  // per instance
    policies::Duration unable_for = std::chrono::seconds(60);
    policies::Duration late_for = std::chrono::milliseconds(250);  // doubled each time
    policies::Duration late_for_most = std::chrono::seconds(10);
    std::size_t max_instances = 4096;
  };
  TokenizeGates() : TokenizeGates(Settings()) {}
  explicit TokenizeGates(Settings settings) : settings_(settings) {}

  bool may_ask(const std::string& address, net::TokenForm form, policies::Time now);
  void answered(const std::string& address, net::TokenForm form, TokenizeEnd end,
                policies::Time now);
  // A question that it refused, or answered with nonsense, was of a request that an engine took.
  void at_fault(const std::string& address, net::TokenForm form, policies::Time now);

  std::uint64_t ended(TokenizeEnd end) const;
  std::uint32_t asking() const;  // questions without an answer yet
  // What it has been found to have no answer to, and not answered since.
  enum class Lack : std::uint8_t { nothing, messages, all };
  Lack lacks(const std::string& address) const;

 private:
  struct OfForm {
    bool has_answered = false;
    bool is_refused = false;  // of requests not at fault
    policies::Time closed_until{};
  };
  struct Gate {
    std::uint32_t asking = 0;
    std::uint32_t late_in_a_row = 0;
    bool is_unable = false;
    policies::Time closed_until{};
    OfForm text, messages;
  };

  const Settings settings_;
  mutable std::mutex mutex_;
  boost::unordered_flat_map<std::string, Gate> gates_;  // guarded, as is the next
  std::uint64_t ended_[kTokenizeEnds] = {};
};

const char* in_words(TokenizeGates::Lack lack);  // nothing: empty

}  // namespace dualmesh::node
