// Where a batch belongs: next, again, after a gap, or in another life.
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "node/kv/kv_stream.h"
#include "node/kv/msgpack_reader.h"

namespace dualmesh::node {
namespace {

constexpr std::size_t kRecent = 1024;
constexpr double kLatestStamp_s = 7.3e9;  // the year 2200

bool find_stamp(MsgpackReader& reader, double& stamp_s) {
  std::uint32_t count = 0;
  if (reader.peek() == MsgpackReader::Kind::array) {
    return reader.read_array(count) && count > 0 && reader.read_real(stamp_s);
  }
  if (!reader.read_map(count)) return false;
  for (std::uint32_t i = 0; i < count; ++i) {
    std::string_view name;
    if (!reader.read_text(name)) return false;
    if (name == "ts") return reader.read_real(stamp_s);
    if (!reader.skip()) return false;
  }
  return false;
}

}  // namespace

std::uint64_t batch_digest(std::uint64_t sequence, std::string_view payload) {
  const std::uint64_t digest = XXH3_64bits_withSeed(payload.data(), payload.size(), sequence);
  return digest == 0 ? 1 : digest;  // 0 means not known
}

std::uint64_t batch_stamp_us(std::string_view payload) {
  MsgpackReader reader(payload);
  double stamp_s = 0.0;
  if (!find_stamp(reader, stamp_s)) return 0;
  if (!(stamp_s > 0.0 && stamp_s < kLatestStamp_s)) return 0;  // nan too
  return static_cast<std::uint64_t>(std::llround(stamp_s * 1e6));
}

bool RestartBudget::has(policies::Time now) {
  if (left_ == kBurst) refilled_ = now;
  while (left_ < kBurst && now - refilled_ >= kRefill) {
    refilled_ += kRefill;
    ++left_;
  }
  return left_ > 0;
}

bool RestartBudget::take(policies::Time now) {
  if (!has(now)) return false;
  --left_;
  return true;
}

std::uint64_t KvStream::Life::digest_of(std::uint64_t sequence) const {
  const std::uint64_t back = next - sequence;  // 1: the last
  return sequence < next && back <= recent.size() ? recent[recent.size() - back] : 0;
}

void KvStream::drop_held() {
  held_.clear();
  held_bytes_ = 0;
  undecided_since_.reset();
}

void KvStream::hold(RawBatch batch, StreamWants& wants) {
  if (!held_.empty() && batch.sequence <= held_.back().sequence) {
    ++counters_.duplicates;
    if (batch == held_.back()) return;
    if (!restarts_.take(now_)) return;
    drop_held();  // of the life before
    held_bytes_ = batch.payload.size();
    held_.push_back(std::move(batch));
    if (phase_ == Phase::replaying) synchronise(wants);
    return;
  }
  held_bytes_ += batch.payload.size();
  held_.push_back(std::move(batch));
  while (held_.size() > settings_.max_held || held_bytes_ > settings_.max_held_bytes) {
    held_bytes_ -= held_.front().payload.size();
    held_.pop_front();
  }
}

void KvStream::live(RawBatch batch, policies::Time now, StreamWants& wants) {
  now_ = now;
  if (absurd(batch)) return;
  ++counters_.live;
  found_by_looking_ = 0;
  reconnect_after_ = kReconnectAfter;
  unheard_batches_ = unheard_looks_ = 0;
  late_look_ = late_found_ = false;
  if (phase_ == Phase::apart) {
    ++counters_.duplicates;
  } else if (phase_ == Phase::live) {
    if (tied_) look_at_ = now + (pause_ = settings_.tail);
    if (tied_ && batch.sequence > life_->next) {
      counters_.gaps += batch.sequence - life_->next;
    }
    place(std::move(batch), settings_.has_replay ? Gap::replay : Gap::accept, wants);
    if (settings_.has_replay && tied_ && !replay_keeps_) try_replay(wants);
  } else {
    hold(std::move(batch), wants);
  }
}

// What it never brought it may not keep; that an engine is empty can be told by one that does.
void KvStream::try_replay(StreamWants& wants) {
  if (phase_ != Phase::live || replay_useless_ || std::exchange(replay_tried_, true)) return;
  synchronise(wants);
  quiet_ = true;
}

void KvStream::place(RawBatch batch, Gap gap, StreamWants& wants) {
  if (restart_due_) {
    ++counters_.lost;
  } else if (must_begin_) {
    begin_anew(std::move(batch), wants);
  } else if (!life_) {
    place_first(std::move(batch), gap, wants);
  } else if (!tied_) {
    place_untied(std::move(batch), gap, wants);
  } else if (batch.sequence < life_->next) {
    place_lower(std::move(batch), wants);
  } else if (batch.sequence == life_->next) {
    deliver(std::move(batch), wants);
  } else if (gap == Gap::replay) {
    hold(std::move(batch), wants);
    synchronise(wants);
  } else {
    counters_.lost += batch.sequence - life_->next;
    deliver(std::move(batch), wants);
  }
}

// Of a stream that nobody knows, or of which we have not heard yet whether somebody does.
void KvStream::place_first(RawBatch batch, Gap gap, StreamWants& wants) {
  if (batch.sequence > 0 && gap == Gap::replay) {
    hold(std::move(batch), wants);
    synchronise(wants);
  } else if (batch.sequence > 0 && !mesh_) {
    phase_ = Phase::waiting_for_mesh;
    hold(std::move(batch), wants);
  } else {
    begin(std::move(batch), wants);
  }
}

// The first on a connection of which no replay has said that it is of the life we know. Others may
// have pushed later batches than these before we read them, so lower ones wait for the one that can
// be compared, for a time.
void KvStream::place_untied(RawBatch batch, Gap gap, StreamWants& wants) {
  const std::uint64_t known = life_->digest_of(batch.sequence);
  const bool last = batch.sequence + 1 == life_->next;
  if (known != 0 && known != batch_digest(batch.sequence, batch.payload)) {
    hold(std::move(batch), wants);
    begin_anew_from_held(wants);
  } else if (known != 0 || last) {
    counters_.duplicates += held_.size() + 1;
    drop_held();
    tied_ = true;
  } else if (batch.sequence >= life_->next) {
    drop_held();
    tied_ = true;
    place(std::move(batch), gap, wants);
  } else if (settings_.has_replay && !replay_useless_ && restarts_.take(now_)) {
    hold(std::move(batch), wants);
    if (phase_ == Phase::live) synchronise(wants);
  } else {
    if (!undecided_since_) undecided_since_ = now_;
    hold(std::move(batch), wants);
  }
}

// Said before, or by another life of the engine.
void KvStream::place_lower(RawBatch batch, StreamWants& wants) {
  const std::uint64_t known = life_->digest_of(batch.sequence);
  const bool said = known != 0 && known == batch_digest(batch.sequence, batch.payload);
  if (said || (settings_.has_replay && !replay_useless_ && !restarts_.take(now_))) {
    ++counters_.duplicates;
    return;
  }
  if (!settings_.has_replay || replay_useless_) return begin_anew(std::move(batch), wants);
  hold(std::move(batch), wants);
  synchronise(wants);
}

std::uint64_t KvStream::life_stamp_us(std::string_view payload) const {
  const std::uint64_t stamp = batch_stamp_us(payload);
  if (!settings_.wall_us) return stamp;
  const auto ahead = static_cast<std::uint64_t>(kEngineAhead.count());
  return stamp <= settings_.wall_us() + ahead ? stamp : 0;
}

void KvStream::begin(RawBatch batch, StreamWants& wants) {
  const std::uint64_t stamp = life_stamp_us(batch.payload);
  life_ = Life{crdt::Epoch{std::max<std::uint64_t>(stamp, 1)}, batch.sequence, {}, false};
  tied_ = true;
  deliver(std::move(batch), wants);
}

void KvStream::begin_anew(RawBatch batch, StreamWants& wants) {
  if (foreign_ && foreign_->epoch > life_->epoch) life_->epoch = foreign_->epoch;
  foreign_.reset();
  const std::uint64_t stamp = life_stamp_us(batch.payload);
  const std::uint64_t left = life_->epoch.value;
  // Batch 0 with the very stamp: the life was right. What was remembered of it was not, if the
  // engine said otherwise; else a replay was cut short.
  const bool same = batch.sequence == 0 && stamp == left;
  if (same && phase_ == Phase::replaying && !certain_) {
    tied_ = true;
    ++counters_.duplicates;
    return;
  }
  if (!same && !restarts_.take(now_)) {
    restart_due_ = true;
    phase_ = Phase::live;
    drop_held();
    return;
  }
  if (!same) {
    ++counters_.restarts;
    replay_keeps_ = replay_tried_ = false;  // it may have been started otherwise
  }
  life_ = Life{crdt::Epoch{same || stamp > left ? stamp : left + 1}, batch.sequence, {}, false};
  tied_ = true;
  must_begin_ = quiet_ = false;
  deliver(std::move(batch), wants);
}

void KvStream::begin_anew_from_held(StreamWants& wants) {
  must_begin_ = true;
  std::deque<RawBatch> held = std::move(held_);
  drop_held();
  while (!held.empty()) {
    RawBatch batch = std::move(held.front());
    held.pop_front();
    if (phase_ == Phase::live) {
      place(std::move(batch), Gap::accept, wants);
    } else {
      hold(std::move(batch), wants);
    }
  }
}

void KvStream::begin_empty(StreamWants& wants) {
  quiet_ = false;
  if (!restarts_.take(now_)) {
    restart_due_ = true;
    phase_ = Phase::live;
    return;
  }
  ++counters_.restarts;
  replay_keeps_ = replay_tried_ = false;
  life_ = Life{crdt::Epoch{life_->epoch.value + 1}, 0, {}, true};
  foreign_.reset();
  must_begin_ = false;
  tied_ = true;
  wants.begun = life_->epoch;
  finish(Gap::accept, wants);
}

void KvStream::deliver(RawBatch batch, StreamWants& wants) {
  const std::uint64_t sequence = batch.sequence;
  if (std::exchange(life_->is_unnamed, false) && sequence == 0) {
    const std::uint64_t stamp = life_stamp_us(batch.payload);
    life_->epoch.value = std::max(stamp, life_->epoch.value + 1);
  }
  if (late_look_) {
    ++unheard_batches_;
    late_found_ = true;
  }
  const std::uint64_t digest = batch_digest(sequence, batch.payload);
  if (sequence != life_->next) life_->recent.clear();
  life_->recent.push_back(digest);
  if (life_->recent.size() > kRecent) life_->recent.pop_front();
  life_->next = sequence + 1;
  if (phase_ == Phase::replaying) replayed_stamp_ = batch_stamp_us(batch.payload);
  wants.deliver.push_back({life_->epoch, crdt::Version{sequence}, std::move(batch), digest});
  if (foreign_) compare_with_foreign(sequence, digest);
}

// Others' later epoch, when we come to the batch they know: the same life, or not what we hear.
void KvStream::compare_with_foreign(std::uint64_t sequence, std::uint64_t digest) {
  const std::uint64_t end = foreign_->end.value;
  if (sequence + 1 < end) return;
  if (sequence + 1 == end && foreign_->last_batch != 0 && foreign_->last_batch != digest) {
    must_begin_ = true;  // with a greater epoch
    return;
  }
  life_->epoch = foreign_->epoch;
  foreign_.reset();
}

}  // namespace dualmesh::node
