// The replicating half of SharedState: what to send, what to accept, and where we are.
#include "net/error.h"
#include "net/mesh_codec.h"
#include "node/mesh/shared_state.h"

namespace dualmesh::node {
namespace {

using net::StreamKind;

// The order of a push: who is there, what they serve, what to obey; then load, which routing waits
// for.
constexpr StreamKind kPushOrder[] = {
    StreamKind::membership, StreamKind::registry, StreamKind::settings, StreamKind::load,
    StreamKind::status,     StreamKind::health,   StreamKind::depth,    StreamKind::residency};

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

void add_feed_positions(StreamKind kind, const auto& columns,
                        std::vector<net::StreamPosition>& out) {
  for (const auto& [node, column] : columns.all()) {
    out.push_back({kind, {node, column.epoch}, column.feed.version(), column.feed.digest()});
  }
}

template <class Feed>
net::StreamPosition feed_position(StreamKind kind, const crdt::Columns<Feed>& columns,
                                  crdt::Origin origin) {
  const auto* column = columns.find(origin.node);
  if (column == nullptr || column->epoch != origin.epoch) return {kind, origin, {}, {}};
  return {kind, origin, column->feed.version(), column->feed.digest()};
}

}  // namespace

crdt::Version SharedState::version_of(StreamKind kind) const {
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
      return own_load_.version();
    case StreamKind::health:
      return own_health_.version();
    case StreamKind::status:
      return own_status_.version();
    case StreamKind::residency:
      return own_residency_.version();
  }
  return {};
}

net::StreamDelta SharedState::delta_of(StreamKind kind, crdt::Version from,
                                       std::size_t rows) const {
  switch (kind) {
    case StreamKind::membership:
      return {self_, members_.delta_since(from, rows)};
    case StreamKind::registry:
      return {self_, registry_.delta_since(from, rows)};
    case StreamKind::settings:
      return {self_, settings_.delta_since(from, rows)};
    case StreamKind::depth:
      return {self_, depth_.delta_since(from, rows)};
    case StreamKind::load:
      return {self_, own_load_.delta_since(from, rows)};
    case StreamKind::health:
      return {self_, own_health_.delta_since(from, rows)};
    case StreamKind::status:
      return {self_, own_status_.delta_since(from, rows)};
    case StreamKind::residency:
      break;
  }
  return {self_, own_residency_.delta_since(from, rows)};
}

bool SharedState::has_news(const Acknowledged& acknowledged) const {
  for (const StreamKind kind : kPushOrder) {
    if (acknowledged.versions[index_of(kind)] < version_of(kind)) return true;
  }
  return acknowledged.residency_floor < own_residency_.floor();
}

SharedState::Batch SharedState::collect(const Acknowledged& acknowledged,
                                        std::size_t max_bytes) const {
  Batch batch;
  std::size_t left = max_bytes;
  for (const StreamKind kind : kPushOrder) {
    const crdt::Version from = acknowledged.versions[index_of(kind)];
    const bool expired =
        kind == StreamKind::residency && acknowledged.residency_floor < own_residency_.floor();
    if (from >= version_of(kind) && !expired) continue;
    const std::size_t rows = std::min(left / row_bytes(kind), net::CodecLimits::kRows);
    if (rows == 0) {
      batch.complete = false;
      break;
    }
    net::StreamDelta delta = delta_of(kind, from, rows);
    Fit fits = fit(delta, left);
    if (net::is_table(kind) && fits.rows < rows_of(delta)) {
      // A row longer than a whole push goes alone, or nothing would ever go on.
      if (fits.rows == 0 && !batch.deltas.empty()) {
        batch.complete = false;
        break;
      }
      delta = delta_of(kind, from, std::max<std::size_t>(fits.rows, 1));
    }
    left -= fits.rows == 0 && rows_of(delta) > 0 ? left : fits.bytes;
    if (end_of(delta) < version_of(kind)) batch.complete = false;
    batch.deltas.push_back(std::move(delta));
  }
  return batch;
}

