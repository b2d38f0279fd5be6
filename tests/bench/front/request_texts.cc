#include "tests/bench/front/request_texts.h"

#include <cstdint>
#include <cstdio>

namespace dualmesh::bench {
namespace {

std::string post(const std::string& fields, const std::string& body) {
  return "POST /v1/chat/completions HTTP/1.1\r\nHost: router.example:8080\r\n" + fields + "\r\n" +
         body;
}

std::string with_length(const std::string& body) {
  return post(
      "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n",
      body);
}

}  // namespace

std::string chat_request(std::size_t body_bytes, bool stream, std::size_t number) {
  const std::string begin =
      std::string(R"({"stream":)") + (stream ? "true" : "false") +
      R"(,"model":"sim","messages":[{"role":"system","content":)"
      R"("You are a helpful assistant. Be brief."},{"role":"user","content":")";
  const std::string end = R"("}],"temperature":0.7,"max_tokens":200})";
  char tag[24];
  std::snprintf(tag, sizeof tag, "%016lx ", number * 0x9E3779B97F4A7C15);
  std::string text = tag;
  while (begin.size() + text.size() + end.size() < body_bytes) {
    text += R"(The quick brown fox said \"no\" and went on.\n )";
  }
  const std::string body = begin + text + end;
  return post(
      "Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nAccept: application/json\r\n"
      "Content-Type: application/json\r\nUser-Agent: OpenAI/Python 1.54.0\r\n"
      "X-Stainless-Lang: python\r\nX-Stainless-Package-Version: 1.54.0\r\nX-Stainless-OS: Linux\r\n"
      "X-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\nX-Stainless-Runtime-Version: "
      "3.11.2\r\n"
      "Authorization: Bearer sk-0123456789abcdef\r\nX-Stainless-Retry-Count: "
      "0\r\nContent-Length: " +
          std::to_string(body.size()) + "\r\n",
      body);
}

const std::vector<std::string>& bad_requests() {
  static const std::vector<std::string> requests = {
      post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
      post("Content-Length: 3, 4\r\n", "abc"),
      post("Transfer-Encoding: chunked\r\n", "zz\r\nabc\r\n"),
      post("Content-Length: 9999999999\r\n", ""),
      post("Bad Name: x\r\nContent-Length: 0\r\n", ""),
      post("X-Long: " + std::string(100'000, 'x') + "\r\n", ""),
      with_length(R"({"model":"sim","messages":[)"),
      with_length(R"({"model":"nobody-serves-it","messages":[{"role":"user","content":"hi"}]})"),
      with_length("\xff\xfe"),
      "GET /nothing/here HTTP/1.1\r\nHost: a\r\n\r\n",
      "GET /v1/models HTTP/1.1\r\n\r\n",
  };
  return requests;
}

}  // namespace dualmesh::bench
