// AnswerWatcher: first token and usage, whatever the cuts.
#include <doctest/doctest.h>

#include <random>
#include <string>

#include "net/prompt_reader.h"

using namespace dualmesh::net;

namespace {

struct Seen {
  std::size_t first_at = 0;  // bytes fed when the first token was told; 0 = never
  int told = 0;
  std::uint32_t prompt = 0, completion = 0, cached = 0;
  bool operator==(const Seen&) const = default;
};

template <class NextSize>
Seen watch(bool event_stream, const std::string& body, NextSize next_size) {
  AnswerWatcher watcher(event_stream);
  Seen seen;
  for (std::size_t at = 0; at < body.size();) {
    const std::size_t size = std::min<std::size_t>(next_size(), body.size() - at);
    at += size;
    if (watcher.feed(std::string_view(body).substr(at - size, size))) {
      ++seen.told;
      seen.first_at = at;
    }
  }
  seen.prompt = watcher.prompt_tokens();
  seen.completion = watcher.completion_tokens();
  seen.cached = watcher.cached_tokens();
  return seen;
}

Seen by_bytes(bool event_stream, const std::string& body) {
  return watch(event_stream, body, [] { return 1; });
}

// The same facts at every cut; where the first token is told may only move to the end of a piece.
void check_every_cut(bool event_stream, const std::string& body, Seen expected) {
  CHECK(by_bytes(event_stream, body) == expected);
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::size_t longest = 1 + random() % 400;
    Seen seen = watch(event_stream, body, [&] { return 1 + random() % longest; });
    CHECK(seen.first_at >= expected.first_at);
    CHECK(seen.first_at <= expected.first_at + longest);
    seen.first_at = expected.first_at;
    CHECK(seen == expected);
  }
}

std::string event(const std::string& json, const std::string& end = "\n") {
  return "data: " + json + end + end;
}

const std::string usage_json =
    R"("usage":{"prompt_tokens":100,"completion_tokens":7,"total_tokens":107,)"
    R"("prompt_tokens_details":{"cached_tokens":64}})";

}  // namespace

TEST_CASE("a streamed chat: the role chunk is not a token, the first content is") {
  for (const std::string end : {"\n", "\r\n"}) {
    const std::string before =
        ": a comment" + end + end +
        event(R"({"choices":[{"delta":{"role":"assistant","content":""}}],"usage":null})", end);
    const std::string first = event(R"({"choices":[{"index":0,"delta":{"content":"Hel"}}]})", end);
    const std::string body =
        before + first + event(R"({"choices":[{"delta":{"content":"lo"}}]})", end) +
        event(R"({"choices":[],)" + usage_json + "}", end) + event("[DONE]", end);
    const std::size_t told_at = before.size() + first.size() - end.size();
    check_every_cut(true, body, {told_at, 1, 100, 7, 64});
  }
}

TEST_CASE("every kind of first token, and what is none") {
  for (const char* token : {
           R"({"choices":[{"text":"x"}]})",
           R"({"choices":[{"delta":{"reasoning_content":"x"}}]})",
           R"({"choices":[{"delta":{"reasoning":"x"}}]})",
           R"({"choices":[{"delta":{"tool_calls":[{"index":0}]}}]})",
           R"({"choices":[{"delta":{}},{"delta":{"content":"second choice"}}]})",
           R"({"type":"response.output_text.delta","delta":"x"})",
           R"({"type":"response.function_call_arguments.delta","delta":"{"})",
       }) {
    CAPTURE(token);
    CHECK(by_bytes(true, event(token)).told == 1);
  }
  for (const char* none : {
           R"({"choices":[{"text":""}]})",
           R"({"choices":[{"delta":{"tool_calls":[]}}]})",
           R"({"choices":[{"delta":{"content":null}}]})",
           R"({"choices":[]})",
           R"({"choices":5})",
           R"({"type":"response.created","response":{}})",
           R"({"type":"response.output_text.delta","delta":""})",
           "[DONE]",
           "{broken",
           "",
       }) {
    CAPTURE(none);
    CHECK(by_bytes(true, event(none)).told == 0);
  }
}

TEST_CASE("a responses stream has its usage inside the last event, however long that is") {
  const std::string first = "event: response.output_text.delta\n" +
                            event(R"({"type":"response.output_text.delta","delta":"a"})");
  for (const std::size_t length : {10, 70'000}) {
    const std::string last =
        event(R"({"type":"response.completed","response":{"output":[{"text":")" +
              std::string(length, 'x') + R"( \"usage\":{ "}],"usage":{"input_tokens":50,)" +
              R"("input_tokens_details":{"cached_tokens":48},"output_tokens":3}}})");
    const std::size_t told_at = first.size() - 1;
    const Seen expected{told_at, 1, 50, 3, 48};
    CHECK(by_bytes(true, first + last) == expected);
    Seen whole = watch(true, first + last, [] { return 1u << 20; });
    whole.first_at = told_at;
    CHECK(whole == expected);
  }
}

TEST_CASE("a whole answer: first byte, and usage from the end or from anywhere in a short one") {
  const std::string at_end =
      R"({"choices":[{"message":{"content":"say \"usage\": {\"prompt_tokens\":9} }"}}],)" +
      usage_json + "}";
  check_every_cut(false, at_end, {1, 1, 100, 7, 64});
  check_every_cut(false, "{" + usage_json + R"(,"choices":[{"text":"}"}]})" + "\n",
                  {1, 1, 100, 7, 64});
  const std::string large = R"({"data":[)" + std::string(300'000, '1') + "]," + usage_json + "}";
  CHECK(watch(false, large, [] { return 1000; }) == Seen{1000, 1, 100, 7, 64});
  CHECK(watch(false, large, [] { return 1 << 20; }) == Seen{large.size(), 1, 100, 7, 64});
  int pieces = 0;  // a first piece, and all the rest, of which only the end is kept
  CHECK(watch(false, large, [&] { return pieces++ == 0 ? 10 : 1 << 20; }) ==
        Seen{10, 1, 100, 7, 64});
}

TEST_CASE("counts are found beside numbers of any size; of those given twice the first") {
  for (const char* beside : {R"("at_ns":1763830000000000000,)", R"("cost":1.0e-100,)"}) {
    const std::string body = std::string(R"({"usage":{"prompt_tokens":5,)") + beside +
                             R"("completion_tokens":7,"prompt_tokens":6}})";
    CHECK(by_bytes(false, body) == Seen{1, 1, 5, 7, 0});
  }
}

TEST_CASE("what makes no sense stays zero") {
  for (const char* body :
       {"", "}", R"({"usage":null})", R"({"usage":{"prompt_tokens":-1}})",
        R"({"usage":{"prompt_tokens":99999999999}})", R"({"usage":{)", "\"usage\":{}"}) {
    const Seen seen = by_bytes(false, body);
    CAPTURE(body);
    CHECK(seen.prompt == 0);
    CHECK(seen.completion == 0);
  }
}

TEST_CASE("cached tokens: not said is not none") {
  const auto says = [](const std::string& details) {
    AnswerWatcher watcher(false);
    watcher.feed(R"({"usage":{"prompt_tokens":9)" + details + "}}");
    CHECK(watcher.prompt_tokens() == 9);
    CHECK(watcher.cached_tokens() == 0);
    return watcher.says_cached_tokens();
  };
  CHECK(says(R"(,"prompt_tokens_details":{"cached_tokens":0})"));
  CHECK_FALSE(says(""));
  CHECK_FALSE(says(R"(,"prompt_tokens_details":null)"));
  CHECK_FALSE(says(R"(,"prompt_tokens_details":{"audio_tokens":3})"));
}
