// PromptScan beside PromptReader, on bodies of every kind, cut everywhere.
#include "net/prompt_scan.h"

#include <doctest/doctest.h>

#include <functional>
#include <random>

#include "tests/net/prompt_twins.h"

using namespace dualmesh::net;

namespace {

// Compared in both modes, cut at every place; whether the scan did without the reader.
Twins agree(Endpoint endpoint, const std::string& body) {
  CAPTURE(body);
  const Twins whole = compare_twins(endpoint, body, Tokens::unwanted, {});
  CHECK(whole.difference == "");
  std::vector<std::size_t> all;
  for (std::size_t cut = 0; cut < body.size(); ++cut) {
    all.push_back(cut);
    const Twins twins = compare_twins(endpoint, body, Tokens::wanted, {cut});
    CAPTURE(cut);
    CHECK(twins.difference == "");
    CHECK(twins.sure == whole.sure);
  }
  CHECK(compare_twins(endpoint, body, Tokens::unwanted, all).sure == whole.sure);
  return whole;
}

std::string chat(const std::string& messages, const std::string& rest = "") {
  return R"({"model":"m","messages":)" + messages + rest + "}";
}

}  // namespace

TEST_CASE("agents' requests are read in one pass or two, and never by the reader") {
  const std::string talk =
      R"([{"role":"system","content":"Be brief."},{"role":"user","content":"a\nb \"c\" caf\u00e9"},
          {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function",
           "function":{"name":"f","arguments":"{\"x\": 1.50}"}}]},
          {"content":"4","role":"tool","tool_call_id":"c1"},
          {"content":[{"type":"text","text":"see \ud83d\ude00"},
           {"text":"","type":"input_text"},"x"],
           "role":"user","name":"ann"}])";
  const std::string tools = R"("tools":[{"type":"function","function":{"name":"f","parameters":
      {"type":"object","properties":{"x":{"type":"number","default":0.10,"minimum":-0,"maximum":1e2,
       "description":"a\/b \u00e9\u0007"}},"required":[ ]}}}])";
  const Twins none = agree(Endpoint::chat, chat(talk, R"(,"stream":true,"max_tokens":5)"));
  CHECK(none.sure);
  CHECK(none.restarts == 0);
  const Twins before =
      agree(Endpoint::chat, "{" + tools + R"(,"model":"m","messages":)" + talk + "}");
  CHECK(before.sure);
  CHECK(before.restarts == 0);
  // As SDKs send it: minimal as it is, but for what one of its parts has.
  for (const char* inside :
       {"1", R"("a\n\"b\"")", R"("\/")", "1.50", "[ ]", "-0", R"({"\u0061":1})"}) {
    const std::string compact = R"("tools":[{"type":"function","function":{"x":)" +
                                std::string(inside) + R"(}},[],{},null])";
    CHECK(agree(Endpoint::chat, "{" + compact + R"(,"model":"m","messages":)" + talk + "}").sure);
  }
  const Twins after = agree(Endpoint::chat, chat(talk, "," + tools + R"(,"functions":[1.0])"));
  CHECK(after.sure);

  const std::string items = R"([{"role":"user","content":"hi"},
      {"type":"function_call_output","call_id":"1","output":"4"},
      {"type":"message","role":"assistant","content":[{"type":"output_text","text":"x"},
       {"type":"refusal","refusal":"no"}]}])";
  CHECK(agree(Endpoint::responses, R"({"model":"m","input":)" + items + "}").sure);
  const std::string late = R"(,"instructions":"Be \"kind\".",)" + tools + "}";
  const Twins twice = agree(Endpoint::responses, R"({"model":"m","input":)" + items + late);
  CHECK(twice.sure);
  CHECK(agree(Endpoint::responses, R"({"model":"m","input":"hello")" + late).sure);
}

TEST_CASE("the other forms of prompt are read without the reader, too") {
  for (const char* prompt : {R"("once \n upon")", R"(["once","","upon\u001e"])", "[1,2,4294967294]",
                             "[[1,2],[],[3]]", "[[7]]", "[[]]", R"("")"}) {
    CHECK(
        agree(Endpoint::completions, R"({"model":"m","prompt":)" + std::string(prompt) + "}").sure);
    CHECK(agree(Endpoint::embeddings, R"({"model":"m","input":)" + std::string(prompt) + "}").sure);
  }
}

