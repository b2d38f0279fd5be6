// AnswerWatcher of prompt_reader.h.
#include <simdjson.h>

#include <algorithm>

#include "net/prompt_reader.h"

namespace dualmesh::net {
namespace {

using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::object;

// An event longer than `whole_bytes`, or a body, is remembered by its end, where usage stands.
constexpr std::size_t whole_bytes = 64 * 1024;
constexpr std::size_t tail_bytes = 16 * 1024;

// Scratch storage, one per thread as the callers are; nothing in it outlives a call.
simdjson::dom::parser& scratch_parser() {
  thread_local simdjson::dom::parser parser;
  return parser;
}

bool has_text(object from, std::string_view key) {
  std::string_view text;
  return from[key].get(text) == simdjson::SUCCESS && !text.empty();
}

bool has_entries(object from, std::string_view key) {
  array entries;
  return from[key].get(entries) == simdjson::SUCCESS && entries.size() > 0;
}

// A piece of generated output: a chat or text completion chunk, or a responses delta event.
bool carries_token(object event) {
  std::string_view type;
  if (event["type"].get(type) == simdjson::SUCCESS && type.size() > 6 &&
      type.substr(type.size() - 6) == ".delta") {
    return has_text(event, "delta");
  }
  array choices;
  if (event["choices"].get(choices) != simdjson::SUCCESS) return false;
  for (element entry : choices) {
    object choice, delta;
    if (entry.get(choice) != simdjson::SUCCESS) continue;
    if (has_text(choice, "text")) return true;
    if (choice["delta"].get(delta) != simdjson::SUCCESS) continue;
    for (const char* key : {"content", "reasoning_content", "reasoning", "refusal"}) {
      if (has_text(delta, key)) return true;
    }
    object call;
    if (has_entries(delta, "tool_calls") || delta["function_call"].get(call) == simdjson::SUCCESS) {
      return true;
    }
  }
  return false;
}

// The object that starts at the front of `text`, or nothing if it does not end in it.
std::string_view balanced_object(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{') {
      ++depth;
    } else if (c == '}' && --depth == 0) {
      return text.substr(0, i + 1);
    }
  }
  return {};
}

bool read_count(object from, std::string_view key, std::uint32_t& into) {
  std::uint64_t count = 0;
  if (from[key].get(count) != simdjson::SUCCESS || count > UINT32_MAX) return false;
  into = static_cast<std::uint32_t>(count);
  return true;
}

std::string_view trim_start(std::string_view text) {
  const std::size_t start = text.find_first_not_of(" \t\r\n");
  return start == std::string_view::npos ? std::string_view() : text.substr(start);
}

}  // namespace

// Looks for the last `"usage": {` (inside a string its quotes would be escaped).
void AnswerWatcher::usage(std::string_view json) {
  constexpr std::string_view key = "\"usage\"";
  const std::size_t at = json.rfind(key);
  if (at == std::string_view::npos) return;
  std::string_view rest = trim_start(json.substr(at + key.size()));
  if (rest.empty() || rest.front() != ':') return;
  rest = trim_start(rest.substr(1));
  if (rest.empty() || rest.front() != '{') return;
  const std::string_view text = balanced_object(rest);
  object fields, details;
  if (text.empty() || scratch_parser().parse(text.data(), text.size()).get(fields)) return;
  if (!read_count(fields, "prompt_tokens", prompt_tokens_)) {
    read_count(fields, "input_tokens", prompt_tokens_);
  }
  if (!read_count(fields, "completion_tokens", completion_tokens_)) {
    read_count(fields, "output_tokens", completion_tokens_);
  }
  for (const char* name : {"prompt_tokens_details", "input_tokens_details"}) {
    if (fields[name].get(details) == simdjson::SUCCESS) {
      says_cached_tokens_ |= read_count(details, "cached_tokens", cached_tokens_);
    }
  }
}

// One complete line of an event stream, or the kept end of one that was too long.
void AnswerWatcher::line(std::string_view text) {
  if (skipping_) return usage(text);
  if (text.substr(0, 5) != "data:") return;
  const std::string_view json = trim_start(text.substr(5));
  if (json.empty() || json.front() != '{') return;
  usage(json);
  if (first_seen_) return;
  object event;
  if (scratch_parser().parse(json.data(), json.size()).get(event)) return;
  first_seen_ = carries_token(event);
}

void AnswerWatcher::keep(std::string_view piece) {
  if (partial_.size() + piece.size() > whole_bytes) skipping_ = true;
  if (piece.size() >= tail_bytes && skipping_) {
    partial_ = piece.substr(piece.size() - tail_bytes);
    return;
  }
  partial_ += piece;
  if (skipping_ && partial_.size() > tail_bytes) partial_.erase(0, partial_.size() - tail_bytes);
}

bool AnswerWatcher::feed(std::string_view piece) {
  const bool seen_before = first_seen_;
  if (!event_stream_) {
    if (piece.empty()) return false;
    first_seen_ = true;
    keep(piece);
    const std::size_t last = piece.find_last_not_of(" \t\r\n");
    if (last != std::string_view::npos && piece[last] == '}') usage(partial_);
    return !seen_before;
  }
  while (!piece.empty()) {
    const std::size_t end = piece.find('\n');
    if (end == std::string_view::npos) {
      keep(piece);
      break;
    }
    if (partial_.empty() && end <= whole_bytes) {
      line(piece.substr(0, end));
    } else {
      keep(piece.substr(0, end));
      line(partial_);
      partial_.clear();
      skipping_ = false;
    }
    piece.remove_prefix(end + 1);
  }
  return first_seen_ && !seen_before;
}

}  // namespace dualmesh::net
