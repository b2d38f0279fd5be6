// The replicating half of SharedState: what to send, what to accept, and where we are.
#include "net/error.h"
#include "net/mesh_codec.h"
#include "node/mesh/planted.h"
#include "node/mesh/shared_state.h"

namespace dualmesh::node {
namespace {

using net::StreamKind;

// The order of a push: who is there, what they serve, what to obey; then load, which routing waits
// for.
constexpr StreamKind kTableOrder[] = {StreamKind::membership, StreamKind::registry,
                                      StreamKind::settings, StreamKind::depth};
constexpr StreamKind kFeedOrder[] = {StreamKind::load, StreamKind::status, StreamKind::health,
                                     StreamKind::residency};

constexpr std::size_t kStatusRows = 64;

// Bytes of one row on the wire but for its texts, for cutting a push.
std::size_t row_bytes(StreamKind kind) {
  switch (kind) {
    case StreamKind::membership:
      return 104;
    case StreamKind::registry:
    case StreamKind::settings:
      return 72;
    case StreamKind::load:
      return 56;
    case StreamKind::depth:
    case StreamKind::health:
    case StreamKind::status:
    case StreamKind::residency:
      return 24;
  }
  return 104;
}

std::size_t text_bytes(const net::MembershipTable::Entry& row) {
  const crdt::Member& member = row.value;
  return member.name.size() + member.mesh_address.size() + member.http_address.size() +
         member.build.size();
}
std::size_t text_bytes(const net::RegistryTable::Entry& row) {
  return row.key.instance.size() + row.value.value.size();
}
std::size_t text_bytes(const net::SettingsTable::Entry& row) {
  std::size_t bytes = row.key.name.size() + 16 * row.value.seen().size();
  for (const auto& sibling : row.value.siblings()) bytes += 48 + sibling.value.size();
  return bytes;
}
std::size_t text_bytes(const auto&) { return 0; }

// How many of the first rows fit into `limit` bytes, and what they take.
struct Fit {
  std::size_t rows = 0;
  std::size_t bytes = 0;
};
Fit fit(const net::StreamDelta& delta, std::size_t limit) {
  return std::visit(
      [&](const auto& body) {
        Fit result;
        for (const auto& row : body.entries) {
          const std::size_t more = row_bytes(delta.kind()) + text_bytes(row);
          if (result.bytes + more > limit) break;
          result.bytes += more;
          ++result.rows;
        }
        return result;
      },
      delta.body);
}

std::size_t rows_of(const net::StreamDelta& delta) {
  return std::visit([](const auto& body) { return body.entries.size(); }, delta.body);
}

bool begins_anew(const net::StreamDelta& delta) {
  return rows_of(delta) > 0 &&
         std::visit([](const auto& body) { return body.from_excluded == crdt::Version{}; },
                    delta.body);
}

template <class Feed>
const Feed* feed_of(const Feed& own, const crdt::Columns<Feed>& copies, crdt::Origin self,
                    crdt::Origin writer) {
  if (writer == self) return &own;
  const auto* column = copies.find(writer.node);
  return column == nullptr || column->epoch != writer.epoch ? nullptr : &column->feed;
}

}  // namespace

crdt::Version SharedState::version_of(StreamKind kind, crdt::Origin writer) const {
  const auto of = [&](const auto& own, const auto& copies) {
    const auto* feed = feed_of(own, copies, self_, writer);
    return feed == nullptr ? crdt::Version{} : feed->version();
  };
  if (net::is_table(kind) && writer != self_) return {};
  switch (kind) {
    case StreamKind::membership:
      return members_.version();
    case StreamKind::registry:
      return registry_.version();
    case StreamKind::settings:
      return settings_.version();
    case StreamKind::depth:
      return depth_.version();
    case StreamKind::load:
      return of(own_load_, loads_);
    case StreamKind::health:
      return of(own_health_, healths_);
    case StreamKind::status:
      return of(own_status_, statuses_);
    case StreamKind::residency:
      return of(own_residency_, residencies_);
  }
  return {};
}

net::StreamDelta SharedState::feed_delta(StreamKind kind, crdt::Origin writer, crdt::Version from,
                                         std::size_t rows) const {
  const auto of = [&](const auto& own, const auto& copies) -> net::StreamDelta {
    return {writer, feed_of(own, copies, self_, writer)->delta_since(from, rows)};
  };
  switch (kind) {
    case StreamKind::load:
      return of(own_load_, loads_);
    case StreamKind::health:
      return of(own_health_, healths_);
    case StreamKind::status:
      return of(own_status_, statuses_);
    default:
      return of(own_residency_, residencies_);
  }
}

template <class Pick>
net::StreamDelta SharedState::table_delta(StreamKind kind, crdt::Version from, std::size_t rows,
                                          Pick&& pick) const {
  switch (kind) {
    case StreamKind::membership:
      return {self_, members_.delta_since(from, rows, pick)};
    case StreamKind::registry:
      return {self_, registry_.delta_since(from, rows, pick)};
    case StreamKind::settings:
      return {self_, settings_.delta_since(from, rows, pick)};
    default:
      return {self_, depth_.delta_since(from, rows, pick)};
  }
}

crdt::Version SharedState::floor_of(crdt::Origin writer) const {
  const auto* feed = feed_of(own_residency_, residencies_, self_, writer);
  return feed == nullptr ? crdt::Version{} : feed->floor();
}

bool SharedState::has_news(const Acknowledged& acknowledged, const TableChoice& choice) const {
  for (const StreamKind kind : kFeedOrder) {
    if (acknowledged.versions[index_of(kind)] < version_of(kind, self_)) return true;
  }
  if (!planted(Plant::expiry_not_told) && acknowledged.residency_floor < own_residency_.floor()) {
    return true;
  }
  return std::any_of(std::begin(kTableOrder), std::end(kTableOrder), [&](StreamKind kind) {
    const TableRange range = range_of(kind, acknowledged, choice);
    return range.from < version_of(kind, self_) &&
           rows_of(table_delta(kind, range.from, 1, range.pick)) > 0;
  });
}

bool SharedState::has_others_words(StreamKind table, crdt::Version from, crdt::NodeId peer) const {
  return rows_of(table_delta(table, from, 1, [peer](crdt::NodeId source) {
           return source != crdt::NodeId{} && source != peer;
         })) > 0;
}

SharedState::TableRange SharedState::range_of(StreamKind table, const Acknowledged& acknowledged,
                                              const TableChoice& choice) {
  const std::size_t index = index_of(table);
  const crdt::Version reached = acknowledged.versions[index];
  TableRange range{reached, std::max(reached, choice.searched[index]), {}};
  const bool repeat = choice.again[index].has_value();
  if (repeat) range.from = std::min(reached, *choice.again[index]);
  if (choice.everything || repeat) {
    range.pick = [](crdt::NodeId) { return true; };
  } else if (table == StreamKind::membership) {
    range.pick = [peer = choice.peer](crdt::NodeId source) { return source != peer; };
  } else {
    range.pick = [](crdt::NodeId source) { return source == crdt::NodeId{}; };
  }
  return range;
}

SharedState::Batch SharedState::collect(const Acknowledged& acknowledged,
                                        const RelayedWriters& relayed, std::size_t max_bytes,
                                        const TableChoice& choice) const {
  Batch batch;
  batch.searched = choice.searched;
  std::size_t left = max_bytes;
  if (!append_tables(acknowledged, choice, left, batch)) return batch;
  if (!append_feeds(self_, acknowledged, left, batch)) return batch;
  for (const auto& [writer, relay] : relayed) {
    const crdt::Member* member = members_.find(writer);
    if (member == nullptr || !member->reachable() || planted(Plant::relays_nothing)) continue;
    const Acknowledged at = member->epoch == relay.epoch ? relay.acknowledged : Acknowledged{};
    if (!append_feeds({writer, member->epoch}, at, left, batch)) return batch;
  }
  return batch;
}

bool SharedState::append_tables(const Acknowledged& acknowledged, const TableChoice& choice,
                                std::size_t& left, Batch& batch) const {
  for (const StreamKind kind : kTableOrder) {
    const TableRange range = range_of(kind, acknowledged, choice);
    const crdt::Version version = version_of(kind, self_);
    if (range.from >= version) continue;
    const std::size_t rows = std::min(left / row_bytes(kind), net::CodecLimits::kRows);
    if (rows == 0) return batch.complete = false;
    net::StreamDelta delta = table_delta(kind, range.from, rows, range.pick);
    if (rows_of(delta) == 0 && !choice.everything) {
      batch.searched[index_of(kind)] = version;
      continue;
    }
    const Fit fits = fit(delta, left);
    if (fits.rows < rows_of(delta)) {
      // A row longer than a whole push goes alone, or nothing would ever go on.
      if (fits.rows == 0 && !batch.deltas.empty()) return batch.complete = false;
      delta = table_delta(kind, range.from, std::max<std::size_t>(fits.rows, 1), range.pick);
    }
    left -= fits.rows == 0 && rows_of(delta) > 0 ? left : fits.bytes;
    if (end_of(delta) < version) batch.complete = planted(Plant::cut_is_complete);
    // It joins on to what the peer has, although what lies between was passed over.
    std::visit([&](auto& body) { body.from_excluded = std::min(range.from, range.reached); },
               delta.body);
    batch.deltas.push_back(std::move(delta));
  }
  return true;
}

bool SharedState::append_feeds(crdt::Origin writer, const Acknowledged& acknowledged,
                               std::size_t& left, Batch& batch) const {
  for (const StreamKind kind : kFeedOrder) {
    const crdt::Version from = acknowledged.versions[index_of(kind)];
    const crdt::Version version = version_of(kind, writer);
    const bool expired = kind == StreamKind::residency && version != crdt::Version{} &&
                         acknowledged.residency_floor < floor_of(writer) &&
                         !planted(Plant::expiry_not_told);
    if (from >= version && !expired) continue;
    const std::size_t rows = std::min(left / row_bytes(kind), net::CodecLimits::kRows);
    if (rows == 0 || batch.deltas.size() >= net::CodecLimits::kDeltas) {
      return batch.complete = false;
    }
    net::StreamDelta delta = feed_delta(kind, writer, from, rows);
    left -= std::min(left, rows_of(delta) * row_bytes(kind));
    if (end_of(delta) < version) batch.complete = planted(Plant::cut_is_complete);
    batch.deltas.push_back(std::move(delta));
  }
  return true;
}

void SharedState::grow(const net::DepthTable::Entry& row, crdt::NodeId source) {
  if (depth_.join(row.key, row.value, source)) observer_.depth_grew();
}

template <class Delta>
void SharedState::apply_table(StreamKind kind, const Delta& delta, crdt::Origin sender,
                              std::uint64_t wall_ms) {
  Received& received = received_[sender.node];
  if (sender.epoch < received.epoch) return ++counters_.stale_writer, void();
  if (sender.epoch > received.epoch) received = Received{sender.epoch, {}};
  crdt::Version& reached = received.versions[index_of(kind)];
  if (delta.to < delta.from_excluded) return count(crdt::Applied::malformed);
  if (delta.from_excluded > reached) return count(crdt::Applied::gap);
  // A sender that starts over, or repeats what we turned out to lack, says so by its range; rows
  // that we hold already change nothing.
  if (delta.from_excluded == crdt::Version{}) reached = {};
  if (delta.to <= reached && delta.entries.empty()) return count(crdt::Applied::duplicate);
  const std::uint64_t from_our_future = counters_.far_future;
  for (const auto& row : delta.entries) {
    if (admit(row, wall_ms)) grow(row, sender.node);
  }
  // Rows refused for their stamp are not acknowledged: they come again until the clocks agree.
  if (counters_.far_future == from_our_future) reached = std::max(reached, delta.to);
  count(crdt::Applied::changed);
}

bool SharedState::accepts_feeds_of(crdt::Origin writer) const {
  const crdt::Member* member = members_.find(writer.node);
  return writer.node != self_.node && member != nullptr && member->reachable() &&
         member->epoch == writer.epoch;
}

// Would the feed stay within its bound? A feed that says more than any honest writer is refused
// whole: part of it would have another digest at the same version.
template <class Feed, class Delta>
bool SharedState::fits_in(const Feed& feed, const Delta& delta) const {
  std::size_t rows = feed.size();
  std::size_t limit = kNamesPerInstance * std::size_t{config_.max_instances} + 1;  // + the beacon
  if constexpr (std::is_same_v<Feed, net::StatusFeed>) limit = kStatusRows;
  if constexpr (std::is_same_v<Feed, net::ResidencyFeed>) {
    limit = 2 * std::size_t{config_.max_placements};
    if (rows + delta.entries.size() <= limit) return true;  // without a look at each
    for (const auto& row : delta.entries) rows += feed.contains(row.key) ? 0 : 1;
  } else {
    for (const auto& row : delta.entries) rows += feed.find(row.key) != nullptr ? 0 : 1;
  }
  return rows <= limit;
}

template <class Delta>
void SharedState::apply_feed(const Delta& delta, crdt::Origin writer) {
  if (!accepts_feeds_of(writer)) return ++counters_.stale_writer, void();
  auto apply_to = [&](auto& columns, auto&& grew) {
    auto* feed = columns.open(writer);
    if (feed == nullptr) return ++counters_.stale_writer, void();
    if (!fits_in(*feed, delta)) return ++counters_.over_bounds, void();
    const crdt::Applied applied = feed->apply(delta);
    count(applied);
    if (applied == crdt::Applied::changed) grew();
  };
  if constexpr (std::is_same_v<Delta, net::LoadFeed::Delta>) {
    apply_to(loads_, [&] { observer_.load_grew(writer.node, delta); });
  } else if constexpr (std::is_same_v<Delta, net::HealthFeed::Delta>) {
    apply_to(healths_, [&] { observer_.health_grew(writer.node); });
  } else if constexpr (std::is_same_v<Delta, net::StatusFeed::Delta>) {
    apply_to(statuses_, [&] { observer_.status_grew(writer.node); });
  } else {
    auto* feed = residencies_.open(writer);
    if (feed == nullptr) return ++counters_.stale_writer, void();
    if (!fits_in(*feed, delta)) return ++counters_.over_bounds, void();
    const auto ignore = [](const net::PlacementKey&) {};
    const crdt::Applied applied = feed->apply(delta, ignore, ignore);
    count(applied);
    // The rows, not only what was new: a block placed again is news to whoever ages placements.
    if (applied == crdt::Applied::changed) observer_.placements_grew(delta);
  }
}

net::StreamPosition SharedState::apply(const net::StreamDelta& delta, crdt::Origin sender,
                                       std::uint64_t wall_ms) {
  if (planted(Plant::lose_last_row) && rows_of(delta) > 8) {
    net::StreamDelta less = delta;
    std::visit([](auto& body) { body.entries.pop_back(); }, less.body);
    return apply(less, sender, wall_ms);
  }
  if (delta.origin != sender && net::is_table(delta.kind())) {
    ++counters_.malformed;
    return {delta.kind(), delta.origin, {}, {}};
  }
  if (delta.origin != sender) ++counters_.relayed;
  if (begins_anew(delta)) ++counters_.snapshots;
  std::visit(
      [&](const auto& body) {
        if constexpr (requires { body.entries.front().version; }) {
          apply_feed(body, delta.origin);
        } else {
          apply_table(delta.kind(), body, sender, wall_ms);
        }
      },
      delta.body);
  return position(delta.kind(), delta.origin);
}

void SharedState::count(crdt::Applied applied) {
  switch (applied) {
    case crdt::Applied::changed:
      ++counters_.applied;
      return;
    case crdt::Applied::duplicate:
      ++counters_.duplicates;
      return;
    case crdt::Applied::gap:
      ++counters_.gaps;
      return;
    case crdt::Applied::below_horizon:
      ++counters_.below_horizon;
      return;
    case crdt::Applied::malformed:
      ++counters_.malformed;
      return;
  }
}

}  // namespace dualmesh::node
