// How a scheduler answers questions about itself.
#include <algorithm>

#include "policies/scheduler_state.h"

namespace dualmesh::policies {

namespace {

// Of a name that nobody has checked; the log keeps many of them.
constexpr std::size_t kMaxModelBytes = 256;

}  // namespace

PlacementRequest Scheduler::State::facts_of(const Arrival& arrival, Time now) const {
  const std::uint32_t blocks = depth.depth_of(arrival.chain, fleet.view().depth.get(), now);
  return {arrival, blocks, arrival.chain.prefix_key(blocks)};
}

void Scheduler::State::describe(DecisionRecord& record, const PlacementRequest& request,
                                Time now) const {
  const FleetView& view = fleet.view();
  record.id = request.arrival.id;
  record.at = now;
  record.model.assign(request.arrival.model, 0, kMaxModelBytes);
  record.input_tokens = request.arrival.input_tokens;
  record.depth = request.depth;
  record.ring_key = request.ring_key;
  record.depth_digest = view.depth ? view.depth->digest : depth.digest();
  record.migrations = 0;
  record.retries = 0;
  record.outcome = Outcome::pending;
  record.queued_s = 0;
  record.ttft_s = 0;
  record.cached_tokens = 0;
  describe(record, nullptr, {});
}

void Scheduler::State::describe(DecisionRecord& record, const ModelState* model,
                                const Choice& choice) const {
  const FleetView& view = fleet.view();
  if (record.policy != policy->name()) record.policy.assign(policy->name());
  record.ring_digest = model != nullptr ? model->view->ring_digest : 0;
  record.view_generation = view.generation;
  record.rings_agreed = view.rings_agree;
  record.candidates = choice.candidates;
  record.by_ring = choice.by_ring;
  record.chosen = choice.primary;
  record.backup = choice.backup;
  record.reason = choice.reason;
  record.handed_to.clear();
  if (choice.hand_to != kNoPeer) record.handed_to = (*view.peers)[choice.hand_to].name;
}

DecisionRecord Scheduler::explain(const Arrival& arrival, Time now) const {
  const State& s = *state_;
  DecisionRecord record;
  const PlacementRequest request = s.facts_of(arrival, now);
  s.describe(record, request, now);
  const ModelState* model = s.fleet.model(arrival.model);
  if (model != nullptr) {
    Random random = s.random;
    s.describe(record, model, s.policy->choose(request, {s.fleet, *model, {}, now}, random));
  }
  const bool goes_on = record.reason == Reason::waits || record.reason == Reason::handed;
  if (record.chosen == kNoSlot && !goes_on) record.outcome = Outcome::rejected;
  return record;
}

std::vector<DecisionRecord> Scheduler::decisions(std::size_t last) const {
  std::vector<const DecisionRecord*> all;
  state_->log.for_each([&](const DecisionRecord& record) { all.push_back(&record); });
  state_->ledger.for_each([&](const LiveRequest& live) { all.push_back(&live.record); });
  const auto count = static_cast<std::ptrdiff_t>(std::min(last, all.size()));
  std::partial_sort(all.begin(), all.begin() + count, all.end(),
                    [](const DecisionRecord* a, const DecisionRecord* b) {
                      return a->at != b->at ? a->at > b->at : a->id > b->id;
                    });
  std::vector<DecisionRecord> newest;
  newest.reserve(static_cast<std::size_t>(count));
  for (auto record = all.begin(); record != all.begin() + count; ++record) {
    newest.push_back(**record);
  }
  return newest;
}

const DecisionRecord* Scheduler::decision(RequestId id) const {
  const LiveRequest* live = state_->ledger.find(id);
  return live != nullptr ? &live->record : state_->log.find(id);
}

bool Scheduler::can_retry(RequestId id) const {
  const State& s = *state_;
  const LiveRequest* request = s.ledger.find(id);
  if (request == nullptr) return false;
  const ModelState* model = s.fleet.model(request->arrival.model);
  if (model == nullptr) return false;
  auto excluded = request->failed_at;
  if (request->slot != kNoSlot) excluded.push_back(request->slot);
  const PlacementRequest facts{request->arrival, request->record.depth, request->record.ring_key};
  Random random = s.random;
  const Choice choice = s.policy->choose(facts, {s.fleet, *model, excluded, s.latest}, random);
  return choice.primary != kNoSlot || choice.wait || choice.hand_to != kNoPeer;
}

std::vector<QueueSnapshot> Scheduler::queues() const {
  const State& s = *state_;
  std::vector<QueueSnapshot> snapshots;
  for (std::size_t i = 0; i < s.fleet.slots(); ++i) {
    const auto slot = static_cast<Slot>(i);
    if (i >= s.fleet.view().instances.size()) break;
    if (s.fleet.view().instances[i].slot != slot) continue;  // never seen
    const InstanceState& instance = s.fleet.at(slot);
    QueueSnapshot& snapshot = snapshots.emplace_back();
    snapshot.slot = slot;
    snapshot.own = instance.own;
    snapshot.own.head_wait_ms = Ledger::oldest_wait_ms(instance.queue, s.latest);
    snapshot.healthy = instance.healthy;
    snapshot.trial = instance.trial;
    snapshot.overloaded = s.fleet.overloaded(slot, s.latest);
    snapshot.prefill_s_per_token = s.fleet.prefill_s_per_token(slot);
    snapshot.completed = instance.completed;
    snapshot.failed = instance.failed;
  }
  return snapshots;
}

SchedulerTotals Scheduler::totals() const { return state_->totals; }

SchedulerBooks Scheduler::books() const {
  const State& s = *state_;
  SchedulerBooks books;
  books.in_waiting_room = s.waiting.size();
  books.in_accounts = s.order->waiting();
  for (std::size_t slot = 0; slot < s.fleet.slots(); ++slot) {
    const InstanceState& instance = s.fleet.at(static_cast<Slot>(slot));
    books.in_queues += instance.queue.size();
    books.handed += instance.handed;
    books.decoding_uncached_tokens += instance.decoding_uncached_tokens;
  }
  return books;
}

bool Scheduler::panicking(const std::string& model) const {
  const ModelState* state = state_->fleet.model(model);
  return state != nullptr && state->panicking;
}

std::size_t Scheduler::live_requests() const { return state_->ledger.size(); }

std::size_t Scheduler::waiting_requests() const {
  std::size_t waiting = state_->waiting.size();
  for (std::size_t i = 0; i < state_->fleet.slots(); ++i) {
    waiting += state_->fleet.at(static_cast<Slot>(i)).own.queued_requests;
  }
  return waiting;
}

std::uint64_t Scheduler::view_generation() const { return state_->fleet.view().generation; }

}  // namespace dualmesh::policies
