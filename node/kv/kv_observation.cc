#include "node/kv/kv_observation.h"

#include <spdlog/fmt/fmt.h>

#include <utility>

namespace dualmesh::node {

KvObservation::Orders KvObservation::mesh_known(const StreamPosition& position) {
  machine_.mesh_known(position, wants_);
  return carry_out();
}

KvObservation::Orders KvObservation::connected(policies::Time now) {
  machine_.connected(now, wants_);
  return carry_out();
}

void KvObservation::disconnected(policies::Time now) { machine_.disconnected(now); }

KvObservation::Orders KvObservation::live(RawBatch batch, policies::Time now) {
  machine_.live(std::move(batch), now, wants_);
  return carry_out();
}

KvObservation::Orders KvObservation::replayed(RawBatch batch, policies::Time now) {
  machine_.replayed(std::move(batch), now, wants_);
  return carry_out();
}

KvObservation::Orders KvObservation::replay_over(policies::Time now) {
  machine_.replay_over(now, wants_);
  return carry_out();
}

KvObservation::Orders KvObservation::tick(policies::Time now) {
  machine_.tick(now, wants_);
  return carry_out();
}

KvObservation::Orders KvObservation::carry_out() {
  for (const StreamWants::Deliver& delivered : wants_.deliver) take(delivered);
  if (const auto epoch = std::exchange(wants_.begun, std::nullopt)) state_.begun(stream_, *epoch);
  const Orders orders{wants_.replay_from, wants_.reconnect};
  wants_.deliver.clear();
  wants_.replay_from.reset();
  wants_.reconnect = false;
  return orders;
}

void KvObservation::take(const StreamWants::Deliver& delivered) {
  const crdt::Version to{delivered.batch.sequence + 1};
  const StreamPosition held = state_.position(stream_);
  if (held.epoch == delivered.epoch && to <= held.end) return;  // another observer was first
  if (epoch_ != delivered.epoch) {
    epoch_ = delivered.epoch;
    translator_.restart();
  }
  if (held.epoch == epoch_) translator_.learn(state_.facts(stream_));
  changed_.clear();
  crdt::Version from = delivered.from;
  if (const BatchError error = decode(delivered.batch.payload, batch_); error != BatchError::none) {
    // It may have removed blocks, so nothing of what was held before is sure.
    from = to;
    ++refused_batches_;
    last_refusal_ = fmt::format("batch {}: {}", delivered.batch.sequence, to_string(error));
  } else {
    said_rank_ = batch_.rank;
    // Hashes of another life may mean other blocks.
    translator_.translate(batch_, held.epoch == epoch_ ? state_.map(stream_) : nullptr, changed_);
    note_issues(delivered.batch.sequence);
  }
  const Taken taken =
      state_.observed(stream_, {epoch_, from, to, changed_, delivered.digest, translator_.facts()});
  if (taken == Taken::changed) changes_ += changed_.size();
}

// For people: the newest of what the engine said and could not be used.
void KvObservation::note_issues(std::uint64_t sequence) {
  const IssueCounts& now = translator_.counters().issues;
  for (std::size_t i = 0; i < kEventIssues; ++i) {
    const auto issue = static_cast<EventIssue>(i);
    if (now[i] == issues_[i] || issue == EventIssue::other_group) continue;
    last_refusal_ = fmt::format("in batch {}: {}", sequence, to_string(issue));
  }
  issues_ = now;
}

}  // namespace dualmesh::node
