// AnswerWatcher of prompt_reader.h.
#include <simdjson.h>

#include <charconv>
#include <cstring>
#include <optional>

#include "net/json_scan.h"
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

// Where the value of the last `"usage"` begins: in a string its quotes would be escaped. Looked for
// by the letter that is rarest in what comes after it.
std::size_t find_usage(std::string_view json) {
  constexpr std::string_view key = "\"usage\"";
  constexpr std::size_t rare = 4;
  static_assert(key[rare] == 'g');
  for (std::size_t end = json.size();;) {
    const void* const found = ::memrchr(json.data(), key[rare], end);
    if (found == nullptr) return std::string_view::npos;
    end = static_cast<std::size_t>(static_cast<const char*>(found) - json.data());
    if (end >= rare && json.substr(end - rare, key.size()) == key) return end - rare + key.size();
  }
}

// What a usage object says; where it is no whole object, nothing.
struct Usage {
  std::optional<std::uint32_t> prompt, input, completion, output, cached;

  static std::optional<Usage> read(std::string_view json) {
    using Token = JsonScan::Token;
    Usage usage;
    JsonScan scan(0, JsonScan::RareNumbers::pass);
    std::string_view key;
    bool in_details = false;
    if (scan.next(json) != Token::object) return std::nullopt;
    for (;;) {
      switch (scan.next(json)) {
        case Token::key:
          key = scan.string(json).raw;
          if (scan.depth() > 1) break;
          in_details = key == "prompt_tokens_details" || key == "input_tokens_details";
          break;
        case Token::number:
          usage.take(key, scan.depth(), in_details,
                     json.substr(scan.token_begin(), scan.position() - scan.token_begin()));
          break;
        case Token::object_end:
          if (scan.depth() == 0) return usage;
          break;
        case Token::failed:
        case Token::more:
          return std::nullopt;
        default:
          break;
      }
    }
  }

 private:
  void take(std::string_view key, std::size_t depth, bool in_details, std::string_view number) {
    std::uint32_t count = 0;
    const char* const end = number.data() + number.size();
    const auto [stop, error] = std::from_chars(number.data(), end, count);
    if (error != std::errc() || stop != end) return;
    const auto first = [count](std::optional<std::uint32_t>& into) {  // of those given twice
      if (!into) into = count;
    };
    if (depth == 2 && in_details && key == "cached_tokens") first(cached);
    if (depth != 1) return;
    if (key == "prompt_tokens") first(prompt);
    if (key == "input_tokens") first(input);
    if (key == "completion_tokens") first(completion);
    if (key == "output_tokens") first(output);
  }
};

std::string_view trim_start(std::string_view text) {
  const std::size_t start = text.find_first_not_of(" \t\r\n");
  return start == std::string_view::npos ? std::string_view() : text.substr(start);
}

}  // namespace

void AnswerWatcher::usage(std::string_view json) {
  const std::size_t at = find_usage(json);
  if (at == std::string_view::npos) return;
  const std::string_view rest = trim_start(json.substr(at));
  if (rest.empty() || rest.front() != ':') return;
  const auto said = Usage::read(rest.substr(1));
  if (!said) return;
  prompt_tokens_ = said->prompt.value_or(said->input.value_or(prompt_tokens_));
  completion_tokens_ = said->completion.value_or(said->output.value_or(completion_tokens_));
  says_cached_tokens_ = says_cached_tokens_ || said->cached;
  cached_tokens_ = said->cached.value_or(cached_tokens_);
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
    const std::size_t last = piece.find_last_not_of(" \t\r\n");
    const bool may_be_whole = last != std::string_view::npos && piece[last] == '}';
    const bool is_first = partial_.empty();
    if (may_be_whole && is_first) usage(piece);  // most come in one piece
    keep(piece);
    if (may_be_whole && !is_first) usage(partial_);
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
