// PromptReader: equal prompts, however spelled; what is refused and in which words.
#include "net/prompt_reader.h"

#include <doctest/doctest.h>
#include <xxhash.h>

#include <set>
#include <string>

#include "tests/net/prompt_twins.h"

using namespace dualmesh::net;

namespace {

// Every example of this file goes through the scan as well.
void check_scan(Endpoint endpoint, const std::string& body) {
  if (endpoint == Endpoint::other) return;
  for (const Tokens tokens : {Tokens::unwanted, Tokens::wanted}) {
    CHECK(compare_twins(endpoint, body, tokens, {body.size() / 2}).difference == "");
  }
}

PromptFields read(Endpoint endpoint, const std::string& body) {
  check_scan(endpoint, body);
  PromptReader reader;
  const auto result = reader.read(endpoint, body);
  CAPTURE(body);
  REQUIRE_MESSAGE(result.has_value(), result.error().message);
  return *result;
}

std::string canonical(Endpoint endpoint, const std::string& rest) {
  return read(endpoint, R"({"model":"m",)" + rest + "}").canonical;
}
std::string chat(const std::string& messages) {
  return canonical(Endpoint::chat, "\"messages\":" + messages);
}

ApiError refusal(Endpoint endpoint, const std::string& body) {
  check_scan(endpoint, body);
  PromptReader reader;
  const auto result = reader.read(endpoint, body);
  CAPTURE(body);
  REQUIRE(result.has_error());
  return result.error();
}

}  // namespace

TEST_CASE("the endpoints by their paths") {
  CHECK(endpoint_of("/v1/chat/completions") == Endpoint::chat);
  CHECK(endpoint_of("/v1/completions") == Endpoint::completions);
  CHECK(endpoint_of("/v1/embeddings") == Endpoint::embeddings);
  CHECK(endpoint_of("/v1/responses") == Endpoint::responses);
  CHECK(endpoint_of("/v1/chat/completions/") == Endpoint::other);
  CHECK(endpoint_of("/v1/rerank") == Endpoint::other);
}

TEST_CASE("the fields beside the prompt") {
  const PromptFields fields = read(Endpoint::chat, R"({
    "messages": [{"role": "user", "content": "hi"}], "unknown": {"deep": [1, 2.5e300, null]},
    "model": "llama", "user": "ann", "stream": true, "stream_options": {"include_usage": true},
    "max_tokens": 10, "max_completion_tokens": 20, "temperature": null})");
  CHECK(fields.model == "llama");
  CHECK(fields.user == "ann");
  CHECK(fields.stream);
  CHECK(fields.include_usage);
  CHECK(fields.max_tokens == 20);
  CHECK(fields.token_ids == 0);

  const PromptFields nulls = read(Endpoint::chat, R"({"model":"m","messages":[{"role":"user"}],
    "user":null,"stream":null,"stream_options":null,"max_tokens":null,"tools":null})");
  CHECK(nulls.user.empty());
  CHECK_FALSE(nulls.stream);
  CHECK(nulls.max_tokens == 0);

  CHECK(read(Endpoint::chat, R"({"model":"a","messages":[{"role":"user"}],"model":"b"})").model ==
        "b");
}

TEST_CASE("equal chats give equal text") {
  const std::string plain = chat(R"([{"role":"user","content":"caf\u00e9 \ud83d\ude00 a/b"}])");
  CHECK(plain == chat("[ {\n\"content\" :\t\"café 😀 a\\/b\", \"role\": \"\\u0075ser\"} ]"));
  CHECK(plain == chat(R"([{"role":"user","content":[{"type":"text","text":"café 😀 a/b"}]}])"));
  CHECK(plain == chat(R"([{"role":"user","content":["café 😀 a/b",{"text":""}]}])"));
  CHECK(plain.find("café 😀 a/b") != std::string::npos);

  // What must be escaped is, in one spelling; the rest stands for itself.
  const std::string lines = chat(R"([{"role":"user","content":"a\n\"b\"\\\u0007"}])");
  CHECK(lines == "\x1euser\x1f" R"(a\n\"b\"\\\u0007)");
  CHECK(lines == chat(R"([{"role":"user","content":"\u0061\u000A\u0022b\u0022\u005c\u0007"}])"));
  CHECK(lines != chat(R"([{"role":"user","content":"a\\n\"b\"\\\u0007"}])"));

  const std::string quiet = chat(R"([{"role":"assistant","content":null}])");
  CHECK(quiet == chat(R"([{"role":"assistant"}])"));
  CHECK(quiet == chat(R"([{"role":"assistant","content":""}])"));
  CHECK(quiet == chat(R"([{"role":"assistant","content":[],"tool_calls":null}])"));

  const std::string tool_call =
      R"("tool_calls":[ {"id":"c", "function":{"name":"f","arguments":"{}"}} ])";
  const std::string packed =
      R"("tool_calls":[{"id":"c","function":{"name":"f","arguments":"{}"}}])";
  CHECK(chat(R"([{"role":"assistant","content":null,)" + tool_call + "}]") ==
        chat(R"([{)" + packed + R"(,"role":"assistant"}])"));
}

