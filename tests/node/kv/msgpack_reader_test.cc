// The reader of MessagePack against bytes written by hand and against another encoder.
#include "node/kv/msgpack_reader.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "tests/node/kv/guarded_bytes.h"

namespace dualmesh::node {
namespace {

using Kind = MsgpackReader::Kind;
using namespace std::string_literals;

TEST_CASE("integers of every width, signed and unsigned") {
  struct Case {
    std::string bytes;
    std::uint64_t bits;
    bool negative;
  };
  const std::vector<Case> cases{
      {"\x00"s, 0, false},
      {"\x7f", 127, false},
      {"\xe0", static_cast<std::uint64_t>(-32), true},
      {"\xff", static_cast<std::uint64_t>(-1), true},
      {"\xcc\xff", 255, false},
      {"\xcd\x01\x02", 0x0102, false},
      {"\xce\xff\x00\x00\x01"s, 0xff000001, false},
      {"\xcf\x84\xb1\x46\xb1\x51\xd5\x51\x11", 0x84b146b151d55111, false},
      {"\xd0\x05", 5, false},
      {"\xd0\x80", static_cast<std::uint64_t>(-128), true},
      {"\xd1\xff\xfe", static_cast<std::uint64_t>(-2), true},
      {"\xd2\x80\x00\x00\x00"s, static_cast<std::uint64_t>(INT32_MIN), true},
      {"\xd3\x80\x00\x00\x00\x00\x00\x00\x00"s, 0x8000000000000000, true},
      {"\xd3\x00\x00\x00\x00\x00\x00\x00\x09"s, 9, false},
  };
  for (const Case& c : cases) {
    MsgpackReader reader(c.bytes);
    std::uint64_t bits;
    bool negative;
    REQUIRE(reader.peek() == Kind::integer);
    REQUIRE(reader.read_integer(bits, negative));
    CHECK(bits == c.bits);
    CHECK(negative == c.negative);
    CHECK(reader.left() == 0);
    MsgpackReader unsigned_reader(c.bytes);
    std::uint64_t value;
    CHECK(unsigned_reader.read_unsigned(value, c.bits) == !c.negative);
    if (!c.negative && c.bits > 0) {
      MsgpackReader low(c.bytes);
      CHECK_FALSE(low.read_unsigned(value, c.bits - 1));
      CHECK(low.error() == MsgpackError::wrong_kind);
      CHECK(low.position() == 0);
    }
  }
}

TEST_CASE("a count is believed only as far as the bytes reach") {
  std::uint32_t count;
  CHECK_FALSE(MsgpackReader("\xdd\xff\xff\xff\xff").read_array(count));
  CHECK_FALSE(MsgpackReader("\x93\x01\x02").read_array(count));
  CHECK_FALSE(MsgpackReader("\x82\x01\x02\x03").read_map(count));
  CHECK(MsgpackReader("\x82\x01\x02\x03\x04").read_map(count));
  std::string_view text;
  MsgpackReader broken(
      "\xd9\x05"
      "abcd");
  CHECK_FALSE(broken.read_text(text));
  CHECK(broken.error() == MsgpackError::truncated);
  const std::string long_text = "\xd9\xff" + std::string(255, 'x');
  MsgpackReader bounded(long_text, 254);
  CHECK_FALSE(bounded.read_text(text));
  CHECK(bounded.error() == MsgpackError::too_long);
  bounded.back_to(0);
  CHECK(bounded.skip());  // what is not looked at may be long
}

TEST_CASE("the first failure ends all reading, and the reader stands still") {
  MsgpackReader reader("\x01\xc1\x02");
  double value;
  CHECK(reader.read_real(value));
  CHECK(value == 1.0);
  CHECK(reader.peek() == Kind::none);
  CHECK_FALSE(reader.read_real(value));
  CHECK(reader.error() == MsgpackError::reserved);
  CHECK_FALSE(reader.skip());
  CHECK(reader.position() == 1);
}

TEST_CASE("nothing nests too deep to be skipped") {
  const std::string deep(1'000'000, '\x91');
  MsgpackReader endless(deep);
  CHECK_FALSE(endless.skip());
  const std::string whole = deep + "\x01\x02";
  MsgpackReader reader(whole);
  CHECK(reader.skip());
  CHECK(reader.left() == 1);
}

nlohmann::json random_value(std::mt19937_64& random, int depth) {
  switch (random() % (depth > 0 ? 9 : 7)) {
    case 0:
      return nullptr;
    case 1:
      return random() % 2 == 0;
    case 2:
      return random() >> (random() % 64);
    case 3:
      return -static_cast<std::int64_t>(random() >> (1 + random() % 63));
    case 4:
      return static_cast<double>(random()) / 3.0;
    case 5:
      return std::string(random() % 300, 'x');
    case 6:
      return nlohmann::json::binary(std::vector<std::uint8_t>(random() % 300, 7));
    case 7: {
      nlohmann::json list = nlohmann::json::array();
      for (std::size_t i = random() % 20; i > 0; --i) {
        list.push_back(random_value(random, depth - 1));
      }
      return list;
    }
    default: {
      nlohmann::json map = nlohmann::json::object();
      for (std::size_t i = random() % 20; i > 0; --i) {
        map[std::to_string(i)] = random_value(random, depth - 1);
      }
      return map;
    }
  }
}

// Reads `expected` and nothing else.
void require_same(MsgpackReader& reader, const nlohmann::json& expected) {
  std::uint32_t count;
  std::string_view text;
  if (expected.is_null()) {
    REQUIRE(reader.take_nil());
  } else if (expected.is_boolean()) {
    REQUIRE(reader.peek() == Kind::boolean);
    REQUIRE(reader.skip());
  } else if (expected.is_number_integer()) {
    std::uint64_t bits;
    bool negative;
    REQUIRE(reader.read_integer(bits, negative));
    REQUIRE(bits == expected.get<std::uint64_t>());
    REQUIRE(negative == !expected.is_number_unsigned());
  } else if (expected.is_number_float()) {
    double value;
    REQUIRE(reader.read_real(value));
    REQUIRE(value == expected.get<double>());
  } else if (expected.is_string()) {
    REQUIRE(reader.read_text(text));
    REQUIRE(text == expected.get<std::string>());
  } else if (expected.is_binary()) {
    REQUIRE(reader.read_binary(text));
    REQUIRE(text.size() == expected.get_binary().size());
  } else if (expected.is_array()) {
    REQUIRE(reader.read_array(count));
    REQUIRE(count == expected.size());
    for (const auto& element : expected) require_same(reader, element);
  } else {
    REQUIRE(reader.read_map(count));
    REQUIRE(count == expected.size());
    for (const auto& [key, value] : expected.items()) {
      REQUIRE(reader.read_text(text));
      REQUIRE(text == key);
      require_same(reader, value);
    }
  }
}

TEST_CASE("reads what another encoder wrote, and skips exactly as much") {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    // An integer that is not negative is unsigned to the encoder, so -0 is none.
    const nlohmann::json value = random_value(random, 4);
    const auto encoded = nlohmann::json::to_msgpack(value);
    const std::string bytes(encoded.begin(), encoded.end());
    MsgpackReader reader(bytes);
    require_same(reader, nlohmann::json::from_msgpack(encoded));
    CHECK(reader.left() == 0);
    MsgpackReader skipper(bytes);
    CHECK(skipper.skip());
    CHECK(skipper.left() == 0);
    GuardedBytes guarded(bytes.size());
    for (std::size_t size = bytes.size() > 400 ? bytes.size() - 400 : 0; size < bytes.size();
         ++size) {
      MsgpackReader cut(guarded.hold(std::string_view(bytes).substr(0, size)));
      CHECK_FALSE(cut.skip());
    }
  }
}

// A list by an independent encoder, before memory that must not be read.
struct Encoded {
  explicit Encoded(const nlohmann::json& list)
      : bytes(nlohmann::json::to_msgpack(list)),
        guarded(bytes.size()),
        reader(guarded.hold({reinterpret_cast<const char*>(bytes.data()), bytes.size()})) {}

