// Dlpm: longest cached prefix first, among the clients that have credit (deficit longest prefix
// match).
//
//   next: by longest hit, then arrival, the first whose client has q[u] > 0; when no client that
//         waits for the instance has any, every known client with q[u] <= 0 gets a quantum, again
//         and again until one that waits has credit
//   q[u] -= extend x uncached tokens      when a request of u is dispatched
//   q[u] -= output x tokens of the answer when it has ended
//   a quantum of u is quantum x weight(u) / live nodes; a new client begins at 0
//
// Credit may be overdrawn, as nobody knows how long an answer will be; nobody saves up more than
// one quantum. Bound, published: two clients of one weight that wait throughout differ in service
// by at most 2 (U + Q), U being the most that is charged after q falls to 0 or below: one prompt,
// and the answers under way. A small quantum is fair, a large one is longest prefix match.
//
// Cost: `next` O(waiting); a refill O(clients known). With `per_instance` each instance has credits
// of its own, as the workers of D2LPM have. Shared by the mesh: the weights and the number of live
// nodes. Credits are this node's; with a share of the quantum for each node, R nodes differ by at
// most 2 (R U + Q) together. Source: Locality-aware Fair Scheduling (arXiv 2501.14312): DLPM;
// weights of 1 and 2 as there, the quantum is ours, as the paper's is not stated. Deviation: output
// is charged at the end of a request, as a router does not see single tokens.
#pragma once

#include <array>
#include <vector>

#include "policies/order/client_accounts.h"
#include "policies/order/longest_hit.h"
#include "policies/policy_spec.h"
#include "policies/queue_order.h"

namespace dualmesh::policies {

class Dlpm final : public QueueOrder {
 public:
  static constexpr std::array kParameters{
      Parameter{"quantum", 8192, 1, 1e12, "credit of one refill, in weighted tokens"},
      Parameter{"extend", 1, 0.001, 1000, "cost of a prompt token that is not cached"},
      Parameter{"output", 2, 0, 1000, "cost of an answer's token"},
      Parameter{"per_instance", 0, 0, 1, "1: each instance has credits of its own"},
  };

  explicit Dlpm(const ParameterValues& values)
      : quantum_(values[0]),
        extend_(values[1]),
        output_(values[2]),
        per_instance_(values[3] > 0),
        books_(1) {}

  std::string_view name() const override { return "dlpm"; }
  std::uint64_t rank(const Arrival&, std::uint32_t hit_tokens) const override {
    return LongestHit::rank_of(hit_tokens);
  }
  Next next(const RequestQueue& queue, const OrderContext& context) const override;
  void queued(const Arrival& arrival, const OrderContext& context) override;
  void left(const Arrival& arrival, const OrderContext& context) override;
  void dispatched(const Arrival& arrival, std::uint32_t uncached_tokens,
                  const OrderContext& context) override;
  void produced(const Arrival& arrival, std::uint32_t output_tokens,
                const OrderContext& context) override;

  std::uint64_t waiting() const override;
  // Of a client at an instance.
  double credit(std::uint64_t client, const OrderContext& context) const;
  std::uint64_t refills(Slot slot) const;  // rounds so far; how much fairness presses
  std::uint64_t forgotten() const;

 private:
  struct Account {
    double credit = 0;
    std::uint32_t waiting = 0;
  };
  struct Book {
    ClientAccounts<Account> accounts;
    std::uint64_t refills = 0;
  };
  double quantum(std::uint64_t client, const OrderContext& context) const;
  const Book& book(Slot slot) const;
  Book& book(Slot slot);
  double quantum_;
  double extend_;
  double output_;
  bool per_instance_;
  std::vector<Book> books_;  // by slot, or one
};

}  // namespace dualmesh::policies
