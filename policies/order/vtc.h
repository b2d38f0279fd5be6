// Vtc: the client that has got least service goes first (virtual token counters).
//
//   c[u] += input x tokens of the prompt / weight(u)      when a request of u is dispatched
//   c[u] += output x tokens of the answer / weight(u)     when it has ended
//   next: of the clients that wait for the instance the one with the least c, its oldest request
//   u comes to wait while none of its requests did: c[u] = max(c[u], least c of those that wait),
//   or, when nobody waits, max(c[u], c of the client that waited last)
//
// So an idle client saves nothing up. Bound, published: two clients that wait throughout differ in
// weighted service by at most 2 max(input x longest prompt, output x M), M being the most output
// tokens of one client that are under way at once. Cached tokens are charged as if computed: it
// knows no locality.
//
// Counters are one per client over all instances. Shared by the mesh: the weights; the counters are
// this node's, so R nodes bound a client's advantage by R times as much.
// Source: VTC, OSDI 2024 (arXiv 2401.00588) and its artifact; weights of 1 and 2 as there.
// Deviation: output is charged at the end of a request, as a router does not see single tokens; M
// grows by what is under way.
#pragma once

#include <array>

#include "policies/order/client_accounts.h"
#include "policies/policy_spec.h"
#include "policies/queue_order.h"

namespace dualmesh::policies {

class Vtc final : public QueueOrder {
 public:
  static constexpr std::array kParameters{
      Parameter{"input", 1, 0.001, 1000, "cost of a prompt token"},
      Parameter{"output", 2, 0, 1000, "cost of an answer's token"},
  };

  explicit Vtc(const ParameterValues& values) : input_(values[0]), output_(values[1]) {}

  std::string_view name() const override { return "vtc"; }
  Next next(const RequestQueue& queue, const OrderContext& context) const override;
  void queued(const Arrival& arrival, const OrderContext& context) override;
  void left(const Arrival& arrival, const OrderContext& context) override;
  void dispatched(const Arrival& arrival, std::uint32_t uncached_tokens,
                  const OrderContext& context) override;
  void produced(const Arrival& arrival, std::uint32_t output_tokens,
                const OrderContext& context) override;

  std::uint64_t waiting() const override { return accounts_.waiting(); }
  double counter(std::uint64_t client) const;
  std::uint64_t forgotten() const { return accounts_.forgotten(); }

 private:
  struct Account {
    double counter = 0;
    std::uint32_t waiting = 0;
  };
  double lift() const;  // what somebody who comes to wait has at least

  double input_;
  double output_;
  ClientAccounts<Account> accounts_;
  std::uint64_t waited_last_ = 0;
};

}  // namespace dualmesh::policies
