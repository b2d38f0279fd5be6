// JsonScan beside simdjson: what it takes is JSON, what it tells is what the tree says, and cuts do
// not matter.
#include "net/json_scan.h"

#include <doctest/doctest.h>
#include <simdjson.h>

#include <random>
#include <vector>

using namespace dualmesh::net;

namespace {

using Token = JsonScan::Token;

// All tokens of a text in one line; the scan sees it grow to each of the cuts, in memory of exactly
// that size.
std::string tokens_of(const std::string& text, const std::vector<std::size_t>& cuts = {}) {
  std::string all;
  JsonScan scan;
  const auto read = [&](std::string_view so_far) {
    for (;;) {
      const Token token = scan.next(so_far);
      if (token == Token::more || token == Token::end) {
        if (!scan.check_utf8(so_far)) all = "not UTF-8";
        return token;
      }
      if (token == Token::failed) return token;
      const std::size_t begin = scan.token_begin();
      all += std::to_string(static_cast<int>(token)) + "@" + std::to_string(begin) + "-" +
             std::to_string(scan.position());
      if (token == Token::string || token == Token::key) all += unescaped(scan.string(so_far));
      all += ";";
    }
  };
  for (const std::size_t cut : cuts) {
    const std::vector<char> so_far(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(cut));
    if (read({so_far.data(), so_far.size()}) == Token::failed) return "failed";
    if (all == "not UTF-8") return all;
  }
  const std::vector<char> whole(text.begin(), text.end());
  switch (read({whole.data(), whole.size()})) {
    case Token::failed:
      return "failed";
    case Token::end:
      return all;
    default:
      return all == "not UTF-8" ? all : "incomplete";
  }
}

bool is_taken(const std::string& text) { return tokens_of(text).find(';') != std::string::npos; }

bool is_json(const std::string& text) {
  simdjson::dom::parser parser;
  REQUIRE(parser.allocate(64 * 1024, JsonScan::kMaxDepth) == simdjson::SUCCESS);
  return parser.parse(text).error() == simdjson::SUCCESS;
}

}  // namespace

TEST_CASE("what is plain JSON is taken, and what is none is not") {
  struct Case {
    const char* text;
    bool taken;
  };
  const Case cases[] = {
      {"{}", true},
      {" [ ] ", true},
      {"[1,-2,0,-0,1.5,1e5,1E-07,-0.0e+1,123456789012345678]", true},
      {R"({"a":{"b":[true,false,null]},"":""})", true},
      {R"(["\"\\\/\b\f\n\r\t\u0000\ud83d\ude00\u00E9"])", true},
      {"[\"\x7f\"]", true},
      {"[\"caf\xc3\xa9 \xf0\x9f\x98\x80\"]", true},
      {"", false},
      {" ", false},
      {"{", false},
      {"[", false},
      {"[1", false},
      {"[1,]", false},
      {"[,1]", false},
      {"[1 2]", false},
      {"{1:2}", false},
      {"{\"a\"}", false},
      {"{\"a\":}", false},
      {"{\"a\":1,}", false},
      {"{\"a\" 1}", false},
      {"{\"a\":1]", false},
      {"[1}", false},
      {"[1]]", false},
      {"[1] 2", false},
      {"[01]", false},
      {"[1.]", false},
      {"[.5]", false},
      {"[+1]", false},
      {"[-]", false},
      {"[1e]", false},
      {"[1e+]", false},
      {"[1.e5]", false},
      {"[--1]", false},
      {"[0x1]", false},
      {"[1a]", false},
      {"[NaN]", false},
      {"[tru]", false},
      {"[truee]", false},
      {"[nulll]", false},
      {"['a']", false},
      {"[\"a]", false},
      {"[\"\\x\"]", false},
      {"[\"\\u12g4\"]", false},
      {"[\"\\u12\"]", false},
      {"[\"a\nb\"]", false},
      {"[\"a\tb\"]", false},
      {"[\"\x80\"]", false},
      {"[\"\xc3\"]", false},
      {"[\"\xed\xa0\x80\"]", false},
      {"[\"\xf4\x90\x80\x80\"]", false},
      {"[\"\xc0\xaf\"]", false},
      {"\xef\xbb\xbf[]", false},
      {"[/*x*/]", false},
  };
  for (const Case& c : cases) {
    CAPTURE(c.text);
    CHECK(is_taken(c.text) == c.taken);
    if (c.taken) CHECK(is_json(c.text));
  }
  CHECK_FALSE(is_taken(std::string("[1]\0", 4)));
  CHECK_FALSE(is_taken(std::string("[\"\0\"]", 5)));
}

TEST_CASE("rare spellings are left to others") {
  for (const char* text : {"[12345678901234567890]", "[1e100]", "[1e999]", R"(["\ud83d"])",
                           R"(["\ude00"])", R"(["\ud83d\u0041"])", R"(["\ud83dx"])"}) {
    CAPTURE(text);
    CHECK_FALSE(is_taken(text));
  }
  CHECK_FALSE(is_taken("[0." + std::string(100, '1') + "]"));
}

