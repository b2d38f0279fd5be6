#include "node/identity/key_digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <charconv>
#include <memory>

namespace dualmesh::node {
namespace {

constexpr std::string_view kScheme = "sha256:";
constexpr std::string_view kKeyPrefix = "dmk-";  // so that scanners for leaked secrets know one

// Fetched once: OpenSSL looks an algorithm up by name each time otherwise, at several times the
// cost of the hash.
const EVP_MD* sha256() {
  static const std::unique_ptr<EVP_MD, decltype(&EVP_MD_free)> md(
      EVP_MD_fetch(nullptr, "SHA256", nullptr), &EVP_MD_free);
  return md.get();
}

std::string to_hex(std::span<const unsigned char> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const unsigned char byte : bytes) {
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

}  // namespace

KeyDigest digest_of(std::string_view key) {
  KeyDigest digest;
  unsigned size = 0;
  const int done = EVP_Digest(key.data(), key.size(), digest.data(), &size, sha256(), nullptr);
  DUALMESH_CHECK(done == 1 && size == digest.size(), "SHA-256 of {} bytes", key.size());
  return digest;
}

bool equal_in_constant_time(const KeyDigest& a, const KeyDigest& b) {
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string to_text(const KeyDigest& digest) { return std::string(kScheme) + to_hex(digest); }

net::Result<KeyDigest> read_key_digest(std::string_view text) {
  KeyDigest digest;
  const net::Error refused{
      "must be sha256: and 64 hexadecimal digits, as dualmeshctl hash-key "
      "prints it"};
  if (!text.starts_with(kScheme) || text.size() != kScheme.size() + 2 * digest.size()) {
    return refused;
  }
  text.remove_prefix(kScheme.size());
  for (std::size_t i = 0; i < digest.size(); ++i) {
    const char* digits = text.data() + 2 * i;
    const auto [end, error] = std::from_chars(digits, digits + 2, digest[i], 16);
    if (error != std::errc{} || end != digits + 2) return refused;
  }
  return digest;
}

KeyDigest digest_of_setting(std::string_view key_or_digest) {
  const auto digest = read_key_digest(key_or_digest);
  return digest ? *digest : digest_of(key_or_digest);
}

std::string make_key(std::span<const unsigned char, 32> random) {
  return std::string(kKeyPrefix) + to_hex(random);
}

}  // namespace dualmesh::node
