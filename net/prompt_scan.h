// PromptScan: what PromptReader reads, read while the body arrives and without a DOM.
//
// It tells the canonical text to a sink as soon as it is known: with each message, or with the
// whole prompt of a completion. What comes before the messages in that text and after them in the
// body (tools, as the OpenAI SDKs send them) makes it begin again when the body is complete.
//
// Invariant: finish() gives the fields that PromptReader gives for the same body, and the sink has
// heard the canonical text of it; or nothing, and then PromptReader is to be asked: for errors, for
// media, and for all that is unusual.
// Cost: about a nanosecond per 10 bytes; memory: by elements and fields of messages,
// 64 bytes or so each, none by their text.
// Threads: one scan per request, on its thread. Source: ours.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "net/prompt_reader.h"
#include "net/prompt_writer.h"

namespace dualmesh::net {

class PromptScan {
 public:
  // Of an endpoint other than Endpoint::other. The sink outlives the scan.
  PromptScan(Endpoint endpoint, Tokens tokens, PromptSink& sink);
  ~PromptScan();
  PromptScan(PromptScan&&) noexcept;

  // `body` is what it was at the last call, though it may have moved, and more.
  void grown(std::string_view body);
  // With the whole body, once. PromptFields::canonical is left empty.
  std::optional<PromptFields> finish(std::string_view body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dualmesh::net