TEST_CASE("fields that count, however they are given") {
  const std::string hi = R"([{"role":"user","content":"hi"}])";
  for (
      const char* rest :
      {R"(,"user":"a\u0062c","stream":false,"stream_options":null)",
       R"(,"stream_options":{"x":[1],"include_usage":true,"y":{"include_usage":false}})",
       R"(,"stream_options":{"include_usage":null})", R"(,"stream_options":{})",
       R"(,"max_tokens":4294967295,"max_completion_tokens":0)", R"(,"max_tokens":null)",
       R"(,"cache_salt":"s\n","chat_template_kwargs":{"a": 1.0, "b":[]},"add_special_tokens":true)",
       R"(,"cache_salt":7,"chat_template":"\u00e9{{x}}","tools":null)"}) {
    CHECK(agree(Endpoint::chat, chat(hi, rest)).sure);
  }
}

TEST_CASE("what is unusual is left to the reader") {
  const std::string hi = R"([{"role":"user","content":"hi"}])";
  const std::string bodies[] = {
      chat(hi, R"(,"messages":[])"),
      chat(hi, R"(,"tools":[],"tools":null)"),
      chat(R"([{"role":"user","content":"a","content":"b"}])"),
      chat(R"([{"role":"user","content":[{"text":"a","text":"b"}]}])"),
      R"({"model":"m","mess\u0061ges":)" + hi + "}",
      chat(R"([{"r\u006fle":"user"}])"),
      chat(R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}])"),
      chat(R"([{"role":"user","content":[{"type":"input_audio"}]}])"),
      chat(hi, R"(,"stream_options":{"include_usage":true,"include_usage":false})"),
      chat(hi, R"(,"stream_options":{"include_usage":[]})"),
      chat(hi, R"(,"stream_options":{"include_usage":{"include_usage":true}})"),
      chat(hi, R"(,"stream":1)"),
      chat(hi, R"(,"stream":"true")"),
      chat(hi, R"(,"max_tokens":1.0)"),
      chat(hi, R"(,"max_tokens":-0)"),
      chat(hi, R"(,"max_tokens":"1")"),
      chat(hi, R"(,"seed":18446744073709551615)"),
      chat(hi, R"(,"user":7)"),
      chat("[]"),
      chat("null"),
      chat("\"hi\""),
      chat("[[]]"),
      chat("[\"hi\"]"),
      chat(R"([{}])"),
      chat(R"([{"role":null}])"),
      chat(hi) + "x",
      chat(hi) + chat(hi),
      "[" + chat(hi) + "]",
      "\"x\"",
      "[]",
      chat(R"([{"role":"user","content":")"
           "\xff"
           R"("}])"),
      chat(R"([{"role":"user","content":"\ud800"}])"),
      R"({"model":"","messages":)" + hi + "}",
      R"({"messages":)" + hi + "}",
  };
  for (const std::string& body : bodies) CHECK_FALSE(agree(Endpoint::chat, body).sure);
  CHECK_FALSE(agree(Endpoint::embeddings, chat(hi)).sure);
  CHECK_FALSE(agree(Endpoint::embeddings, chat(hi, R"(,"input":"x")")).sure);
  for (const char* prompt : {"[]", "{}", "1", "null", "[1,-1]", "[1,-0]", "[1.0]", "[4294967295]",
                             "[\"a\",1]", "[1,\"a\"]", "[[1],2]", "[[1,[2]]]", "[null]"}) {
    CHECK_FALSE(
        agree(Endpoint::completions, R"({"model":"m","prompt":)" + std::string(prompt) + "}").sure);
  }
}

namespace {

// JSON of the shapes that bodies have, and of some that they should not have.
class RandomBody {
 public:
  explicit RandomBody(unsigned seed) : random_(seed) {}

