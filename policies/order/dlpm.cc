#include "policies/order/dlpm.h"

#include <algorithm>
#include <boost/assert.hpp>
#include <cmath>

#include "policies/ledger.h"

namespace dualmesh::policies {

namespace {

// After so many a credit of 0 or less is positive.
double quanta_missing(double credit, double quantum) { return std::floor(-credit / quantum) + 1; }

}  // namespace

double Dlpm::quantum(std::uint64_t client, const OrderContext& context) const {
  const std::uint32_t nodes = std::max(context.fleet.view().live_nodes, 1U);
  return quantum_ * context.weight(client) / nodes;
}

const Dlpm::Book& Dlpm::book(Slot slot) const {
  static const Book kEmpty;
  if (!per_instance_) return books_.front();
  return slot < books_.size() ? books_[slot] : kEmpty;
}

Dlpm::Book& Dlpm::book(Slot slot) {
  if (!per_instance_) return books_.front();
  if (slot >= books_.size()) books_.resize(slot + 1U);
  return books_[slot];
}

double Dlpm::credit(std::uint64_t client, const OrderContext& context) const {
  const Account* account = book(context.slot).accounts.find(client);
  return account == nullptr ? 0 : account->credit;
}

QueueOrder::Next Dlpm::next(const RequestQueue& queue, const OrderContext& context) const {
  // The one that would have credit first, were refills to begin now.
  std::size_t best = 0;
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < queue.size() && least > 0; ++i) {
    const std::uint64_t client = queue[i].request->arrival.client;
    const double held = credit(client, context);
    const double quanta = held > 0 ? 0 : quanta_missing(held, quantum(client, context));
    if (quanta >= least) continue;
    best = i;
    least = quanta;
  }
  return {best};
}

void Dlpm::queued(const Arrival& arrival, const OrderContext& context) {
  ++book(context.slot).accounts.at(arrival.client).waiting;
}

void Dlpm::left(const Arrival& arrival, const OrderContext& context) {
  Account& account = book(context.slot).accounts.at(arrival.client);
  BOOST_ASSERT(account.waiting > 0);
  --account.waiting;
}

void Dlpm::dispatched(const Arrival& arrival, std::uint32_t uncached_tokens,
                      const OrderContext& context) {
  Book& mine = book(context.slot);
  Account& account = mine.accounts.at(arrival.client);
  if (account.credit <= 0) {
    // Nobody who waits had any, and it was the first to get some.
    const double rounds = quanta_missing(account.credit, quantum(arrival.client, context));
    mine.refills += static_cast<std::uint64_t>(rounds);
    mine.accounts.for_each([&](std::uint64_t client, Account& one) {
      if (one.credit > 0) return;
      const double own = quantum(client, context);
      one.credit += own * std::min(rounds, quanta_missing(one.credit, own));
    });
  }
  account.credit -= extend_ * uncached_tokens;
}

void Dlpm::produced(const Arrival& arrival, std::uint32_t output_tokens,
                    const OrderContext& context) {
  book(context.slot).accounts.at(arrival.client).credit -= output_ * output_tokens;
}

std::uint64_t Dlpm::refills(Slot slot) const { return book(slot).refills; }

std::uint64_t Dlpm::waiting() const {
  std::uint64_t sum = 0;
  for (const Book& one : books_) sum += one.accounts.waiting();
  return sum;
}

std::uint64_t Dlpm::forgotten() const {
  std::uint64_t sum = 0;
  for (const Book& one : books_) sum += one.accounts.forgotten();
  return sum;
}

}  // namespace dualmesh::policies