// An empty list at the bottom does not count for simdjson; it does for us.
TEST_CASE("as deep as the tree may be, and no deeper") {
  for (std::size_t levels = 250; levels < 262; ++levels) {
    const std::string lists = std::string(levels, '[') + std::string(levels, ']');
    CAPTURE(levels);
    CHECK(is_taken(lists) == (levels < JsonScan::kMaxDepth));
    CHECK((!is_taken(lists) || is_json(lists)));
    std::string objects;
    for (std::size_t i = 0; i < levels; ++i) objects += "{\"a\":";
    objects += "1" + std::string(levels, '}');
    CHECK(is_taken(objects) == is_json(objects));
  }
}

TEST_CASE("cuts do not matter") {
  const std::string text =
      "{\"key\": [1.25e-3, -17, true, {\"caf\xc3\xa9\": \"a\\n\\ud83d\\ude00 "
      "\xf0\x9f\x98\x80\"}, null, \"" +
      std::string(200, 'x') + "\\\"\"], \"n\" : false } ";
  const std::string whole = tokens_of(text);
  REQUIRE(whole.find(';') != std::string::npos);
  std::vector<std::size_t> all;
  for (std::size_t cut = 0; cut < text.size(); ++cut) {
    all.push_back(cut);
    CHECK(tokens_of(text, {cut}) == whole);
    CHECK(tokens_of(text, {cut / 2, cut}) == whole);
  }
  CHECK(tokens_of(text, all) == whole);
  CHECK(tokens_of("{\"a\":\"\xff" + text, all) != whole);
}

namespace {

JsonString read_string(const std::string& text) {
  JsonScan scan;
  REQUIRE(scan.next(text) == Token::string);
  return scan.string(text);
}

// As it should be, from what it says.
std::string spelled(const std::string& says) {
  std::string text;
  for (const char c : says) {
    char escape[6];
    text += must_be_escaped(c) ? minimal_escape(c, escape) : std::string_view(&c, 1);
  }
  return text;
}

}  // namespace

TEST_CASE("the minimal spelling is that of simdjson, and is known by sight") {
  using Spelling = JsonString::Spelling;
  std::string all;
  for (int c = 0; c < 0x80; ++c) all += static_cast<char>(c);
  all += "\u00e9\u4f60\U0001f600";
  simdjson::dom::parser parser;
  simdjson::dom::element tree = parser.parse("\"" + spelled(all) + "\"").value();
  CHECK(std::string(tree.get_string().value()) == all);
  CHECK(std::string(simdjson::minify(tree)) == "\"" + spelled(all) + "\"");

  CHECK(read_string(R"("caf\u00e9")").spelling == Spelling::other);
  CHECK(read_string("\"caf\u00e9 / '\x7f\"").spelling == Spelling::plain);
  CHECK(read_string(R"("\"\\\b\f\n\r\t")").spelling == Spelling::minimal);
  for (const char* other : {R"("\/")", R"("\u000a")", R"("\u001f")", R"("\ud83d\ude00")"}) {
    CHECK(read_string(other).spelling == Spelling::other);
  }
}

TEST_CASE("a string ends where it does, and is spelled as it is, whatever it holds") {
  const std::vector<std::string> parts{"x",
                                       "\\n",
                                       "\\\"",
                                       "\\\\",
                                       "\\/",
                                       "\\u0041",
                                       "\\ud83d\\ude00",
                                       "\u00e9",
                                       std::string(61, 'y')};
  std::mt19937 random(6);
  for (int round = 0; round < 20'000; ++round) {
    std::string raw;
    for (std::size_t count = random() % 40; count > 0; --count) {
      raw += parts[random() % 100 == 0 ? random() % parts.size() : random() % 4];
    }
    const std::string text = "\"" + raw + "\"" + std::string(random() % 70, ' ');
    const JsonString found = read_string(text);
    CAPTURE(text);
    CHECK(found.raw == raw);
    CHECK(found.escaped() == (raw.find('\\') != std::string::npos));
    CHECK(found.is_minimal() == (spelled(unescaped(found)) == raw));
    JsonScan cut;
    for (std::size_t size = 0; size <= raw.size() + 1; ++size) {
      if (cut.next(text.substr(0, size)) != Token::more) FAIL("a string too early");
      size += random() % 40;
    }
    CHECK(cut.next(text) == Token::string);
    CHECK(cut.string(text).spelling == found.spelling);
  }
}

TEST_CASE("what is changed anywhere is taken only if it is JSON still") {
  const std::string text = R"({"a":[1,2.5e1,{"b":"x\u0041\n"}],"c":true,"d":null,"é":"😀"})";
  REQUIRE(is_taken(text));
  std::mt19937 random(5);
  const std::string bytes = "\"\\{}[]:,0123456789.eE+-tfnu \n\x01\x80\xc3\xf0";
  int taken = 0;
  for (int round = 0; round < 40'000; ++round) {
    std::string changed = text;
    for (std::size_t changes = 1 + random() % 3; changes > 0; --changes) {
      const std::size_t at = random() % changed.size();
      if (random() % 3 == 0) {
        changed.erase(at, 1);
      } else {
        changed.replace(at, random() % 2, 1, bytes[random() % bytes.size()]);
      }
    }
    const std::string whole = tokens_of(changed);
    if (whole.find(';') == std::string::npos) continue;
    ++taken;
    CAPTURE(changed);
    CHECK(is_json(changed));
    CHECK(tokens_of(changed, {random() % changed.size()}) == whole);
  }
  CHECK(taken > 1'000);
}