TEST_CASE("different chats give different text") {
  const std::string texts[] = {
      chat(R"([{"role":"user","content":"ab"}])"),
      chat(R"([{"role":"system","content":"ab"}])"),
      chat(R"([{"role":"usera","content":"b"}])"),
      chat(R"([{"role":"user","content":"a"},{"role":"user","content":"b"}])"),
      chat(R"([{"role":"user","content":["a","b"]}])"),
      chat(R"([{"role":"user","name":"ab"}])"),
      chat(R"([{"role":"user","reasoning_content":"ab"}])"),
      chat(R"([{"role":"tool","tool_call_id":"ab"}])"),
      chat(R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"ab"}}]}])"),
      canonical(Endpoint::chat, R"("messages":[{"role":"user","content":"ab"}],"tools":[])"),
  };
  for (const auto& a : texts) {
    for (const auto& b : texts) CHECK((&a == &b || a != b));
  }
}

TEST_CASE("a longer conversation starts with the text of the shorter one") {
  const std::string first =
      R"({"role":"system","content":"be brief"},{"role":"user","content":"one"})";
  const std::string then = R"(,{"role":"assistant","content":"1"},{"role":"user","content":"two"})";
  CHECK(chat("[" + first + then + "]").starts_with(chat("[" + first + "]")));
}

TEST_CASE("text cannot pass for structure") {
  const std::string honest =
      chat(R"([{"role":"user","content":"a"},{"role":"system","content":"b"}])");
  for (const char* mark : {"\\u001b", "\\u001c", "\\u001d", "\\u001e", "\\u001f"}) {
    for (const char* other : {"\\u001b", "\\u001c", "\\u001d", "\\u001e", "\\u001f"}) {
      const std::string forged = std::string("a") + mark + "system" + other + "b";
      CHECK(chat("[{\"role\":\"user\",\"content\":\"" + forged + "\"}]") != honest);
      CHECK(chat("[{\"role\":\"" + forged + "\"}]") != honest);
    }
  }
  // Long texts take the path by blocks; a mark anywhere in them must be found.
  for (std::size_t at = 0; at < 200; at += 7) {
    const std::string before(at, 'x'), after(200 - at, 'y');
    const std::string text =
        chat("[{\"role\":\"user\",\"content\":\"" + before + "\\u001e" + after + "\"}]");
    CHECK(text.find(before + "\\u001e" + after) != std::string::npos);
  }
}

TEST_CASE("tools come first and count") {
  const std::string message = R"("messages":[{"role":"user","content":"hi"}])";
  const std::string a = canonical(Endpoint::chat, message + R"(,"tools":[{"type":"function"}])");
  CHECK(a == canonical(Endpoint::chat, R"("tools": [ { "type" : "function" } ],)" + message));
  CHECK(a.ends_with(canonical(Endpoint::chat, message)));
  CHECK(a != canonical(Endpoint::chat, message + R"(,"tools":[{"type":"other"}])"));
}

TEST_CASE("images and audio by the hash of what they are") {
  const std::string long_data(100'000, 'A');
  const auto image = [](const std::string& part) {
    return read(
        Endpoint::chat,
        R"({"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"see"},)" +
            part + "]}]}");
  };
  const auto a = image(R"({"type":"image_url","image_url":{"url":"data:)" + long_data + "\"}}");
  CHECK(a.canonical.size() < 100);
  CHECK(a.canonical ==
        image(R"({"image_url":"data:)" + long_data + R"(","type":"image_url"})").canonical);
  CHECK(a.canonical != image(R"({"type":"image_url","image_url":{"url":"data:B"}})").canonical);
  CHECK(image(R"({"type":"something_new","blob":[1,2]})").canonical !=
        image(R"({"type":"something_new","blob":[1,3]})").canonical);
}

