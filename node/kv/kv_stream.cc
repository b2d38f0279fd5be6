#include "node/kv/kv_stream.h"

#include <algorithm>
#include <utility>

namespace dualmesh::node {
namespace {

// A sync that meets ever more holes accepts them after so many.
constexpr std::uint32_t kMaxAskedAgain = 8;
constexpr std::uint32_t kMaxReconnectAfter = 96;
// A batch may be lost on its way now and then.
constexpr std::uint32_t kUnheardLooks = 2;
constexpr std::uint64_t kUnheardBatches = 3;

}  // namespace

bool KvStream::caught_up() const {
  if (!connected_ || restart_due_ || must_begin_ || undecided_since_) return false;
  const bool looking = phase_ == Phase::replaying && quiet_ && held_.empty();
  const bool settled = phase_ == Phase::live || looking;
  return settled && (tied_ || !life_);
}

std::uint64_t KvStream::unheard() const {
  const bool enough = unheard_looks_ >= kUnheardLooks && unheard_batches_ >= kUnheardBatches;
  return enough ? unheard_batches_ : 0;
}

policies::Duration KvStream::replay_silent(policies::Time now) const {
  return phase_ == Phase::replaying ? now - progress_at_ : policies::Duration{0};
}

bool KvStream::absurd(const RawBatch& batch) {
  if (batch.sequence < kSequences) {
    ++counters_.batches;
    counters_.bytes += batch.payload.size();
    return false;
  }
  ++counters_.absurd;
  return true;
}

void KvStream::connected(policies::Time now, StreamWants& wants) {
  now_ = now;
  if (std::exchange(was_connected_, true)) ++counters_.reconnects;
  connected_ = true;
  tied_ = must_begin_ = settled_ = replay_useless_ = replay_tried_ = false;
  has_looked_ = late_look_ = false;
  foreign_.reset();
  drop_held();
  synchronise(wants);
}

void KvStream::disconnected(policies::Time now) {
  now_ = now;
  unheard_batches_ = unheard_looks_ = 0;  // the next connection may be a better one
  late_look_ = late_found_ = false;
  part();
}

void KvStream::part() {
  connected_ = restart_due_ = quiet_ = false;
  phase_ = Phase::apart;
  drop_held();
}

// What the mesh knows replaces what we do, where it is newer.
void KvStream::take_newest() {
  if (!mesh_ || mesh_->epoch.value == 0) return;
  if (life_ && life_->epoch > mesh_->epoch) return;
  if (life_ && life_->epoch == mesh_->epoch && life_->next >= mesh_->end.value) return;
  life_ = Life{mesh_->epoch, mesh_->end.value, {}, mesh_->end.value == 0};
  if (mesh_->end.value > 0) life_->recent.push_back(mesh_->last_batch);
  tied_ = false;
}

void KvStream::mesh_known(const StreamPosition& position, StreamWants& wants) {
  mesh_ = position;
  if (!connected_) return;
  if (phase_ == Phase::waiting_for_mesh) return synchronise(wants);
  if (position.epoch.value == 0) return;
  if (life_ && position.epoch > life_->epoch) return other_epoch(position, wants);
  if (!life_) synchronise(wants);
}

// Others have a later epoch: the same life by another name, or one we have not seen begin.
void KvStream::other_epoch(const StreamPosition& position, StreamWants& wants) {
  const std::uint64_t end = position.end.value;
  const bool passed = end <= life_->next;
  const std::uint64_t ours = end > 0 && passed ? life_->digest_of(end - 1) : 0;
  const bool same = tied_ && ours != 0 && ours == position.last_batch;
  if (same && (end == life_->next || !settings_.has_replay)) {
    life_->epoch = position.epoch;
    foreign_.reset();
    return;
  }
  if (settings_.has_replay) return synchronise(wants);
  if (!tied_) {
    take_newest();
  } else if (passed && (ours == 0 || position.last_batch == 0)) {
    life_->epoch = position.epoch;  // cannot be told; the name of most
  } else {
    foreign_ = position;
    must_begin_ = passed;  // what they heard is not what we heard
  }
}

void KvStream::synchronise(StreamWants& wants) {
  take_newest();
  restart_due_ = quiet_ = answered_ = false;
  asked_again_ = 0;
  hole_ = kNoSequence;
  undecided_since_.reset();
  if (settings_.has_replay) {
    if (!life_) return ask(Replay::begin, 0, wants);
    return ask(Replay::verify, std::max<std::uint64_t>(life_->next, 1) - 1, wants);
  }
  finish(Gap::accept, wants);
}

void KvStream::ask(Replay kind, std::uint64_t from, StreamWants& wants) {
  ++counters_.replays;
  replay_ = kind;
  phase_ = Phase::replaying;
  progress_at_ = now_;
  answered_ = false;
  replayed_stamp_ = 0;
  wants.replay_from = from;
}

// Once for each hole: the engine's socket drops what a slow reader does not take.
bool KvStream::ask_again_at_hole(StreamWants& wants) {
  if (hole_ == life_->next || asked_again_ >= kMaxAskedAgain) return false;
  ++asked_again_;
  hole_ = life_->next;
  ask(Replay::onward, life_->next, wants);
  return true;
}

void KvStream::replayed(RawBatch batch, policies::Time now, StreamWants& wants) {
  now_ = now;
  if (absurd(batch)) return;
  if (phase_ != Phase::replaying) {  // of one that has been given up
    ++counters_.duplicates;
    return;
  }
  progress_at_ = now;
  replay_useless_ = false;
  replay_keeps_ = true;
  switch (replay_) {
    case Replay::begin:
      if (batch.sequence > 0 && !mesh_) {
        phase_ = Phase::waiting_for_mesh;
        return;
      }
      answered_ = true;
      begin(std::move(batch), wants);
      replay_ = Replay::onward;
      return;
    case Replay::anew:
      replay_ = Replay::onward;
      answered_ = true;
      return begin_anew(std::move(batch), wants);
    case Replay::verify:
      return verify(std::move(batch), wants);
    case Replay::onward:
      answered_ = true;
      return onward(std::move(batch), wants);
  }
}

void KvStream::verify(RawBatch batch, StreamWants& wants) {
  if (batch.sequence + 1 < life_->next) {  // not asked for
    ++counters_.duplicates;
    return;
  }
  answered_ = true;
  replay_ = Replay::onward;
  if (batch.sequence >= life_->next) {  // rolled past what we know: it cannot be told
    hole_ = life_->next;
    tied_ = true;
    return onward(std::move(batch), wants);
  }
  const std::uint64_t known = life_->digest_of(batch.sequence);
  if (known == 0 || known == batch_digest(batch.sequence, batch.payload)) {
    replayed_stamp_ = batch_stamp_us(batch.payload);
    tied_ = true;
    return;
  }
  quiet_ = tied_ = false;
  certain_ = true;
  ask(Replay::anew, 0, wants);
}

void KvStream::onward(RawBatch batch, StreamWants& wants) {
  if (batch.sequence < life_->next) {
    ++counters_.duplicates;
    return;
  }
  if (batch.sequence > life_->next) {
    if (ask_again_at_hole(wants)) return;
    counters_.lost += batch.sequence - life_->next;
  }
  if (std::exchange(quiet_, false)) ++found_by_looking_;
  deliver(std::move(batch), wants);
}

void KvStream::replay_over(policies::Time now, StreamWants& wants) {
  now_ = now;
  if (phase_ != Phase::replaying) return;
  replay_useless_ = false;
  const bool newer_held = life_ && !held_.empty() && held_.back().sequence >= life_->next;
  switch (replay_) {
    case Replay::begin:
      break;
    case Replay::verify:  // nothing from where we are: the engine is younger, or keeps nothing
      if (newer_held) break;
      if (life_->next == 0) {  // as empty as it is known
        tied_ = true;
        break;
      }
      tied_before_look_ = quiet_ && tied_;
      quiet_ = tied_ = certain_ = false;
      return ask(Replay::anew, 0, wants);
    case Replay::anew:
      if (held_.empty() && (certain_ || replay_keeps_)) return begin_empty(wants);
      if (held_.empty() && tied_before_look_) tied_ = quiet_ = true;  // it keeps nothing: no news
      must_begin_ = certain_ || (!held_.empty() && !newer_held);
      break;
    case Replay::onward:
      if (newer_held) {
        const bool hole = std::ranges::none_of(
            held_, [&](const RawBatch& held) { return held.sequence == life_->next; });
        if (hole && ask_again_at_hole(wants)) return;
      }
      break;
  }
  finish(Gap::accept, wants);
}

// Live from here, the held ones first. A gap before the first of them is what replay did not have;
// one further on is new.
void KvStream::finish(Gap gap, StreamWants& wants) {
  phase_ = Phase::live;
  const bool no_news = std::exchange(quiet_, false) && held_.empty();
  if (!no_news) pause_ = settings_.tail;
  look_at_ = now_ + (std::exchange(settled_, true) ? pause_ : settings_.settle);
  if (no_news) pause_ = std::min(2 * pause_, settings_.quiet);
  late_look_ = false;
  if (std::exchange(late_found_, false)) ++unheard_looks_;
  std::deque<RawBatch> held = std::move(held_);
  drop_held();
  while (!held.empty()) {
    RawBatch batch = std::move(held.front());
    held.pop_front();
    if (phase_ != Phase::live) {
      hold(std::move(batch), wants);
    } else if (contradicts_replay(batch)) {
      counters_.lost += held.size() + 1;
      if (restarts_.take(now_)) return synchronise(wants);
      restart_due_ = true;
      return;
    } else if (life_ && tied_ && batch.sequence < life_->next) {
      ++counters_.duplicates;
    } else {
      const std::size_t delivered = wants.deliver.size();
      place(std::move(batch), gap, wants);
      if (settings_.has_replay && !replay_useless_ && wants.deliver.size() > delivered) {
        gap = Gap::replay;
      }
    }
  }
  if (found_by_looking_ < reconnect_after_ || phase_ != Phase::live) return;
  found_by_looking_ = 0;  // batches come, and not to us
  reconnect_after_ = std::min(2 * reconnect_after_, kMaxReconnectAfter);
  part();
  wants.reconnect = true;
}

// Held while a replay went on, of another life than what that brought: said otherwise, or to follow
// it and yet older. Which of the two is over only the engine can say.
bool KvStream::contradicts_replay(const RawBatch& batch) const {
  if (!answered_ || !settings_.has_replay || replay_useless_ || !life_ || !tied_) return false;
  if (batch.sequence >= life_->next) {
    const std::uint64_t stamp = batch_stamp_us(batch.payload);
    return stamp != 0 && stamp < replayed_stamp_;
  }
  const std::uint64_t known = life_->digest_of(batch.sequence);
  return known != 0 && known != batch_digest(batch.sequence, batch.payload);
}

void KvStream::failed(StreamWants& wants) {
  ++counters_.replays_failed;
  replay_useless_ = true;
  if (replay_ == Replay::anew && certain_) must_begin_ = true;
  finish(Gap::accept, wants);
}

void KvStream::tick(policies::Time now, StreamWants& wants) {
  now_ = now;
  if (!connected_) return;
  if (phase_ == Phase::replaying && now - progress_at_ >= settings_.replay_timeout) {
    return failed(wants);
  }
  if (looks_in_vain()) {
    ++counters_.replays_failed;
    replay_useless_ = true;
    return finish(Gap::replay, wants);
  }
  if (phase_ != Phase::live) return;
  if (restart_due_ && restarts_.has(now)) {
    if (settings_.has_replay) return synchronise(wants);
    restart_due_ = false;
    must_begin_ = true;
  }
  if (undecided_since_ && now - *undecided_since_ >= settings_.replay_timeout) {
    return begin_anew_from_held(wants);
  }
  look_if_quiet(wants);
}

// Nobody answers a mere look, and what follows what is known waits for it.
bool KvStream::looks_in_vain() const {
  if (phase_ != Phase::replaying || !quiet_ || !tied_ || answered_ || held_.empty()) return false;
  return held_.front().sequence == life_->next && now_ - progress_at_ >= settings_.settle;
}

void KvStream::look_if_quiet(StreamWants& wants) {
  if (!settings_.has_replay || now_ < look_at_ || restart_due_ || must_begin_) return;
  const bool sure = tied_ || !life_;
  synchronise(wants);
  quiet_ = sure;
  late_look_ = std::exchange(has_looked_, true);
}

}  // namespace dualmesh::node
