#include "policies/ledger.h"

#include <xxhash.h>

#include <algorithm>
#include <boost/assert.hpp>

namespace dualmesh::policies {

LiveRequest& Ledger::open(Arrival&& arrival, Time now) {
  LiveRequest* request = nullptr;
  if (free_.empty()) {
    request = &requests_.emplace_back();
  } else {
    request = free_.back();
    free_.pop_back();
  }
  const bool added = by_id_.emplace(arrival.id, request).second;
  BOOST_ASSERT(added);
  request->arrival = std::move(arrival);
  request->arrived = now;
  request->model_hash = XXH3_64bits(request->arrival.model.data(), request->arrival.model.size());
  request->candidates = {kNoSlot, kNoSlot};
  request->stage = Stage::held;
  request->slot = kNoSlot;
  request->failed_at.clear();
  request->waits = false;
  return *request;
}

LiveRequest* Ledger::find(RequestId id) {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

const LiveRequest* Ledger::find(RequestId id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

void Ledger::close(LiveRequest& request) {
  BOOST_ASSERT(request.stage == Stage::held && !request.waits);
  by_id_.erase(request.arrival.id);
  free_.push_back(&request);
}

void Ledger::enqueue(LiveRequest& request, Slot slot, std::uint32_t uncached_tokens,
                     std::uint64_t rank) {
  BOOST_ASSERT(request.stage == Stage::held);
  request.stage = Stage::queued;
  request.slot = slot;
  request.uncached_tokens = uncached_tokens;
  request.queue_key = {rank, request.arrived, request.arrival.id};
  InstanceState& instance = fleet_.at(slot);
  instance.queue.push({request.queue_key, uncached_tokens, &request});
  ++queued_;
  ++instance.own.queued_requests;
  instance.own.queued_tokens += uncached_tokens;
  mark_changed(slot);
}

void Ledger::dispatch(LiveRequest& request, Slot slot, std::uint32_t uncached_tokens, Time now) {
  if (request.stage != Stage::held) hold(request);
  InstanceState& instance = fleet_.at(slot);
  request.stage = Stage::prefilling;
  request.slot = slot;
  request.uncached_tokens = uncached_tokens;
  request.dispatched = now;
  request.dispatch_number = ++instance.dispatches;
  // Beside another prefill of ours the time to the first token says nothing about the cost of one;
  // what other nodes have dispatched stands before ours and counts.
  const bool alone = instance.own.prefilling_requests == 0;
  request.behind_one =
      instance.own.prefilling_requests + fleet_.others(slot).prefilling_requests == 1;
  request.work_at_dispatch = alone ? uncached_tokens + fleet_.others(slot).prefilling_tokens : 0;
  ++instance.own.prefilling_requests;
  instance.own.prefilling_tokens += uncached_tokens;
  mark_changed(slot);
}

void Ledger::first_token(LiveRequest& request, Time now) {
  BOOST_ASSERT(request.stage == Stage::prefilling);
  InstanceState& instance = fleet_.at(request.slot);
  // One sent behind ours does not take from it: engines serve first come, first served.
  const bool still_alone = instance.dispatches <= request.dispatch_number + 1;
  if (request.behind_one && instance.prefill_ended > request.dispatched) {
    instance.prefill.add(now - instance.prefill_ended, request.uncached_tokens);
  } else if (request.work_at_dispatch > 0 && still_alone) {
    instance.prefill.add(now - request.dispatched, request.work_at_dispatch);
  }
  instance.prefill_ended = now;
  const Slot slot = request.slot;
  hold(request);
  request.stage = Stage::decoding;
  request.slot = slot;
  ++instance.own.decoding_requests;
  instance.own.decoding_tokens += request.arrival.input_tokens;
  instance.decoding_uncached_tokens += request.uncached_tokens;
}

void Ledger::hand_over(LiveRequest& request, Slot meant_for) {
  BOOST_ASSERT(request.stage == Stage::held);
  request.stage = Stage::away;
  request.slot = meant_for;
  ++fleet_.at(meant_for).handed;
}

void Ledger::answered_there(LiveRequest& request) {
  BOOST_ASSERT(request.stage == Stage::away);
  if (request.slot == kNoSlot) return;
  --fleet_.at(request.slot).handed;
  request.slot = kNoSlot;
}

void Ledger::hold(LiveRequest& request) {
  if (request.stage == Stage::held) return;
  if (request.stage == Stage::away) {
    answered_there(request);
    request.stage = Stage::held;
    return;
  }
  InstanceState& instance = fleet_.at(request.slot);
  Load& own = instance.own;
  switch (request.stage) {
    case Stage::queued:
      instance.queue.remove(request.queue_key);
      --queued_;
      --own.queued_requests;
      own.queued_tokens -= request.uncached_tokens;
      break;
    case Stage::prefilling:
      --own.prefilling_requests;
      own.prefilling_tokens -= request.uncached_tokens;
      break;
    case Stage::decoding:
      --own.decoding_requests;
      own.decoding_tokens -= request.arrival.input_tokens;
      instance.decoding_uncached_tokens -= request.uncached_tokens;
      break;
    case Stage::held:
    case Stage::away:
      break;
  }
  mark_changed(request.slot);
  request.stage = Stage::held;
  request.slot = kNoSlot;
}

void Ledger::mark_changed(Slot slot) {
  if (reports_.size() <= slot) reports_.resize(slot + 1U);
  if (reports_[slot].waiting) return;
  reports_[slot].waiting = true;
  changed_.push_back(slot);
}

void Ledger::mark_waiting_long(Slot slot, std::uint32_t limit_ms) {
  if (slot >= reports_.size() || reports_[slot].last.head_wait_ms < limit_ms) mark_changed(slot);
}

std::uint32_t Ledger::oldest_wait_ms(const RequestQueue& queue, Time now) {
  if (queue.empty()) return 0;
  const auto waited = std::chrono::duration_cast<std::chrono::milliseconds>(now - queue.oldest());
  return static_cast<std::uint32_t>(std::max<std::int64_t>(waited.count(), 0));
}

}  // namespace dualmesh::policies
