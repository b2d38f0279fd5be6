#include "policies/order/vtc.h"

#include <algorithm>
#include <boost/assert.hpp>
#include <optional>

#include "policies/ledger.h"

namespace dualmesh::policies {

double Vtc::counter(std::uint64_t client) const {
  const Account* account = accounts_.find(client);
  return account == nullptr ? 0 : account->counter;
}

QueueOrder::Next Vtc::next(const RequestQueue& queue, const OrderContext&) const {
  std::size_t best = 0;
  double least = counter(queue[0].request->arrival.client);
  for (std::size_t i = 1; i < queue.size(); ++i) {
    const double other = counter(queue[i].request->arrival.client);
    if (other >= least) continue;
    best = i;
    least = other;
  }
  return {best};
}

double Vtc::lift() const {
  std::optional<double> least;
  accounts_.for_each([&](std::uint64_t, const Account& account) {
    if (account.waiting > 0) least = std::min(least.value_or(account.counter), account.counter);
  });
  return least ? *least : counter(waited_last_);
}

void Vtc::queued(const Arrival& arrival, const OrderContext&) {
  Account& account = accounts_.at(arrival.client);
  if (account.waiting == 0) account.counter = std::max(account.counter, lift());
  ++account.waiting;
}

void Vtc::left(const Arrival& arrival, const OrderContext&) {
  Account& account = accounts_.at(arrival.client);
  BOOST_ASSERT(account.waiting > 0);
  if (--account.waiting == 0) waited_last_ = arrival.client;
}

void Vtc::dispatched(const Arrival& arrival, std::uint32_t, const OrderContext& context) {
  accounts_.at(arrival.client).counter +=
      input_ * arrival.input_tokens / context.weight(arrival.client);
}

void Vtc::produced(const Arrival& arrival, std::uint32_t output_tokens,
                   const OrderContext& context) {
  accounts_.at(arrival.client).counter += output_ * output_tokens / context.weight(arrival.client);
}

}  // namespace dualmesh::policies