  std::string body(Endpoint endpoint) {
    std::vector<std::string> fields{R"("model":)" + (rarely() ? any(2) : R"("m")")};
    if (endpoint == Endpoint::chat) fields.push_back(R"("messages":)" + list(0));
    if (endpoint == Endpoint::completions) fields.push_back(R"("prompt":)" + prompt());
    if (endpoint == Endpoint::embeddings) fields.push_back(R"("input":)" + prompt());
    if (endpoint == Endpoint::responses) {
      fields.push_back(R"("input":)" + (below(2) ? list(1) : text()));
    }
    for (const char* name :
         {"tools", "functions", "chat_template_kwargs", "x", "response_format"}) {
      if (below(3) == 0) fields.push_back("\"" + std::string(name) + "\":" + any(3));
    }
    for (const char* name : {"instructions", "user", "cache_salt"}) {
      if (below(3) == 0) fields.push_back("\"" + std::string(name) + "\":" + text());
    }
    if (below(3) == 0) fields.push_back(R"("stream":)" + pick({"true", "false", "null"}));
    if (below(3) == 0) fields.push_back(R"("max_tokens":)" + number());
    if (below(3) == 0) fields.push_back(R"("stream_options":{"include_usage":true})");
    if (rarely()) fields.push_back(fields[below(fields.size())]);
    std::shuffle(fields.begin(), fields.end(), random_);
    return object(fields);
  }
  std::size_t below(std::size_t limit) { return random_() % limit; }

 private:
  bool rarely() { return below(40) == 0; }
  std::string space() { return below(4) == 0 ? std::string(1 + below(2), " \n\t"[below(3)]) : ""; }
  std::string pick(std::vector<std::string> from) { return from[below(from.size())]; }