  std::vector<std::uint8_t> bytes;
  GuardedBytes guarded;
  MsgpackReader reader;
};

TEST_CASE("tokens in bulk are the same as one by one") {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    nlohmann::json list = nlohmann::json::array();
    std::vector<std::uint32_t> tokens(random() % 40);
    for (auto& token : tokens) {
      token = static_cast<std::uint32_t>(random()) >> (random() % 32);
      list.push_back(token);
    }
    const bool other = random() % 2 == 0;  // something else at the end
    if (other) list.push_back(random() % 2 == 0 ? nlohmann::json(-5) : nlohmann::json("no"));
    Encoded encoded(list);
    MsgpackReader& reader = encoded.reader;
    std::uint32_t count;
    REQUIRE(reader.read_array(count));
    std::vector<std::uint32_t> read(count + 1);
    const std::size_t first = tokens.empty() ? 0 : random() % tokens.size();
    CHECK(reader.read_u32s(read.data(), first) == first);
    CHECK(reader.read_u32s(read.data() + first, count - first) == tokens.size() - first);
    read.resize(tokens.size());
    CHECK(read == tokens);
    CHECK((reader.left() == 0) == !other);
  }
}

TEST_CASE("hashes in bulk are those of eight bytes, up to the first other value") {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    std::vector<std::uint64_t> hashes(random() % 20);
    nlohmann::json list = nlohmann::json::array();
    for (auto& hash : hashes) list.push_back(hash = random() | std::uint64_t{1} << 32);
    const std::size_t others = random() % 3;
    for (std::size_t i = 0; i < others; ++i) list.push_back(i == 0 ? random() >> 32 : random());
    Encoded encoded(list);
    MsgpackReader& reader = encoded.reader;
    std::uint32_t count;
    REQUIRE(reader.read_array(count));
    std::vector<std::uint64_t> read(count + 1);
    const std::size_t first = hashes.empty() ? 0 : random() % hashes.size();
    CHECK(reader.read_u64s(read.data(), first) == first);
    CHECK(reader.read_u64s(read.data() + first, count - first) == hashes.size() - first);
    read.resize(hashes.size());
    CHECK(read == hashes);
    CHECK(reader.ok());
    std::uint64_t bits;
    bool negative;
    for (std::size_t i = 0; i < others; ++i) REQUIRE(reader.read_integer(bits, negative));
    CHECK(reader.left() == 0);
  }
}

}  // namespace
}  // namespace dualmesh::node
