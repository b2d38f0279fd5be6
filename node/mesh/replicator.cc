#include "node/mesh/replicator.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "net/mesh_codec.h"
#include "node/mesh/planted.h"

namespace dualmesh::node {
namespace {

constexpr auto kMinInterval = std::chrono::milliseconds(2);
constexpr int kSlightIntervals = 4;  // may pass before what is slight is told
// What is due so soon goes now: the pushes to all peers and the changes that lead to them keep one
// pace, and a pace of their own by what passes within a turn would be a wake-up for each.
constexpr auto kSoon = std::chrono::milliseconds(1);
// After a push of which nothing was applied: the peer cannot take it now, so do not storm it.
constexpr auto kRefusedPause = std::chrono::milliseconds(250);
// Before a table that the peer refused for its stamps is offered again: apart, so that the peers of
// one node do not all get it at once.
constexpr policies::Duration kRetryMin = std::chrono::seconds(2);
constexpr policies::Duration kRetryMax = std::chrono::seconds(5);
// Two pings with differing tables: longer than what is under way takes.
constexpr policies::Duration kPatience = std::chrono::milliseconds(400);
constexpr policies::Duration kMostPatience = std::chrono::seconds(10);
constexpr net::StreamKind kForwarded[] = {net::StreamKind::registry, net::StreamKind::settings,
                                          net::StreamKind::depth};

bool begins(const net::StreamDelta& delta) {
  return std::visit([](const auto& body) { return body.from_excluded == crdt::Version{}; },
                    delta.body);
}

}  // namespace

Replicator::Replicator(MeshContext& context, const SharedState& state, crdt::NodeId peer,
                       OnAnswer on_answer, OnFailure on_failure)
    : context_(context),
      state_(state),
      on_answer_(std::move(on_answer)),
      on_failure_(std::move(on_failure)),
      choice_{.peer = peer, .everything = false},
      patience_(kPatience),
      pacer_(kMinInterval, std::chrono::milliseconds(context.config.flush_interval_ms)),
      tasks_(*this) {}

void Replicator::attach(wire::Peer::Client peer) {
  ++attachment_;
  last_answer_ = nullptr;
  peer_ = kj::mv(peer);
  attached_at_ = context_.now();
  if (!planted(Plant::stuck_after_lost_link)) in_flight_since_.reset();
  in_flight_ = {};
  held_ = {};
  retrying_ = false;
  differs_since_.reset();
  not_before_ = policies::Time{0};
  if (!in_step() && !dirty_since_) dirty_since_ = context_.now();
  urgency_ = std::max(urgency_, Urgency::paced);
  schedule();
}

void Replicator::detach() {
  ++attachment_;
  last_answer_ = nullptr;
  peer_ = nullptr;
  if (planted(Plant::stuck_after_lost_link)) return;
  if (in_flight_since_) dirty_since_ = in_flight_since_;
  in_flight_since_.reset();
  in_flight_ = {};
}

void Replicator::start_over() {
  acknowledged_ = Acknowledged{};
  for (auto& [writer, relay] : relayed_) relay.acknowledged = Acknowledged{};
  choice_.searched = {};
  choice_.again = {};
  confirmed_ = {};
  ++stats_.resets;
  state_changed();
}

void Replicator::state_changed(Urgency urgency) {
  urgency_ = std::max(urgency_, urgency);
  if (!dirty_since_) dirty_since_ = context_.now();
  schedule();
}

void Replicator::peer_is_at(const net::StreamPosition& position) {
  crdt::Version& known = acknowledged_.versions[index_of(position.kind)];
  if (position.origin != state_.self() || position.version >= known) return;
  if (in_flight_[index_of(position.kind)]) return;  // its answer is newer than this
  known = position.version;
  if (net::is_table(position.kind)) choice_.searched[index_of(position.kind)] = {};
  if (position.kind == net::StreamKind::residency) acknowledged_.residency_floor = {};
  ++stats_.resets;
  state_changed();
}

void Replicator::repair(net::StreamKind table) {
  if (in_flight_[index_of(table)]) return;
  choice_.again[index_of(table)] = crdt::Version{};
  ++stats_.resets;
  state_changed();
}

void Replicator::peer_joins(bool joining) {
  const bool before = std::exchange(choice_.everything, joining);
  if (!joining || before) return;
  for (const net::StreamKind table : kForwarded) choice_.again[index_of(table)] = crdt::Version{};
  choice_.searched = {};
  state_changed(Urgency::at_once);
}

void Replicator::peer_tables(std::uint64_t digest) {
  const policies::Time now = context_.now();
  if (digest == state_.tables_digest()) {
    for (const net::StreamKind table : kForwarded) {
      confirmed_[index_of(table)] = state_.version_of(table);
    }
    differs_since_.reset();
    patience_ = kPatience;
    return;
  }
  if (!differs_since_) differs_since_ = now;
  if (now - *differs_since_ < patience_ || in_flight_since_) return;
  differs_since_ = now;
  patience_ = std::min(2 * patience_, kMostPatience);
  bool any = false;
  for (const net::StreamKind table : kForwarded) {
    const crdt::Version from = confirmed_[index_of(table)];
    if (!state_.has_others_words(table, from, choice_.peer)) continue;
    choice_.again[index_of(table)] = from;
    any = true;
  }
  if (any) state_changed();
}

// A table was sent again up to `to`, and taken.
void Replicator::repeated(net::StreamKind table, crdt::Version to, bool complete) {
  auto& again = choice_.again[index_of(table)];
  auto& confirmed = confirmed_[index_of(table)];
  confirmed = std::max(confirmed, to);
  if (complete) {
    again.reset();
  } else {
    again = to;
  }
}

void Replicator::retry_held() {
  if (std::find(held_.begin(), held_.end(), true) == held_.end()) return;
  retrying_ = true;
  state_changed();
}

void Replicator::retry_later() {
  if (retry_waiting_ || std::find(held_.begin(), held_.end(), true) == held_.end()) return;
  retry_waiting_ = true;
  std::uniform_int_distribution<std::int64_t> draw(kRetryMin.count(), kRetryMax.count());
  tasks_.add(context_.after(policies::Duration(draw(context_.random))).then([this]() {
    retry_waiting_ = false;
    retry_held();
  }));
}

void Replicator::peer_holds(const net::FeedPositions& held) {
  peer_is_at({net::StreamKind::load, held.writer, held.load, {}});
  peer_is_at({net::StreamKind::health, held.writer, held.health, {}});
  peer_is_at({net::StreamKind::status, held.writer, held.status, {}});
  peer_is_at({net::StreamKind::residency, held.writer, held.residency, {}});
}

void Replicator::relay(const std::vector<net::FeedPositions>& writers) {
  RelayedWriters wanted;
  bool behind = false;
  for (const net::FeedPositions& at : writers) {
    auto known = relayed_.find(at.writer.node);
    if (known != relayed_.end() && in_flight_since_) {  // its answer is newer than this
      wanted[at.writer.node] = known->second;
      continue;
    }
    RelayedWriter& relay = wanted[at.writer.node];
    relay.epoch = at.writer.epoch;
    auto& versions = relay.acknowledged.versions;
    versions[index_of(net::StreamKind::load)] = at.load;
    versions[index_of(net::StreamKind::health)] = at.health;
    versions[index_of(net::StreamKind::status)] = at.status;
    versions[index_of(net::StreamKind::residency)] = at.residency;
    if (known != relayed_.end() && known->second.epoch == relay.epoch && at.residency.value != 0) {
      relay.acknowledged.residency_floor = known->second.acknowledged.residency_floor;
    }
    behind = behind || known == relayed_.end() || known->second.acknowledged.versions != versions;
  }
  relayed_ = std::move(wanted);
  if (behind) state_changed();
}

// Null: of no writer that this peer wants, or of another life of it.
Acknowledged* Replicator::acknowledged_of(crdt::Origin writer) {
  if (writer == state_.self()) return &acknowledged_;
  auto entry = relayed_.find(writer.node);
  if (entry == relayed_.end()) return nullptr;
  RelayedWriter& relay = entry->second;
  const crdt::Member* member = state_.members().find(writer.node);
  if (member == nullptr || member->epoch != writer.epoch) return nullptr;
  if (relay.epoch != writer.epoch) relay = {writer.epoch, {}};
  return &relay.acknowledged;
}

Acknowledged Replicator::to_send_after() const {
  Acknowledged after = acknowledged_;
  for (std::size_t i = 0; i < held_.size(); ++i) {
    if (held_[i] && !retrying_) after.versions[i] = crdt::Version{~std::uint64_t{0}};
  }
  return after;
}

double Replicator::pending_ms() const {
  if (in_step()) return 0.0;
  const auto& oldest = in_flight_since_ ? in_flight_since_ : dirty_since_;
  return oldest ? to_ms(context_.now() - *oldest) : 0.0;
}

void Replicator::schedule() {
  if (peer_ == nullptr || in_flight_since_ || !dirty_since_) return;
  const policies::Time now = context_.now();
  policies::Time paced = now;
  if (urgency_ == Urgency::paced) paced = pacer_.next();
  if (urgency_ == Urgency::slight) {
    paced = pacer_.last() +
            kSlightIntervals * std::chrono::milliseconds(context_.config.flush_interval_ms);
  }
  const policies::Time at = std::max(paced, not_before_);
  if (at <= now + kSoon) return push();
  if (waiting_until_ && *waiting_until_ <= at) return;
  waiting_until_ = at;
  tasks_.add(context_.after(at - now).then([this, at]() {
    if (waiting_until_ == at) waiting_until_.reset();
    schedule();
  }));
}

void Replicator::push() {
  Sent sent{state_.collect(to_send_after(), relayed_, context_.config.max_push_bytes, choice_),
            choice_, *dirty_since_};
  if (std::exchange(retrying_, false)) {
    const auto held = std::exchange(held_, {});
    for (const net::StreamDelta& delta : sent.batch.deltas) {
      held_[index_of(delta.kind())] = held[index_of(delta.kind())];  // until the answer
    }
  }
  dirty_since_.reset();
  urgency_ = Urgency::slight;
  choice_.searched = sent.batch.searched;
  if (sent.batch.deltas.empty()) {
    if (sent.batch.complete) choice_.again = {};  // there was nothing to repeat
    return;
  }
  in_flight_since_ = sent.first_change;
  pacer_.acted(context_.now());

  auto request = KJ_ASSERT_NONNULL(peer_).pushRequest();
  auto deltas = request.initDeltas(static_cast<unsigned>(sent.batch.deltas.size()));
  for (unsigned i = 0; i < deltas.size(); ++i) {
    const net::StreamDelta& delta = sent.batch.deltas[i];
    net::write_delta(delta, deltas[i]);
    const std::uint64_t bytes = deltas[i].asReader().totalSize().wordCount * sizeof(capnp::word);
    stats_.bytes_sent += bytes;
    stats_.stream_bytes_sent[index_of(delta.kind())] += bytes;
    stats_.snapshots += begins(delta) ? 1 : 0;
    if (delta.origin != state_.self()) continue;
    in_flight_[index_of(delta.kind())] = true;
  }
  ++stats_.pushes;

  const std::uint64_t attachment = attachment_;
  auto answer = context_.timer.timeoutAfter(
      context_.config.call_timeout_ms * kj::MILLISECONDS,
      request.send().then([](auto&& response) { return kj::mv(response); }));
  last_answer_ = nullptr;
  tasks_.add(answer.then(
      [this, attachment, sent = std::move(sent)](auto&& response) {
        if (attachment != attachment_) return;
        last_answer_ = kj::mv(response);
        auto positions = net::read_positions(KJ_ASSERT_NONNULL(last_answer_).getPositions());
        if (!positions) return failed(positions.error().message);
        answered(sent, *positions);
      },
      [this, attachment](kj::Exception&& exception) {
        if (attachment == attachment_) failed(exception.getDescription().cStr());
      }));
}

void Replicator::answered(const Sent& sent, const std::vector<net::StreamPosition>& positions) {
  in_flight_since_.reset();
  in_flight_ = {};
  bool moved = false;
  std::array<bool, net::kStreamKinds> moved_streams{};
  bool behind = false;
  for (const net::StreamPosition& position : positions) {
    Acknowledged* acknowledged = acknowledged_of(position.origin);
    if (acknowledged == nullptr) continue;
    crdt::Version& known = acknowledged->versions[index_of(position.kind)];
    if (position.version < known) {
      ++stats_.resets;
      if (net::is_table(position.kind)) choice_.searched[index_of(position.kind)] = {};
    }
    if (position.version != known) moved = moved_streams[index_of(position.kind)] = true;
    known = position.version;
  }
  for (const net::StreamDelta& delta : sent.batch.deltas) {
    Acknowledged* acknowledged = acknowledged_of(delta.origin);
    if (acknowledged == nullptr) continue;
    if (acknowledged->versions[index_of(delta.kind())] < end_of(delta)) {
      ++stats_.refused_deltas;
      // A gap would have moved the position: what a table does not take at all is from its future.
      const bool held = net::is_table(delta.kind()) && !moved_streams[index_of(delta.kind())];
      held_[index_of(delta.kind())] = held;
      behind = behind || !held;
    } else if (net::is_table(delta.kind())) {
      held_[index_of(delta.kind())] = false;
      if (sent.choice.again[index_of(delta.kind())]) {
        repeated(delta.kind(), end_of(delta), sent.batch.complete);
        moved = true;
      }
    } else if (delta.kind() == net::StreamKind::residency) {
      const crdt::Version floor = std::get<net::ResidencyFeed::Delta>(delta.body).floor;
      moved = moved || acknowledged->residency_floor < floor;
      acknowledged->residency_floor = floor;
    }
  }
  if (behind || !sent.batch.complete) {
    if (!dirty_since_ || *dirty_since_ > sent.first_change) dirty_since_ = sent.first_change;
    urgency_ = std::max(urgency_, Urgency::paced);
    if (!moved) not_before_ = context_.now() + kRefusedPause;
  } else {
    stats_.ack.record(to_ms(context_.now() - std::max(sent.first_change, attached_at_)));
  }
  retry_later();
  on_answer_();
  schedule();
}

void Replicator::failed(const std::string& reason) {
  ++stats_.failures;
  dirty_since_ = in_flight_since_;
  in_flight_since_.reset();
  in_flight_ = {};
  on_failure_(reason);
}

void Replicator::taskFailed(kj::Exception&& exception) {
  // Everything that can fail is handled where it was started; what is left is worth a line.
  spdlog::error("mesh: push: {}", exception.getDescription().cStr());
  on_failure_(exception.getDescription().cStr());
}

}  // namespace dualmesh::node
