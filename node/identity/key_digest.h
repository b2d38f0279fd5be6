// KeyDigest: an API key as it is kept, its SHA-256, in text "sha256:" and 64 hexadecimal digits.
//
// One plain pass of SHA-256 is right here, where a salt and a slow hash would be needed for
// passwords: keys are random and have at least 128 bits (dualmeshctl hash-key --new makes 256), so
// nobody tries them through, whatever a try costs; equal keys do not happen, so there is nothing to
// salt; and every request pays for the hash. Whoever chooses a key by hand gives that up.
//
// Threads: pure functions. Source: OWASP, Authentication and Password Storage Cheat Sheets: fast
// hashes are for high-entropy secrets only.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "net/error.h"

namespace dualmesh::node {

using KeyDigest = std::array<unsigned char, 32>;

KeyDigest digest_of(std::string_view key);
// In a time that does not depend on where they differ.
bool equal_in_constant_time(const KeyDigest& a, const KeyDigest& b);

std::string to_text(const KeyDigest& digest);
// The error does not repeat the text: it may be a key in clear.
net::Result<KeyDigest> read_key_digest(std::string_view text);
// The same; any other text is taken as the key itself.
KeyDigest digest_of_setting(std::string_view key_or_digest);

// A key of 256 bits, from 32 random bytes of the system's generator.
std::string make_key(std::span<const unsigned char, 32> random);

}  // namespace dualmesh::node