TEST_CASE("completions and embeddings: every form of prompt") {
  for (const auto& [endpoint, name] : {std::pair{Endpoint::completions, std::string("prompt")},
                                       std::pair{Endpoint::embeddings, std::string("input")}}) {
    const auto text = [&, endpoint = endpoint, name = name](const std::string& prompt) {
      return canonical(endpoint, "\"" + name + "\":" + prompt);
    };
    CHECK(text(R"("once upon")") == "once upon");
    CHECK(text(R"(["once upon"])") == "once upon");
    CHECK(text(R"(["once","upon"])") != text(R"("onceupon")"));
    CHECK(text(R"(["once","upon"])") != text(R"(["once\u001eupon"])"));
    CHECK(text("[1,2,3]") == text("[[1, 2, 3]]"));
    CHECK(text("[[1],[2]]") != text("[[1,2]]"));
    CHECK(text("[1,2,3]").size() == 13);  // a mark and four bytes each
    CHECK(text("[49,50]") != text(R"("12")"));
    const auto tokens = read(endpoint, R"({"model":"m",")" + name + R"(":[[1,2],[300]]})");
    CHECK(tokens.token_ids == 3);
  }
  CHECK(canonical(Endpoint::embeddings, R"("messages":[{"role":"user","content":"x"}])") ==
        chat(R"([{"role":"user","content":"x"}])"));
}

TEST_CASE("responses: a string or items") {
  const auto responses = [](const std::string& rest) {
    return canonical(Endpoint::responses, rest);
  };
  const std::string plain = responses(R"("input":"hello")");
  CHECK(plain == responses(R"("input":[{"role":"user","content":"hello"}])"));
  CHECK(plain == responses(R"("input":[{"type":"message","role":"user",
                               "content":[{"type":"input_text","text":"hello"}]}])"));
  CHECK(responses(R"("instructions":"be kind","input":"hello")").ends_with(plain));
  CHECK(responses(R"("input":[{"type":"function_call_output","call_id":"1","output":"4"}])") !=
        responses(R"("input":[{"type":"function_call_output","call_id":"1","output":"5"}])"));
  CHECK(
      read(Endpoint::responses, R"({"model":"m","input":"x","max_output_tokens":7})").max_tokens ==
      7);
}

TEST_CASE("other endpoints are passed through, JSON or not") {
  PromptReader reader;
  for (const char* body :
       {"", "--boundary\r\n", "\xff\xfe", "[1]", "{\"model\":", "{\"model\":1}"}) {
    const auto fields = reader.read(Endpoint::other, body);
    REQUIRE(fields.has_value());
    CHECK(fields->model.empty());
  }
  CHECK(read(Endpoint::other, R"({"model":"rank","stream":true})").model == "rank");
}

