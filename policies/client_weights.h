// ClientWeights: whose service counts how much when orders share it out (order/vtc.h,
// order/dlpm.h).
//
// Clients are known by a hash of their name (API key or `user`), never by the name: an API key is a
// secret, and weights are replicated and shown. Whoever is not listed has weight 1. A client of
// weight 2 gets twice the service of one of weight 1 while both wait.
//
// Invariants: every weight is within kLeast..kMost; at most kMaxClients are read, more are an error
// of whoever lists them. Copies are cheap and share one table.
// Threads: immutable once read; copy freely.
// Source: ours; weights as in weighted fair queueing.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace dualmesh::policies {

// 0 for the empty name: unknown.
std::uint64_t client_key(std::string_view name);
// # and 16 hexadecimal digits.
std::string client_key_text(std::uint64_t key);

class ClientWeights {
 public:
  static constexpr std::size_t kMaxClients = 4'096;
  static constexpr double kLeast = 0.001;
  static constexpr double kMost = 1'000;

  double of(std::uint64_t client) const {
    if (!weights_) return 1;
    const auto found = weights_->find(client);
    return found == weights_->end() ? 1 : found->second;
  }
  bool empty() const { return !weights_; }
  std::size_t size() const { return weights_ ? weights_->size() : 0; }

  // In place of what is held. Items are NAME=WEIGHT, or #KEY=WEIGHT with the 16 hexadecimal digits
  // of the key. Empty, or what is wrong, and nothing has changed.
  std::string read(std::span<const std::string> items);
  // #KEY=WEIGHT,... by key: names are not to be had back. `read_text` is its inverse.
  std::string text() const;
  std::string read_text(std::string_view text);
  // These and those of `over`, which counts where both list a client.
  ClientWeights overlaid(const ClientWeights& over) const;
  ClientWeights without(std::span<const std::uint64_t> clients) const;

  bool operator==(const ClientWeights& other) const;

 private:
  using Table = boost::unordered_flat_map<std::uint64_t, double>;
  static ClientWeights made_of(Table table);
  std::shared_ptr<const Table> weights_;  // null when nobody is listed
};

}  // namespace dualmesh::policies
