#include "node/identity/key_digest.h"

#include <doctest/doctest.h>

#include <set>

using namespace dualmesh::node;

TEST_CASE("digests are SHA-256, by the published examples") {
  CHECK(to_text(digest_of("abc")) ==
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(to_text(digest_of("")) ==
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST_CASE("a digest in text reads back; in capitals too; anything else is refused unrepeated") {
  const KeyDigest digest = digest_of("key");
  CHECK(*read_key_digest(to_text(digest)) == digest);
  std::string capitals = to_text(digest);
  for (std::size_t i = 7; i < capitals.size(); ++i) {
    if (capitals[i] >= 'a' && capitals[i] <= 'f') capitals[i] -= 32;
  }
  CHECK(*read_key_digest(capitals) == digest);
  const std::string good = to_text(digest);
  for (const std::string& bad :
       {std::string("sk-secret"), std::string(), std::string("sha256:"), good.substr(7), good + "0",
        good.substr(0, good.size() - 1), "sha256: " + good.substr(8), "sha256:-" + good.substr(8),
        good.substr(0, good.size() - 1) + "g", "SHA256:" + good.substr(7)}) {
    CAPTURE(bad);
    const auto read = read_key_digest(bad);
    REQUIRE(read.has_error());
    if (bad.size() > 8) CHECK(read.error().message.find(bad) == std::string::npos);
  }
}

TEST_CASE("digests differ in any byte, and only then") {
  const KeyDigest digest = digest_of("key");
  for (std::size_t i = 0; i < digest.size(); ++i) {
    KeyDigest other = digest;
    other[i] ^= 1;
    CHECK(!equal_in_constant_time(digest, other));
  }
  CHECK(equal_in_constant_time(digest, digest_of("key")));
}

TEST_CASE("a setting is a digest or a key in clear") {
  CHECK(digest_of_setting("token") == digest_of("token"));
  CHECK(digest_of_setting(to_text(digest_of("token"))) == digest_of("token"));
}

TEST_CASE("keys are made from all bytes of the randomness given") {
  std::array<unsigned char, 32> random{};
  std::set<std::string> keys{make_key(random)};
  for (unsigned char& byte : random) {
    byte = 1;
    CHECK(keys.insert(make_key(random)).second);
  }
  CHECK(keys.begin()->size() == 4 + 64);
}