TEST_CASE("what is refused names the parameter and what is allowed") {
  struct Case {
    Endpoint endpoint;
    std::string body, param, words;
  };
  const std::string deep = std::string(300, '[') + std::string(300, ']');
  const std::string padding(200'000, ' ');
  const Case cases[] = {
      {Endpoint::chat, "", "", "not valid JSON"},
      {Endpoint::chat, "{", "", "not valid JSON"},
      {Endpoint::chat, "{\"model\":\"\xff\"}", "", "not valid JSON"},
      {Endpoint::chat, R"({"model":"m","x":)" + deep + "}", "", "not valid JSON"},
      {Endpoint::chat, padding + R"({"model":"m","x":)" + deep + "}", "", "not valid JSON"},
      {Endpoint::chat, "[]", "", "JSON object"},
      {Endpoint::chat, R"({"messages":[]})", "model", "provide"},
      {Endpoint::chat, R"({"model":7})", "model", "a string"},
      {Endpoint::chat, R"({"model":""})", "model", "name of a model"},
      {Endpoint::chat, R"({"model":"m"})", "messages", "provide"},
      {Endpoint::chat, R"({"model":"m","messages":[]})", "messages", "at least one"},
      {Endpoint::chat, R"({"model":"m","messages":"hi"})", "messages", "list"},
      {Endpoint::chat, R"({"model":"m","messages":["hi"]})", "messages[0]", "object"},
      {Endpoint::chat, R"({"model":"m","messages":[{"role":"user"},{}]})", "messages[1].role",
       "string"},
      {Endpoint::chat, R"({"model":"m","messages":[{"role":"u","content":5}]})",
       "messages[0].content", "list of content parts"},
      {Endpoint::chat, R"({"model":"m","messages":[{"role":"u","content":[5]}]})",
       "messages[0].content[0]", "object"},
      {Endpoint::chat, R"({"model":"m","messages":[{"role":"u","content":[{"type":"text"}]}]})",
       "messages[0].content[0].text", "string"},
      {Endpoint::chat, R"({"model":"m","stream":"yes"})", "stream", "true or false"},
      {Endpoint::chat, R"({"model":"m","stream_options":[]})", "stream_options", "object"},
      {Endpoint::chat, R"({"model":"m","stream_options":{"include_usage":1}})",
       "stream_options.include_usage", "true or false"},
      {Endpoint::chat, R"({"model":"m","max_tokens":-1})", "max_tokens", "integer"},
      {Endpoint::chat, R"({"model":"m","max_tokens":4294967296})", "max_tokens", "integer"},
      {Endpoint::chat, R"({"model":"m","user":{}})", "user", "string"},
      {Endpoint::completions, R"({"model":"m"})", "prompt", "provide"},
      {Endpoint::completions, R"({"model":"m","prompt":[]})", "prompt", "list"},
      {Endpoint::completions, R"({"model":"m","prompt":{}})", "prompt", "list"},
      {Endpoint::completions, R"({"model":"m","prompt":["a",1]})", "prompt", "list"},
      {Endpoint::completions, R"({"model":"m","prompt":[1,"a"]})", "prompt", "list"},
      {Endpoint::completions, R"({"model":"m","prompt":[1,-1]})", "prompt", "list"},
      {Endpoint::completions, R"({"model":"m","prompt":[[1],2]})", "prompt", "list"},
      {Endpoint::completions, R"({"model":"m","prompt":[4294967295]})", "prompt", "list"},
      {Endpoint::embeddings, R"({"model":"m"})", "input", "provide"},
      {Endpoint::responses, R"({"model":"m"})", "input", "provide"},
      {Endpoint::responses, R"({"model":"m","input":3})", "input", "string or a list"},
      {Endpoint::responses, R"({"model":"m","input":"x","instructions":[]})", "instructions",
       "string"},
  };
  for (const Case& c : cases) {
    const ApiError error = refusal(c.endpoint, c.body);
    CAPTURE(c.body.substr(0, 100));
    CAPTURE(error.message);
    CHECK(error.status == 400);
    CHECK(error.type == "invalid_request_error");
    CHECK(error.param == c.param);
    CHECK(error.message.find(c.words) != std::string::npos);
  }
}

TEST_CASE("an error as JSON survives whatever its message holds") {
  CHECK(to_json({.message = "no", .param = "model"}) ==
        R"({"error":{"message":"no","type":"invalid_request_error","param":"model","code":null}})");
  CHECK(to_json({.message = "a\"b\\c\n\x01\xff\xc3\xa9\xed\xa0\x80", .type = "t", .code = "c"}) ==
        "{\"error\":{\"message\":\"a\\\"b\\\\c\\u000a\\u0001\\ufffd\xc3\xa9\\ufffd\\ufffd\\ufffd\","
        "\"type\":\"t\",\"param\":null,\"code\":\"c\"}}");
}

TEST_CASE("the system key is that of the first 200 characters of the first system message") {
  const auto key = [](const std::string& messages) {
    return read(Endpoint::chat, R"({"model":"m","messages":[)" + messages + "]}").system_key;
  };
  const auto said = [](const std::string& role, const std::string& text) {
    return R"({"role":")" + role + R"(","content":")" + text + "\"}";
  };
  const std::string user = said("user", "hi");
  const auto hash = [](const std::string& text) { return XXH3_64bits(text.data(), text.size()); };

  CHECK(key(user) == 0);
  CHECK(key(said("system", "") + "," + user) == 0);
  CHECK(key(said("system", "Be brief.") + "," + user) == hash("Be brief."));
  CHECK(key(said("developer", "Be brief.") + "," + said("user", "else")) == hash("Be brief."));
  // In parts, and with something before it; a later one is another matter.
  CHECK(key(R"({"role":"system","content":[{"type":"text","text":"Be "},"brief."]})") ==
        hash("Be brief."));
  CHECK(key(user + "," + said("system", "Be brief.") + "," + said("system", "Now rhyme.")) ==
        hash("Be brief."));

  const std::string most(199, 'x');
  CHECK(key(said("system", most + "ab")) == hash(most + "a"));
  CHECK(key(said("system", most + "ac")) == hash(most + "a"));
  CHECK(key(said("system", most + "b")) != hash(most + "a"));
  // Characters, not bytes: the 200th has three of them.
  CHECK(key(said("system", most + "\u20ac" + "d")) == hash(most + "\u20ac"));
  CHECK(key(R"({"role":"system","content":[")" + most + "\u20ac" + R"(","more"]})") ==
        hash(most + "\u20ac"));

  const auto responses = [](const std::string& rest) {
    return read(Endpoint::responses, R"({"model":"m",)" + rest + "}").system_key;
  };
  CHECK(responses(R"("instructions":"Be brief.","input":"hi")") == hash("Be brief."));
  CHECK(responses(R"("input":"hi")") == 0);
  CHECK(responses(R"("input":[{"role":"developer","content":"Be brief."}])") == hash("Be brief."));
  CHECK(read(Endpoint::completions, R"({"model":"m","prompt":"Be brief."})").system_key == 0);
}

