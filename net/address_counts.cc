#include "net/address_counts.h"

namespace dualmesh::net {
namespace {

// No IPv6 network begins with zeros, so the two kinds do not meet.
std::uint64_t key_of(const asio::ip::address& address) {
  if (address.is_v4()) return address.to_v4().to_uint();
  const auto bytes = address.to_v6().to_bytes();
  std::uint64_t network = 0;
  for (std::size_t i = 0; i < sizeof network; ++i) network = network << 8 | bytes[i];
  return network;
}

}  // namespace

asio::ip::address unmapped(const asio::ip::address& address) {
  if (!address.is_v6() || !address.to_v6().is_v4_mapped()) return address;
  return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
}

std::unique_ptr<AddressCounts::Place> AddressCounts::enter(const asio::ip::address& address,
                                                           std::size_t limit) {
  const std::uint64_t key = key_of(unmapped(address));
  const std::lock_guard lock(mutex_);
  std::size_t& count = counts_[key];
  if (count >= limit) return nullptr;  // so it was there before
  ++count;
  return std::make_unique<Place>(*this, key);
}

void AddressCounts::leave(std::uint64_t key) {
  const std::lock_guard lock(mutex_);
  const auto found = counts_.find(key);
  if (--found->second == 0) counts_.erase(found);
}

std::size_t AddressCounts::addresses() const {
  const std::lock_guard lock(mutex_);
  return counts_.size();
}

}  // namespace dualmesh::net
