// Framing and smuggling: a table of heads with verdicts; each is fed whole, byte by byte and at
// random cuts, and the verdict must not depend on it.
#include "net/http_parser.h"

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

using namespace dualmesh::net;

namespace {

struct Verdict {
  int status = 0;  // 0: accepted; otherwise the refusal; -1: wants more
  BodyFraming::Kind framing = BodyFraming::Kind::none;
  std::uint64_t length = 0;
  bool keep_alive = false;
  std::size_t head_size = 0;
  std::string target;
  std::size_t fields = 0;
  bool operator==(const Verdict&) const = default;
};

// Feeds up to each cut in turn and stops at the first verdict.
template <class Parser, class Message>
Verdict judge(Parser parser, const std::string& bytes, const std::vector<std::size_t>& cuts) {
  Message message;
  for (const std::size_t cut : cuts) {
    switch (parser.parse(std::string_view(bytes).substr(0, cut), message)) {
      case Parsed::need_more:
        continue;
      case Parsed::failed:
        return {parser.error_status()};
      case Parsed::complete:
        break;
    }
    Verdict verdict{0, parser.framing().kind, parser.framing().length, parser.keep_alive(),
                    parser.head_size()};
    if constexpr (std::is_same_v<Message, HttpRequest>) verdict.target = message.target;
    verdict.fields = message.headers.size();
    return verdict;
  }
  return {-1};
}

template <class Parser, class Message>
Verdict judge_every_way(const Parser& parser, const std::string& bytes) {
  CAPTURE(bytes);
  const Verdict whole = judge<Parser, Message>(parser, bytes, {bytes.size()});
  std::vector<std::size_t> each;
  for (std::size_t i = 1; i <= bytes.size(); ++i) each.push_back(i);
  CHECK(judge<Parser, Message>(parser, bytes, each) == whole);
  std::mt19937 random(static_cast<std::uint32_t>(bytes.size()));
  for (int round = 0; round < 20; ++round) {
    std::vector<std::size_t> cuts;
    for (std::size_t at = 0; at < bytes.size();) {
      cuts.push_back(at = std::min(bytes.size(), at + 1 + random() % 30));
    }
    CHECK(judge<Parser, Message>(parser, bytes, cuts) == whole);
  }
  return whole;
}

Verdict request(const std::string& bytes, HeadLimits limits = {}) {
  return judge_every_way<RequestParser, HttpRequest>(RequestParser(limits), bytes);
}
Verdict response(const std::string& bytes, bool answers_head = false) {
  return judge_every_way<ResponseParser, HttpResponse>(ResponseParser(HeadLimits{}, answers_head),
                                                       bytes);
}

std::string with(const std::string& fields) {
  return "POST /x HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n";
}

using Kind = BodyFraming::Kind;

}  // namespace

TEST_CASE("a Connection field names a few fields that end here, not hundreds") {
  std::string options;
  for (int i = 0; i < 17; ++i) options += "x" + std::to_string(i) + ",";
  const std::string head = "GET / HTTP/1.1\r\nHost: a\r\nConnection: " + options + "\r\n\r\n";
  HttpRequest request;
  RequestParser parser(HeadLimits{});
  CHECK(parser.parse(head, request) == Parsed::failed);
  CHECK(parser.error_status() == 400);
}