  std::string object(const std::vector<std::string>& fields) {
    std::string all;
    for (const std::string& field : fields) all += (all.empty() ? "" : ",") + space() + field;
    return "{" + all + space() + "}";
  }
  std::string text() {
    static const std::vector<std::string> parts{
        "hello",
        " ",
        "\\n",
        "\\\"",
        "\\\\",
        "\\/",
        "\\u00e9",
        "é",
        "\\u001e",
        "\\u0000",
        "\\ud83d\\ude00",
        "😀",
        "\\t",
        "\\u20ac",
        "and a longer run of words without anything in it, so that whole vectors are read at once"};
    std::string all;
    for (std::size_t count = below(6); count > 0; --count) all += parts[below(parts.size())];
    if (below(50) == 0) all += std::string(below(20'000), 'y');
    if (below(200) == 0) all += pick({"\\ud800", "\xff", "\\x", "\n"});
    return "\"" + all + "\"";
  }
  std::string number() {
    return pick({"0", "1", "-5", "17", "1.5", "-0", "0.10", "1e2", "123456789", "2E-3",
                 "4294967296", "12345678901234567890", "0.30000000000000004"});
  }
  std::string any(std::size_t depth) {
    switch (below(depth == 0 ? 4 : 6)) {
      case 0:
        return text();
      case 1:
        return number();
      case 2:
        return pick({"true", "false", "null"});
      case 3:
        return pick({"{}", "[]", "[ ]"});
      case 4: {
        std::string all;
        for (std::size_t i = below(4); i > 0; --i) all += any(depth - 1) + (i > 1 ? "," : "");
        return "[" + all + "]";
      }
      default: {
        std::vector<std::string> fields;
        for (std::size_t i = below(4); i > 0; --i) {
          fields.push_back(text() + space() + ":" + any(depth - 1));
        }
        return object(fields);
      }
    }
  }
  std::string prompt() {
    switch (below(5)) {
      case 0:
        return text();
      case 1:
        return "[" + text() + "," + text() + "]";
      case 2:
        return "[" + number() + ", 7]";
      case 3:
        return "[[1,2]," + pick({"[3]", "[]", "4", "[" + number() + "]"}) + "]";
      default:
        return rarely() ? any(2) : text();
    }
  }
  std::string content() {
    switch (below(6)) {
      case 0:
        return "null";
      case 1:
      case 2: {
        std::string all;
        for (std::size_t i = below(4); i > 0; --i) all += part() + (i > 1 ? "," : "");
        return "[" + all + "]";
      }
      default:
        return rarely() ? any(1) : text();
    }
  }
  std::string part() {
    if (below(3) == 0) return text();
    std::vector<std::string> fields{R"("text":)" + text()};
    if (below(3) > 0) {
      fields.push_back(R"("type":)" + pick({R"("text")", R"("input_text")", R"("output_text")"}));
    }
    if (rarely()) fields.push_back(R"("type":"image_url","image_url":{"url":)" + text() + "}");
    if (rarely()) return R"({"type":"refusal","refusal":)" + text() + "}";
    if (below(4) == 0) fields.push_back(R"("annotations":)" + any(2));
    std::shuffle(fields.begin(), fields.end(), random_);
    return object(fields);
  }
  std::string message() {
    const std::string role = pick({"user", "system", "assistant", "tool", "developer"});
    std::vector<std::string> fields{R"("role":")" + role + "\""};
    if (below(8) > 0) fields.push_back(R"("content":)" + content());
    for (const char* name : {"name", "tool_call_id", "reasoning", "refusal", "reasoning_content"}) {
      if (below(6) == 0) fields.push_back("\"" + std::string(name) + "\":" + text());
    }
    for (const char* name : {"tool_calls", "function_call", "audio", "name"}) {
      if (below(8) == 0) fields.push_back("\"" + std::string(name) + "\":" + any(3));
    }
    std::shuffle(fields.begin(), fields.end(), random_);
    return object(fields);
  }
  std::string list(std::size_t least) {
    std::string all;
    for (std::size_t i = least + below(5); i > 0; --i) {
      if (least > 0 && below(3) == 0) {
        all += object({R"("type":)" + pick({R"("function_call")", R"("message")", R"("")"}),
                       R"("output":)" + any(2), R"("role":"user")"});
      } else {
        all += rarely() ? any(1) : message();
      }
      if (i > 1) all += "," + space();
    }
    return "[" + all + "]";
  }

  std::mt19937 random_;
};

}  // namespace

TEST_CASE("random bodies with random cuts: the same fields and the same text") {
  int sure = 0;
  constexpr int rounds = 6'000;
  for (int round = 0; round < rounds; ++round) {
    RandomBody random(static_cast<unsigned>(round));
    constexpr Endpoint endpoints[] = {Endpoint::chat, Endpoint::chat, Endpoint::completions,
                                      Endpoint::embeddings, Endpoint::responses};
    const Endpoint endpoint = endpoints[random.below(5)];
    const std::string body = random.body(endpoint);
    std::vector<std::size_t> cuts;
    for (std::size_t i = random.below(5); i > 0; --i) cuts.push_back(random.below(body.size()));
    std::sort(cuts.begin(), cuts.end());
    const Tokens tokens = random.below(2) == 0 ? Tokens::wanted : Tokens::unwanted;
    const Twins twins = compare_twins(endpoint, body, tokens, cuts);
    CAPTURE(round);
    CAPTURE(body);
    CHECK(twins.difference == "");
    sure += twins.sure ? 1 : 0;
  }
  CHECK(sure > rounds / 2);
}

TEST_CASE("prompts of many blocks reach the sink piece by piece") {
  struct Counting final : PromptSink {
    void text(std::string_view piece) override {
      ++pieces;
      bytes += piece.size();
    }
    void restart() override { bytes = 0; }
    std::size_t pieces = 0, bytes = 0;
  } sink;
  std::string body = R"({"model":"m","messages":[)";
  PromptScan scan(Endpoint::chat, Tokens::unwanted, sink);
  for (std::size_t i = 1; i <= 100; ++i) {
    if (i > 1) body += ",";
    body += R"({"role":"user","content":")" + std::string(10'000, 'x') + "\"}";
    scan.grown(body);
    CHECK(sink.bytes <= i * 10'006);
    CHECK(sink.bytes + 150'000 > i * 10'006);
  }
  body += "]}";
  CHECK(scan.finish(body).has_value());
  CHECK(sink.bytes == 100 * 10'006);
}

TEST_CASE("what comes late and belongs to the beginning makes the text begin again") {
  std::string messages = R"([{"role":"system","content":"Be brief."})";
  for (int i = 0; i < 50; ++i) {
    messages += R"(,{"content":"a\nb)" + std::string(10'000, 'x') + R"(","role":"user"})";
  }
  const std::string late = R"(],"tools":[{"a":1.0}],"instructions":"Be kind.","model":"m"})";
  for (const auto& [endpoint, name] : {std::pair{Endpoint::chat, std::string("messages")},
                                       std::pair{Endpoint::responses, std::string("input")}}) {
    const std::string body = "{\"" + name + "\":" + messages + late;
    const Twins twins = compare_twins(endpoint, body, Tokens::wanted, {200'000, 400'000});
    CHECK(twins.difference == "");
    CHECK(twins.sure);
    CHECK(twins.restarts == 1);
    CHECK(compare_twins(endpoint, body, Tokens::wanted, {}).restarts == 0);
  }
}
