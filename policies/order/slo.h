// Slo: as many first tokens within the SLO as possible, and nobody waits for ever.
//
// A request is due at arrival + SLO. Of those that wait for an instance, the most that can still be
// served in time are found by going through them by due time and, whenever one would come too late,
// giving up the one with the longest prefill so far. What is left goes by due time. Those given up
// follow by arrival when nobody in time waits; and they go first from the moment at which one of
// them could else not have its first token `wait_bound` after its arrival, so that a wait is
// bounded by that and by what else has reached it.
//
// Prefills are sent together, without waiting for the one ahead, as long as that pays. An iteration
// of the engine costs each decoding sequence's token, whatever is prefilled in it: so the more
// decode, the more prefill should share one, `batch_per_decoding` tokens for each, and no more than
// `batch_tokens`, one full iteration that runs and the next. Against it stands that who was sent
// cannot be passed by anybody, and that what is prefilled sooner holds KV memory for longer, as
// decoding waits for it: none are sent together to an instance whose memory is filled to
// `batch_memory` by what was computed for those that decode.
//
// The nodes act on one order (turns.h): what others have waiting is ranked with the own queue.
// Shared by the mesh: of each queue the first kWaitingTold, by due time; those that may still be in
// time before those given up, of which at least the oldest two are told.
// Cost: O(n log n) for n requests waiting for one instance, at each dispatch; no allocation up to
// 64. Threads: none.
// Source: Moore 1968 (one machine, fewest late jobs), on estimates of prefill time; the bound and
// its place in the order are ours.
#pragma once

#include <array>

#include "policies/policy_spec.h"
#include "policies/queue_order.h"

namespace dualmesh::policies {

class Slo final : public QueueOrder {
 public:
  static constexpr std::array kParameters{
      Parameter{"wait_bound_s", 54, 1, 3600, "wait within which late requests are served, s"},
      Parameter{"margin_s", 0.1, 0, 60, "kept free before each due time, s"},
      Parameter{"lead_ms", 40, 0, 1000, "sent so long before the one ahead should be done, ms"},
      Parameter{"batch_tokens", 16'384, 0, 1e6, "so many uncached tokens go together at most"},
      Parameter{"batch_per_decoding", 60, 0, 1e6, "and so many for each decoding sequence"},
      Parameter{"batch_memory", 0.5, 0, 1, "while what decodes holds less of the KV memory"},
  };
  explicit Slo(const ParameterValues& values);

  std::string_view name() const override { return "slo"; }
  bool shared() const override { return true; }
  Duration lead() const override { return lead_; }
  std::uint64_t batch_tokens(const OrderContext& context) const override;
  Next next(const RequestQueue& queue, const OrderContext& context) const override;
  void tell(const RequestQueue& queue, const OrderContext& context,
            WaitingReports& reports) const override;

 private:
  struct Plan;
  Plan plan(const RequestQueue& queue, const std::vector<Waiting>& others,
            const OrderContext& context) const;

  Duration wait_bound_;
  double margin_s_;
  Duration lead_;
  double batch_tokens_;
  double batch_per_decoding_;
  double batch_memory_;
};

}  // namespace dualmesh::policies
