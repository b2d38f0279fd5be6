#include "node/identity/namespace_salt.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <xxhash.h>

#include <algorithm>
#include <array>

#include "net/error.h"

namespace dualmesh::node {
namespace {

constexpr std::string_view kPurpose = "dualmesh namespace 1:";  // the secret may have other uses
constexpr std::size_t kSaltBytes = 16;

}  // namespace

NamespaceSalt::NamespaceSalt(std::string_view secret, std::string_view tenant) {
  const std::string message = std::string(kPurpose) + std::string(tenant);
  std::array<unsigned char, 32> mac;
  unsigned size = 0;
  const auto* done = HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
                          reinterpret_cast<const unsigned char*>(message.data()), message.size(),
                          mac.data(), &size);
  DUALMESH_CHECK(done && size == mac.size(), "HMAC of {} bytes", message.size());
  bytes_.assign(mac.begin(), mac.begin() + kSaltBytes);
}

std::string NamespaceSalt::name_space(std::string_view model) const {
  if (shares()) return std::string(model);
  std::string out(1, '\0');
  out += bytes_;
  out += model;
  return out;
}

std::uint64_t NamespaceSalt::system_key(std::uint64_t shared) const {
  if (shares() || shared == 0) return shared;
  const std::uint64_t key = XXH3_64bits_withSeed(bytes_.data(), bytes_.size(), shared);
  return std::max<std::uint64_t>(key, 1);
}

}  // namespace dualmesh::node
