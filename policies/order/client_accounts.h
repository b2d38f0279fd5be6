// ClientAccounts: what an order that shares service out remembers of each client.
//
// An account counts the requests of its client that wait here (`waiting`); the order does so from
// `queued` and `left`, which come in pairs.
//
// Invariant: a client with a request that waits has an account.
// Bound: kMaxClients; when a new one would exceed it, all clients without a waiting request are
// forgotten, and counted. They begin anew, like a client never seen. Those that wait are bounded by
// the requests held.
// Cost: O(1), amortised. Threads: none; the scheduler's owner locks.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>

namespace dualmesh::policies {

template <class Account>
class ClientAccounts {
 public:
  static constexpr std::size_t kMaxClients = 16'384;

  const Account* find(std::uint64_t client) const {
    const auto found = accounts_.find(client);
    return found == accounts_.end() ? nullptr : &found->second;
  }
  // Of a client not known: a new one. The reference lives until the next call.
  Account& at(std::uint64_t client) {
    const auto found = accounts_.find(client);
    if (found != accounts_.end()) return found->second;
    if (accounts_.size() >= kMaxClients) {
      forgotten_ += boost::unordered::erase_if(
          accounts_, [](const auto& one) { return one.second.waiting == 0; });
    }
    return accounts_.emplace(client, Account{}).first->second;
  }
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const auto& [client, account] : accounts_) visit(client, account);
  }
  template <class Visit>
  void for_each(Visit&& visit) {
    for (auto& [client, account] : accounts_) visit(client, account);
  }

  std::size_t size() const { return accounts_.size(); }
  std::uint64_t waiting() const {
    std::uint64_t sum = 0;
    for (const auto& [client, account] : accounts_) sum += account.waiting;
    return sum;
  }
  std::uint64_t forgotten() const { return forgotten_; }

 private:
  boost::unordered_flat_map<std::uint64_t, Account> accounts_;
  std::uint64_t forgotten_ = 0;
};

}  // namespace dualmesh::policies