void SharedState::grow(const net::DepthTable::Entry& row) {
  if (depth_.join(row.key, row.value)) observer_.depth_grew();
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
  if (delta.from_excluded == crdt::Version{}) {
    reached = {};  // the sender starts over, to repair: everything is taken once more
  } else if (delta.to <= reached) {
    return count(crdt::Applied::duplicate);
  }
  const std::uint64_t from_our_future = counters_.far_future;
  for (const auto& row : delta.entries) {
    if (admit(row, wall_ms)) grow(row);
  }
  // Rows refused for their stamp are not acknowledged: they come again until the clocks agree.
  if (counters_.far_future == from_our_future) reached = delta.to;
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
    apply_to(healths_, [] {});
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
  if (delta.origin != sender) {
    ++counters_.malformed;
    return {delta.kind(), delta.origin, {}, {}};
  }
  std::visit(
      [&](const auto& body) {
        if constexpr (requires { body.entries.front().version; }) {
          apply_feed(body, sender);
        } else {
          apply_table(delta.kind(), body, sender, wall_ms);
        }
      },
      delta.body);
  return position(delta.kind(), sender);
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

net::StreamPosition SharedState::position(StreamKind kind, crdt::Origin origin) const {
  if (origin.node == self_.node) {
    for (const auto& own : positions()) {
      if (own.kind == kind && own.origin == origin) return own;
    }
    return {kind, origin, {}, {}};
  }
  switch (kind) {
    case StreamKind::load:
      return feed_position(kind, loads_, origin);
    case StreamKind::health:
      return feed_position(kind, healths_, origin);
    case StreamKind::status:
      return feed_position(kind, statuses_, origin);
    case StreamKind::residency:
      return feed_position(kind, residencies_, origin);
    default:
      break;
  }
  auto received = received_.find(origin.node);
  if (received == received_.end() || received->second.epoch != origin.epoch) {
    return {kind, origin, {}, {}};
  }
  return {kind, origin, received->second.versions[index_of(kind)], {}};
}

std::vector<net::StreamPosition> SharedState::positions() const {
  std::vector<net::StreamPosition> out;
  auto own = [&](StreamKind kind, crdt::StateDigest digest) {
    out.push_back({kind, self_, version_of(kind), digest});
  };
  own(StreamKind::membership, members_.digest());
  own(StreamKind::registry, registry_.digest());
  own(StreamKind::settings, settings_.digest());
  own(StreamKind::depth, depth_.digest());
  own(StreamKind::load, own_load_.digest());
  own(StreamKind::health, own_health_.digest());
  own(StreamKind::status, own_status_.digest());
  own(StreamKind::residency, own_residency_.digest());
  add_feed_positions(StreamKind::load, loads_, out);
  add_feed_positions(StreamKind::health, healths_, out);
  add_feed_positions(StreamKind::status, statuses_, out);
  add_feed_positions(StreamKind::residency, residencies_, out);
  return out;
}

std::uint64_t SharedState::root() const {
  std::uint64_t sum = 0;
  for (const net::StreamPosition& at : positions()) {
    crdt::EntryHasher hasher;
    hasher.add(at.kind).add(at.digest.count).add(at.digest.sum);
    if (!net::is_table(at.kind)) {
      if (at.version == crdt::Version{}) continue;  // nothing said yet: as if there were no column
      hasher.add(at.origin.node.value).add(at.origin.epoch.value).add(at.version.value);
    }
    sum += hasher.finish();
  }
  return sum;
}

void SharedState::check_digest(const net::StreamPosition& theirs) {
  const net::StreamPosition ours = position(theirs.kind, theirs.origin);
  const bool comparable = !net::is_table(theirs.kind) && theirs.origin.node != self_.node &&
                          ours.version != crdt::Version{} && ours.version == theirs.version;
  // Expiry moves the digest of a window without moving its version.
  if (theirs.kind == StreamKind::residency) return;
  if (!comparable || ours.digest == theirs.digest) return;
  ++counters_.digest_mismatches;
  switch (theirs.kind) {
    case StreamKind::load:
      return loads_.drop(theirs.origin.node);
    case StreamKind::health:
      return healths_.drop(theirs.origin.node);
    case StreamKind::status:
      return statuses_.drop(theirs.origin.node);
    default:
      return;
  }
}

}  // namespace dualmesh::node
