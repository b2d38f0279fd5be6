// PromptScan beside PromptReader: what one says that the other does not.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "net/prompt_scan.h"

namespace dualmesh::net {

// A sink that keeps the text, and tells when it was told to forget it.
struct TwinSink final : PromptSink {
  void text(std::string_view piece) override { kept += piece; }
  void restart() override {
    kept.clear();
    ++restarts;
  }
  std::string kept;
  int restarts = 0;
};

struct Twins {
  std::string difference;  // empty: none
  bool sure = false;       // the scan did it alone
  int restarts = 0;
};

// `cuts`, ascending, is where the body's pieces end but for the last. Each growth is a copy of
// exactly its size, so that sanitizers see a byte too far.
inline Twins compare_twins(Endpoint endpoint, std::string_view body, Tokens tokens,
                           const std::vector<std::size_t>& cuts) {
  Twins twins;
  TwinSink sink;
  PromptScan scan(endpoint, tokens, sink);
  for (const std::size_t cut : cuts) {
    const std::vector<char> so_far(body.begin(), body.begin() + static_cast<std::ptrdiff_t>(cut));
    scan.grown({so_far.data(), so_far.size()});
  }
  const std::vector<char> whole(body.begin(), body.end());
  const auto found = scan.finish({whole.data(), whole.size()});
  twins.sure = found.has_value();
  twins.restarts = sink.restarts;
  if (!found) return twins;
  PromptReader reader;
  const auto wanted = reader.read(endpoint, body, tokens);
  if (wanted.has_error()) {
    twins.difference = "taken, but: " + wanted.error().message;
    return twins;
  }
  const auto expect = [&](const char* name, bool equal) {
    if (!equal) twins.difference += std::string(name) + " ";
  };
  expect("model", found->model == wanted->model);
  expect("user", found->user == wanted->user);
  expect("stream", found->stream == wanted->stream);
  expect("include_usage", found->include_usage == wanted->include_usage);
  expect("max_tokens", found->max_tokens == wanted->max_tokens);
  expect("system_key", found->system_key == wanted->system_key);
  expect("token_ids", found->token_ids == wanted->token_ids);
  expect("cache_salt", found->cache_salt == wanted->cache_salt);
  expect("token_form", found->token_form == wanted->token_form);
  expect("tokens", found->tokens == wanted->tokens);
  expect("template_key", found->template_key == wanted->template_key);
  if (sink.kept != wanted->canonical) {
    twins.difference += "text: '" + sink.kept + "' for '" + wanted->canonical + "'";
  }
  return twins;
}

}  // namespace dualmesh::net
