// What is asked of /tokenize, and what is believed of its answers.
#include "node/tokens/tokenize_messages.h"

#include <doctest/doctest.h>

#include <string>

using namespace dualmesh;
using namespace dualmesh::node;

TEST_CASE("what decides the tokens is passed on as it was spelled, and nothing else") {
  CHECK(tokenize_body(R"( { "model" : "m" , "stream":true, "messages" : [ {"role":"user",
      "content":"a \"quoted\" \\"} ] ,"max_tokens" : 7 } )") ==
        R"({"model" : "m" ,"messages" : [ {"role":"user",
      "content":"a \"quoted\" \\"} ] })");
  CHECK(tokenize_body(R"({"prompt":"a,b}]","temperature":0.5})") == R"({"prompt":"a,b}]"})");
  CHECK(tokenize_body(R"({"temperature":0.5,"prompt":"\\","x":{"prompt":[1,{"a":"}"}]}})") ==
        R"({"prompt":"\\"})");
  CHECK(tokenize_body("{}") == "{}");
  const std::string all =
      R"("tools":[{"a":[]}],"chat_template":"t","chat_template_kwargs":{"b":{"c":1}},)"
      R"("add_generation_prompt":false,"continue_final_message":true,"add_special_tokens":null)";
  CHECK(tokenize_body("{\"user\":\"u\"," + all + ",\"n\":1}") == "{" + all + "}");
  // A field given twice counts as given last there as here.
  CHECK(tokenize_body(R"({"model":"a","n":1,"model":"b"})") == R"({"model":"a","model":"b"})");
}

TEST_CASE("a body cut anywhere is walked without harm") {
  const std::string body = R"({"model":"m\"","messages":[{"content":"x\\"}],"tools":[[],{}]})";
  for (std::size_t size = 0; size < body.size(); ++size) {
    CHECK(tokenize_body(body.substr(0, size)).size() <= body.size() + 2);
  }
}

TEST_CASE("answers: tokens, or nothing") {
  using Ids = std::vector<policies::TokenId>;
  CHECK(read_tokenize_answer(R"({"count":2,"max_model_len":9,"tokens":[1,4294967294]})") ==
        Ids{1, 4294967294});
  CHECK(read_tokenize_answer(R"({"tokens":[],"token_strs":null})") == Ids{});
  for (const char* bad : {"", "[]", "{}", R"({"tokens":7})", R"({"tokens":[-1]})",
                          R"({"tokens":[4294967295]})", R"({"tokens":[1.5]})",
                          R"({"tokens":[1,"2"]})", R"({"tokens":[[1]]})", R"({"tokens":[1})"}) {
    CAPTURE(bad);
    CHECK_FALSE(read_tokenize_answer(bad));
  }
  std::string large = R"({"tokens":[0)";
  for (int i = 0; i < 300'000; ++i) large += ",12345";
  CHECK(read_tokenize_answer(large + "]}")->size() == 300'001);
  CHECK(read_tokenize_answer(R"({"tokens":[3]})") == Ids{3});  // after a large one
}