TEST_CASE("what tokenising needs is read where it is wanted, and nowhere else") {
  const auto wanted = [](Endpoint endpoint, const std::string& rest) {
    const std::string body = R"({"model":"m",)" + rest + "}";
    check_scan(endpoint, body);
    PromptReader reader;
    return *reader.read(endpoint, body, Tokens::wanted);
  };
  const std::string hello = R"("messages":[{"role":"user","content":"hello"}])";
  const PromptFields chat = wanted(Endpoint::chat, hello + R"(,"cache_salt":"s","stream":true)");
  CHECK(chat.token_form == TokenForm::messages);
  CHECK(chat.cache_salt == "s");
  CHECK(chat.canonical == read(Endpoint::chat, R"({"model":"m",)" + hello + "}").canonical);
  CHECK(read(Endpoint::chat, R"({"model":"m","cache_salt":"s",)" + hello + "}").token_form ==
        TokenForm::none);
  // An image stands in the text by its hash, and no engine is asked to fetch it.
  CHECK(wanted(Endpoint::chat, R"("messages":[{"role":"user","content":[{"type":"image_url",
                                 "image_url":{"url":"http://x"}}]}])")
            .token_form == TokenForm::none);
  CHECK(wanted(Endpoint::responses, R"("input":"hello")").token_form == TokenForm::none);
  CHECK(wanted(Endpoint::embeddings, R"("input":"hello")").token_form == TokenForm::none);
  CHECK(wanted(Endpoint::completions, R"("prompt":"hello")").token_form == TokenForm::text);
  CHECK(wanted(Endpoint::completions, R"("prompt":["a","b"])").token_form == TokenForm::none);
  for (const char* ids : {"[1,2,4294967294]", "[[1,2,4294967294]]"}) {
    const PromptFields given = wanted(Endpoint::completions, std::string(R"("prompt":)") + ids);
    CHECK(given.token_form == TokenForm::given);
    CHECK(given.tokens == std::vector<std::uint32_t>{1, 2, 4294967294});
  }
  const PromptFields several = wanted(Endpoint::completions, R"("prompt":[[1],[2]])");
  CHECK(several.token_form == TokenForm::none);
  CHECK(several.tokens.empty());
  CHECK(several.token_ids == 2);
  CHECK(wanted(Endpoint::chat, hello + R"(,"cache_salt":7)").cache_salt.empty());
}

TEST_CASE("templates: another key for whatever makes other tokens of the same text") {
  const auto key = [](Endpoint endpoint, const std::string& rest) {
    PromptReader reader;
    const std::string body =
        R"({"model":"m","prompt":"x","messages":[{"role":"user","content":"x"}])" + rest + "}";
    check_scan(endpoint, body);
    return reader.read(endpoint, body, Tokens::wanted)->template_key;
  };
  const std::uint64_t plain = key(Endpoint::chat, "");
  CHECK(plain == key(Endpoint::chat, R"(,"temperature":1,"chat_template":null)"));
  std::set<std::uint64_t> keys{plain, key(Endpoint::completions, "")};
  for (const char* rest :
       {R"(,"chat_template":"t")", R"(,"chat_template_kwargs":{"a":1})",
        R"(,"chat_template_kwargs":{"a":2})", R"(,"add_generation_prompt":false)",
        R"(,"continue_final_message":false)", R"(,"add_special_tokens":false)"}) {
    CHECK(keys.insert(key(Endpoint::chat, rest)).second);
  }
  CHECK(key(Endpoint::chat, R"(,"chat_template_kwargs":{"a":1})") ==
        key(Endpoint::chat, R"( , "chat_template_kwargs" : { "a" : 1 } )"));
}
