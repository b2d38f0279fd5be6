// AddressCounts: how many connections each client address has. Private to net/*.cc.
//
// IPv6 addresses count by their first 64 bits: a host has all of the rest. An IPv4 address is the
// same whether it came to an IPv4 or an IPv6 listener.
//
// Invariant: an address is kept while it has places, and no longer.
// Threads: any.
#pragma once

#include <asio/ip/address.hpp>
#include <cstddef>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace dualmesh::net {

// An IPv4 address that came as an IPv6 one, as the former.
asio::ip::address unmapped(const asio::ip::address& address);

class AddressCounts {
 public:
  // One connection's; given back when it goes.
  class Place {
   public:
    Place(AddressCounts& counts, std::uint64_t key) : counts_(counts), key_(key) {}
    ~Place() { counts_.leave(key_); }
    Place(const Place&) = delete;

   private:
    AddressCounts& counts_;
    std::uint64_t key_;
  };

  // Null when the address has `limit` already.
  std::unique_ptr<Place> enter(const asio::ip::address& address, std::size_t limit);
  std::size_t addresses() const;

 private:
  void leave(std::uint64_t key);

  mutable std::mutex mutex_;
  std::unordered_map<std::uint64_t, std::size_t> counts_;
};

}  // namespace dualmesh::net
