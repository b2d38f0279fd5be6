// Where SharedState is in every stream, for acknowledgements, digest exchanges and people.
#include "node/mesh/shared_state.h"

namespace dualmesh::node {
namespace {

using net::StreamKind;

template <class Feed>
bool is_partial(const Feed& feed) {
  if constexpr (requires { feed.partial(); }) return feed.partial();
  return false;
}

void add_feed_positions(StreamKind kind, const auto& columns,
                        std::vector<net::StreamPosition>& out) {
  for (const auto& [node, column] : columns.all()) {
    out.push_back({kind,
                   {node, column.epoch},
                   column.feed.version(),
                   column.feed.digest(),
                   is_partial(column.feed)});
  }
}

template <class Feed>
net::StreamPosition feed_position(StreamKind kind, const crdt::Columns<Feed>& columns,
                                  crdt::Origin origin) {
  const auto* column = columns.find(origin.node);
  if (column == nullptr || column->epoch != origin.epoch) return {kind, origin, {}, {}};
  return {kind, origin, column->feed.version(), column->feed.digest(), is_partial(column->feed)};
}

}  // namespace

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

net::FeedPositions SharedState::feed_positions(crdt::Origin writer) const {
  return {writer, version_of(StreamKind::load, writer), version_of(StreamKind::health, writer),
          version_of(StreamKind::status, writer), version_of(StreamKind::residency, writer)};
}

std::vector<net::StreamPosition> SharedState::positions() const {
  std::vector<net::StreamPosition> out;
  auto own = [&](StreamKind kind, crdt::StateDigest digest) {
    out.push_back({kind, self_, version_of(kind, self_), digest});
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

crdt::BucketSums SharedState::bucket_sums(StreamKind kind, crdt::NodeId writer) const {
  const auto of = [&](const auto& own, const auto& columns) {
    if (writer == self_.node) return own.bucket_sums();
    const auto* column = columns.find(writer);
    return column == nullptr ? crdt::BucketSums{} : column->feed.bucket_sums();
  };
  switch (kind) {
    case StreamKind::membership:
      return members_.bucket_sums();
    case StreamKind::registry:
      return registry_.bucket_sums();
    case StreamKind::settings:
      return settings_.bucket_sums();
    case StreamKind::depth:
      return depth_.bucket_sums();
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

std::uint64_t SharedState::tables_digest() const {
  crdt::EntryHasher hasher;
  for (const crdt::StateDigest& digest :
       {registry_.digest(), settings_.digest(), depth_.digest()}) {
    hasher.add(digest.count).add(digest.sum);
  }
  return hasher.finish();
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
                          ours.version != crdt::Version{} && ours.version == theirs.version &&
                          !ours.partial && !theirs.partial;
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
