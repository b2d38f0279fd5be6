// QueueOrder: which of the requests that wait at this router for one instance goes next.
//
// Apart from the policy that places requests, so that any order goes with any placement. An order
// gives each request a rank when it is queued, smaller first, then by arrival; that is the order in
// which waits are estimated. `next` may pass over the head for a reason that changes with time or
// with service (a deadline, a client's credit).
//
// Invariant: `next` names an entry of the queue; it changes nothing, so asking is free.
// Threads: none; the scheduler's owner locks.
// Source: DualMap's priority queue at the router; the interface is ours.
#pragma once

#include <cstdint>
#include <string_view>

#include "policies/fleet.h"
#include "policies/scheduler.h"

namespace dualmesh::policies {

// The queue of one instance at one moment.
struct OrderContext {
  const Fleet& fleet;
  Slot slot = kNoSlot;
  Time now{};
  Time begin{};  // when a prefill could begin there

  double weight(std::uint64_t client) const {
    return fleet.view().settings.client_weights.of(client);
  }
};

class QueueOrder {
 public:
  virtual ~QueueOrder() = default;

  virtual std::string_view name() const = 0;
  virtual std::uint64_t rank(const Arrival& /*arrival*/, std::uint32_t /*hit_tokens*/) const {
    return 0;
  }
  // Which of the queue, which is not empty, goes next.
  struct Next {
    std::size_t place = 0;
    bool first = true;  // false: a request that waits at another node goes before it
  };
  virtual Next next(const RequestQueue& /*queue*/, const OrderContext& /*context*/) const {
    return {};
  }
  // Do the nodes act on one order of all that waits for an instance (turns.h)? If so, what the
  // others must hear of this queue.
  virtual bool shared() const { return false; }
  virtual void tell(const RequestQueue& /*queue*/, const OrderContext& /*context*/,
                    WaitingReports& /*reports*/) const {}
  // How long before the one ahead should have its first token the next one is sent.
  virtual Duration lead() const { return {}; }
  // Requests of so many uncached tokens together may now be prefilled at once, whatever the limit.
  virtual std::uint64_t batch_tokens(const OrderContext& /*context*/) const { return 0; }

  // A request came to wait for the instance of the context, and does so no longer. They come in
  // pairs, whatever becomes of it; one that goes on to another queue enters there first.
  virtual void queued(const Arrival& /*arrival*/, const OrderContext& /*context*/) {}
  virtual void left(const Arrival& /*arrival*/, const OrderContext& /*context*/) {}
  virtual std::uint64_t waiting() const { return 0; }  // by its own count, where it keeps one
  // What the service of a request cost, for orders that share it out: as it is dispatched, and when
  // it has ended.
  virtual void dispatched(const Arrival& /*arrival*/, std::uint32_t /*uncached_tokens*/,
                          const OrderContext& /*context*/) {}
  virtual void produced(const Arrival& /*arrival*/, std::uint32_t /*output_tokens*/,
                        const OrderContext& /*context*/) {}
};

}  // namespace dualmesh::policies
