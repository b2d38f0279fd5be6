#include "node/tokens/tokenize_gates.h"

#include <algorithm>

#include "net/error.h"

namespace dualmesh::node {

const char* to_string(TokenizeEnd end) {
  switch (end) {
    case TokenizeEnd::tokens:
      return "tokens";
    case TokenizeEnd::refused:
      return "refused";
    case TokenizeEnd::unable:
      return "unable";
    case TokenizeEnd::late:
      return "late";
    case TokenizeEnd::malformed:
      return "malformed";
    case TokenizeEnd::called_off:
      return "called_off";
  }
  return "?";
}

const char* in_words(TokenizeGates::Lack lack) {
  switch (lack) {
    case TokenizeGates::Lack::nothing:
      break;
    case TokenizeGates::Lack::messages:
      return "its /tokenize takes no messages, as SGLang's does not: hits of chat prompts are "
             "predicted";
    case TokenizeGates::Lack::all:
      return "it has no /tokenize: hits of prompts that are not given as tokens are predicted";
  }
  return "";
}

bool TokenizeGates::may_ask(const std::string& address, net::TokenForm form, policies::Time now) {
  const std::lock_guard lock(mutex_);
  // Instances come and go; what is forgotten here is found out anew.
  if (gates_.size() >= settings_.max_instances && !gates_.contains(address)) {
    boost::unordered::erase_if(gates_, [](const auto& gate) { return gate.second.asking == 0; });
    if (gates_.size() >= settings_.max_instances) return false;
  }
  Gate& gate = gates_[address];
  const OfForm& of_form = form == net::TokenForm::text ? gate.text : gate.messages;
  if (now < gate.closed_until || now < of_form.closed_until) return false;
  // After it was late one question at a time finds out whether it still is.
  const std::uint32_t most = gate.late_in_a_row > 0 ? 1 : settings_.max_at_once;
  if (gate.asking >= most) return false;
  ++gate.asking;
  return true;
}

void TokenizeGates::answered(const std::string& address, net::TokenForm form, TokenizeEnd end,
                             policies::Time now) {
  const std::lock_guard lock(mutex_);
  ++ended_[static_cast<std::size_t>(end)];
  const auto found = gates_.find(address);
  DUALMESH_CHECK(found != gates_.end() && found->second.asking > 0, "{} was not asked", address);
  Gate& gate = found->second;
  --gate.asking;
  OfForm& of_form = form == net::TokenForm::text ? gate.text : gate.messages;
  switch (end) {
    case TokenizeEnd::tokens:
      gate.late_in_a_row = 0;
      gate.closed_until = {};
      of_form.has_answered = true;
      of_form.is_refused = gate.is_unable = false;
      break;
    case TokenizeEnd::refused:
    case TokenizeEnd::malformed:
      gate.late_in_a_row = 0;
      break;
    case TokenizeEnd::unable:
      gate.is_unable = true;
      gate.closed_until = now + settings_.unable_for;
      break;
    case TokenizeEnd::late: {
      // Of several under way at once the first says it all.
      if (now < gate.closed_until) break;
      const std::uint32_t times = std::min(gate.late_in_a_row++, 16U);
      gate.closed_until =
          now + std::min(settings_.late_for * (1 << times), settings_.late_for_most);
      break;
    }
    case TokenizeEnd::called_off:
      break;
  }
}

void TokenizeGates::at_fault(const std::string& address, net::TokenForm form, policies::Time now) {
  const std::lock_guard lock(mutex_);
  const auto found = gates_.find(address);
  if (found == gates_.end()) return;  // forgotten meanwhile
  OfForm& of_form = form == net::TokenForm::text ? found->second.text : found->second.messages;
  if (of_form.has_answered) return;
  of_form.is_refused = true;
  of_form.closed_until = now + settings_.unable_for;
}

TokenizeGates::Lack TokenizeGates::lacks(const std::string& address) const {
  const std::lock_guard lock(mutex_);
  const auto found = gates_.find(address);
  if (found == gates_.end()) return Lack::nothing;
  if (found->second.is_unable) return Lack::all;
  return found->second.messages.is_refused ? Lack::messages : Lack::nothing;
}

std::uint32_t TokenizeGates::asking() const {
  const std::lock_guard lock(mutex_);
  std::uint32_t sum = 0;
  for (const auto& [address, gate] : gates_) sum += gate.asking;
  return sum;
}

std::uint64_t TokenizeGates::ended(TokenizeEnd end) const {
  const std::lock_guard lock(mutex_);
  return ended_[static_cast<std::size_t>(end)];
}

}  // namespace dualmesh::node
