// The characters of heads against naive twins, and fields by name however their names are alike.
#include "net/head_text.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>

#include "net/field_kind.h"
#include "net/http_message.h"
#include "net/http_writer.h"

using namespace dualmesh::net;

namespace {

bool may_be_in_token(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         (c != '\0' && std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos);
}

bool equal_naively(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

// Mostly good characters, and one of any kind here and there.
std::string random_text(std::mt19937_64& random) {
  std::string text(random() % 50, 'a');
  for (char& c : text) {
    c = random() % 12 == 0 ? static_cast<char>(random()) : "abzAZ-09"[random() % 8];
  }
  return text;
}

}  // namespace

TEST_CASE("where tokens end and control characters stand, wherever that is") {
  std::mt19937_64 random(7);
  for (int i = 0; i < 20'000; ++i) {
    const std::string text = random_text(random);
    std::size_t token = 0, control = 0;
    while (token < text.size() && may_be_in_token(text[token])) ++token;
    const auto is_bad = [](unsigned char c) { return (c < 0x20 && c != '\t') || c == 0x7f; };
    while (control < text.size() && !is_bad(static_cast<unsigned char>(text[control]))) ++control;
    CAPTURE(text);
    const char* const begin = text.data();
    CHECK(token_end(begin, begin + text.size()) == begin + token);
    CHECK(find_control(begin, begin + text.size()) == begin + control);
    CHECK(is_field_value(text) == (control == text.size()));
  }
}

TEST_CASE("all that may end a line or spoil it is found, in its order") {
  std::mt19937_64 random(9);
  for (int i = 0; i < 5'000; ++i) {
    std::string text;
    for (auto parts = random() % 6; parts > 0; --parts) text += random_text(random);
    CAPTURE(text);
    StopFinder stops(text);
    const char* const end = text.data() + text.size();
    const char* at = text.data();
    for (const char* from = at; from != end;) {
      at = stops.next(from);
      const auto is_stop = [](unsigned char c) { return c < 0x20 || c >= 0x7f; };
      REQUIRE(at == std::find_if(from, end, is_stop));
      if (at == end) break;
      from = at + 1 + random() % static_cast<std::size_t>(end - at);
    }
    CHECK(stops.next(at) == at);
  }
}

TEST_CASE("texts are equal but for the case of their letters") {
  std::mt19937_64 random(8);
  for (int i = 0; i < 20'000; ++i) {
    const std::string text = random_text(random);
    std::string other = text;
    if (!other.empty()) other[random() % other.size()] ^= static_cast<char>(1 << random() % 8);
    CAPTURE(text);
    CAPTURE(other);
    CHECK(equals_ignoring_case(text, other) == equal_naively(text, other));
    if (equals_ignoring_case(text, other)) {
      CHECK(name_fingerprint(text) == name_fingerprint(other));
    }
  }
}

TEST_CASE("names with the same ends and size are still different names") {
  const std::string one = "x-tenant-aaaa-of-caller", two = "x-tenant-bbbb-of-caller";
  REQUIRE(name_fingerprint(one) == name_fingerprint(two));
  Headers headers;
  headers.add(one, "1");
  CHECK_FALSE(headers.has(two));
  headers.add("X-Tenant-BBBB-of-Caller", "2");
  CHECK(headers.find(two) == "2");
  headers.set(one, "3");
  CHECK(headers.size() == 2);
  CHECK(headers.find(one) == "3");
  headers.remove(two);
  CHECK(headers.size() == 1);
  CHECK(field_kind("transfer-encoding", name_fingerprint("transfer-encoding")) ==
        FieldKind::transfer_encoding);
  CHECK(field_kind("transfer_encoding", name_fingerprint("transfer_encoding")) ==
        FieldKind::disguised);
  CHECK(field_kind("transfer.encoding", name_fingerprint("transfer.encoding")) == FieldKind::other);
}

TEST_CASE("a value of the fields themselves survives being put among them") {
  Headers headers;
  headers.add("a", std::string(100, 'x'));
  for (int i = 0; i < 20; ++i) headers.add("b", headers[0].value);
  headers.set("b", headers[1].value);
  CHECK(headers.size() == 2);
  CHECK(headers.find("b") == std::string(100, 'x'));
  Headers few;  // so few bytes that they may lie within a string
  few.add("k", "v1");
  Headers copy = few;
  copy.set("x-a-longer-name", copy.find("k"));
  CHECK(copy.find("x-a-longer-name") == "v1");
}

TEST_CASE("fields are written alike, whether they are copied together or one by one") {
  HttpRequest request;
  request.method = "GET";
  request.target = "/";
  const std::string head = "A: 1\r\nB:2\r\nC:  3 \r\nDrop: 4\r\nE: 5\r\nx-own-f: 6\r\nG: 7\r\n";
  std::vector<Headers::Place> places;
  const auto place = [&](std::string_view name, std::string_view value, bool as_written) {
    const auto at = static_cast<std::uint32_t>(head.find(name));
    const auto value_at = static_cast<std::uint32_t>(head.find(value, at + name.size()));
    places.push_back({at, static_cast<std::uint32_t>(name.size()), value_at,
                      static_cast<std::uint32_t>(value.size()), name_fingerprint(name),
                      as_written});
  };
  place("A", "1", true);
  place("B", "2", false);
  place("C", "3", false);
  place("Drop", "4", true);
  place("E", "5", true);
  place("x-own-f", "6", true);
  place("G", "7", true);
  request.headers.adopt(head, places);
  request.headers.add("H", "8");
  FieldChanges changes;
  changes.dropped = {"drop"};
  changes.dropped_prefix = "x-own-";
  changes.set.push_back({"i", "9\n"});
  std::string out;
  append_request_head(out, request, "host", 0, changes);
  CHECK(out ==
        "GET / HTTP/1.1\r\nHost: host\r\nA: 1\r\nB: 2\r\nC: 3\r\nE: 5\r\nG: 7\r\nH: 8\r\n"
        "i: 9 \r\n\r\n");
}

TEST_CASE("a body grows, is cut, and is never a view of null") {
  ByteBuffer body;
  CHECK(std::string_view(body).data() != nullptr);
  body += "abc";
  std::copy_n("defgh", 5, body.grow(10));
  body.cut(8);
  CHECK(std::string_view(body) == "abcdefgh");
  const ByteBuffer moved = std::move(body);
  body = {};
  CHECK(body.empty());
  CHECK(std::string_view(body).data() != nullptr);
  CHECK(moved == "abcdefgh");
}