TEST_CASE("requests that are refused, and how") {
  const std::string nul(1, '\0');
  const std::pair<std::string, int> cases[] = {
      // line ends
      {"GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\n\n", 400},
      {"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", 400},
      {"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      // request line
      {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
      {"GET /\r\n", 400},
      {"GET\r\n", 400},
      {"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET /" + nul + " HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET ftp://a/x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
      {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400},
      {"GET / HTTP/11\r\nHost: a\r\n\r\n", 400},
      {"GET / http/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET / XHTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET / HTTP/1,1\r\nHost: a\r\n\r\n", 400},
      {"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 501},
      {"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 501},
      {"get / HTTP/1.1\r\nHost: a\r\n\r\n", 501},
      {"GET /v1/../metrics HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET http://a/v1/%2e%2e HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      // hosts
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400},
      {"GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400},
      // field lines
      {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
      {with("x: 1\r\n folded\r\n"), 400},
      {with("x: 1\r\n\tfolded\r\n"), 400},
      {with("x : 1\r\n"), 400},
      {with("x\t: 1\r\n"), 400},
      {with(": 1\r\n"), 400},
      {with("x\r\n"), 400},
      {with("x y: 1\r\n"), 400},
      {with("x(: 1\r\n"), 400},
      {with("x\xc3: 1\r\n"), 400},
      {with("x: a" + nul + "b\r\n"), 400},
      {with("x: a\rb\r\n"), 400},
      {with("x: a\x0b" + std::string("b\r\n")), 400},
      {with("x: a\x7f\r\n"), 400},
      {with("Connection: a b\r\n"), 400},
      // framing
      {with("Content-Length: 1\r\nContent-Length: 1\r\n"), 400},
      {with("Content-Length: 1\r\nContent-Length: 2\r\n"), 400},
      {with("Content-Length: 1,1\r\n"), 400},
      {with("Content-Length: +1\r\n"), 400},
      {with("Content-Length: -1\r\n"), 400},
      {with("Content-Length: 1 1\r\n"), 400},
      {with("Content-Length: 0x1\r\n"), 400},
      {with("Content-Length: 1_0\r\n"), 400},
      {with("Content-Length: 1.0\r\n"), 400},
      {with("Content-Length:\r\n"), 400},
      {with("Content-Length: 9999999999999999999\r\n"), 400},
      {with("Content-Length: 18446744073709551617\r\n"), 400},
      {with("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), 400},
      {with("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n"), 400},
      {with("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"), 400},
      {with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400},
      {with("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"), 400},
      {with("Transfer-Encoding: xchunked\r\n"), 501},
      {with("Transfer-Encoding: chunked, identity\r\n"), 501},
      {with("Transfer-Encoding: identity\r\n"), 501},
      {with("Transfer-Encoding: gzip, chunked\r\n"), 501},
      {with("Transfer-Encoding: chunked,\r\n"), 501},
      {with("Transfer-Encoding: \"chunked\"\r\n"), 501},
      {with("Transfer-Encoding:\r\n"), 501},
      {with("Transfer-Encoding: \x0b"
            "chunked\r\n"),
       400},
      {with("Transfer-Encoding : chunked\r\n"), 400},
      {with("Transfer_Encoding: chunked\r\n"), 400},
      {with("CONTENT_length: 3\r\n"), 400},
      {with("Transfer\tEncoding: chunked\r\n"), 400},
      {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {with("Expect: 200-ok\r\n"), 417},
  };
  for (const auto& [sent, status] : cases) {
    const std::string& bytes = sent;  // as a structured binding is not captured
    CAPTURE(bytes);
    CHECK(request(bytes).status == status);
  }
}

TEST_CASE("requests that are accepted, and where their bodies end") {
  struct Case {
    std::string bytes;
    Kind framing;
    std::uint64_t length;
    bool keep_alive;
    std::string target;
  };
  const Case cases[] = {
      {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Kind::none, 0, true, "/"},
      {"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Kind::none, 0, true, "/"},
      {"GET /a?b=c%20&d=[e] HTTP/1.1\r\nhOST:a.b:80\t \r\n\r\n", Kind::none, 0, true,
       "/a?b=c%20&d=[e]"},
      {"GET //x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", Kind::none, 0, true, "//x"},
      {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Kind::none, 0, true, "*"},
      {"GET http://A:80/x?y HTTP/1.1\r\nHost: a:80\r\n\r\n", Kind::none, 0, true, "/x?y"},
      {"GET http://a?y HTTP/1.1\r\nHost: a\r\n\r\n", Kind::none, 0, true, "/?y"},
      {"GET https://a HTTP/1.1\r\nHost: a\r\n\r\n", Kind::none, 0, true, "/"},
      {"GET / HTTP/1.0\r\n\r\n", Kind::none, 0, false, "/"},
      {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", Kind::none, 0, true, "/"},
      {with("Connection: close\r\n"), Kind::none, 0, false, "/x"},
      {with("Connection: x,, CLOSE ,y\r\n"), Kind::none, 0, false, "/x"},
      {with("Connection: close\r\nConnection: keep-alive\r\n"), Kind::none, 0, false, "/x"},
      {with("Content-Length: 0\r\n"), Kind::none, 0, true, "/x"},
      {with("Content-Length: 007\r\n"), Kind::length, 7, true, "/x"},
      {with("content-LENGTH:123456\r\n"), Kind::length, 123456, true, "/x"},
      {with("Transfer-Encoding: Chunked\r\n"), Kind::chunked, 0, true, "/x"},
      {with("x:\r\ny: \xc3\xa9\t z\r\n"), Kind::none, 0, true, "/x"},
      {with("Expect: 100-Continue\r\nContent-Length: 3\r\n"), Kind::length, 3, true, "/x"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.bytes);
    const Verdict verdict = request(c.bytes + "what follows is not read");
    CHECK(verdict.status == 0);
    CHECK(verdict.framing == c.framing);
    CHECK(verdict.length == c.length);
    CHECK(verdict.keep_alive == c.keep_alive);
    CHECK(verdict.target == c.target);
    CHECK(verdict.head_size == c.bytes.size());
  }
}

TEST_CASE("limits of a head") {
  const HeadLimits limits{100, 3};
  const std::string line(60, 'a');
  CHECK(request("GET / HTTP/1.1\r\nHost: a\r\nb: 1\r\nc: 2\r\n\r\n", limits).status == 0);
  CHECK(request("GET / HTTP/1.1\r\nHost: a\r\nb: 1\r\nc: 2\r\nd: 3\r\n\r\n", limits).status == 431);
  CHECK(request("GET /" + line + line + " HTTP/1.1\r\nHost: a\r\n\r\n", limits).status == 414);
  CHECK(request(line + line, limits).status == 414);
  CHECK(request("GET / HTTP/1.1\r\nHost: a\r\nb: " + line + line, limits).status == 431);
  CHECK(request("GET / HTTP/1.1\r\nHost: a\r\nb: " + line + "\r\nc: 1234\r\n\r\n", limits).status ==
        431);
  const std::string exact = "GET / HTTP/1.1\r\nHost: a\r\nb: " + std::string(100 - 32, 'v');
  CHECK(request(exact + "\r\n\r\n", limits).status == 0);
  CHECK(request(exact + "v\r\n\r\n", limits).status == 431);
}

TEST_CASE("unfinished heads want more") {
  const std::string head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  for (std::size_t i = 0; i < head.size(); ++i) CHECK(request(head.substr(0, i)).status == -1);
}

TEST_CASE("fields that end at this hop are gone, others are as sent") {
  HttpRequest message;
  RequestParser parser(HeadLimits{});
  const std::string bytes =
      "POST / HTTP/1.1\r\nHost: a\r\nConnection: x-private, keep-alive, content-length, host\r\n"
      "X-Private: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\nTE: trailers\r\n"
      "Trailer: x\r\nUpgrade: h2c\r\nProxy-Authorization: secret\r\nExpect: 100-continue\r\n"
      "Content-Length: 3\r\nX-Kept:  two  words \r\nx-kept: again\r\n\r\n";
  REQUIRE(parser.parse(bytes, message) == Parsed::complete);
  CHECK(parser.expects_continue());
  CHECK(parser.framing().length == 3);
  REQUIRE(message.headers.size() == 3);
  CHECK(message.headers.find("host") == "a");
  CHECK(message.headers.find("x-KEPT") == "two  words");
  CHECK(message.headers[2].value == "again");
  CHECK_FALSE(message.headers.has("content-length"));
}

TEST_CASE("answers, good and bad") {
  struct Case {
    std::string bytes;
    int status;  // of the verdict
    Kind framing;
    bool keep_alive;
  };
  const std::string start = "HTTP/1.1 200 OK\r\n";
  const Case cases[] = {
      {start + "date: x\r\nserver: uvicorn\r\ncontent-length: 5\r\ncontent-type: a\r\n\r\n", 0,
       Kind::length, true},
      {start + "transfer-encoding: chunked\r\n\r\n", 0, Kind::chunked, true},
      {start + "\r\n", 0, Kind::until_close, false},
      {start + "Connection: close\r\nContent-Length: 1\r\n\r\n", 0, Kind::length, false},
      {"HTTP/1.0 200 OK\r\n\r\n", 0, Kind::until_close, false},
      {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", 0, Kind::length, false},
      {"HTTP/1.1 204\r\nContent-Length: 5\r\n\r\n", 0, Kind::none, true},
      {"HTTP/1.1 304 \r\n\r\n", 0, Kind::none, true},
      {"HTTP/1.1 100 Continue\r\n\r\n", 0, Kind::none, true},
      {"HTTP/1.1 404 N\xc3\xb6 such\r\nContent-Length: 0\r\n\r\n", 0, Kind::none, true},
      {"HTTP/1.1 101 Switching Protocols\r\n\r\n", 502, Kind::none, false},
      {"HTTP/1.1 600 What\r\n\r\n", 502, Kind::none, false},
      {"HTTP/1.1 099 What\r\n\r\n", 502, Kind::none, false},
      {"HTTP/1.1 20 OK\r\n\r\n", 502, Kind::none, false},
      {"HTTP/1.1 2000 OK\r\n\r\n", 502, Kind::none, false},
      {"HTTP/1.1  200 OK\r\n\r\n", 502, Kind::none, false},
      {"HTTP/2 200\r\n\r\n", 502, Kind::none, false},
      {"HTTP/1.1\r\n\r\n", 502, Kind::none, false},
      {"\r\nHTTP/1.1 200 OK\r\n\r\n", 502, Kind::none, false},
      {"HTTP/1.1 200 OK\n\n", 400, Kind::none, false},
      {start + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 502, Kind::none, false},
      {start + "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 400, Kind::none, false},
      {start + "Transfer-Encoding: gzip\r\n\r\n", 502, Kind::none, false},
      {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 502, Kind::none, false},
      {start + "x: 1\r\n folded\r\n\r\n", 400, Kind::none, false},
  };
  for (const Case& c : cases) {
    CAPTURE(c.bytes);
    const Verdict verdict = response(c.bytes);
    CHECK(verdict.status == c.status);
    CHECK(verdict.framing == c.framing);
    CHECK(verdict.keep_alive == c.keep_alive);
  }
  CHECK(response(start + "Transfer-Encoding: chunked\r\n\r\n", true).framing == Kind::none);
}
