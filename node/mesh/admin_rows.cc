// The entries of one stream as text, for `dualmeshctl diff`.
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "node/mesh/admin_server.h"
#include "node/mesh/mesh_node.h"

namespace dualmesh::node {
namespace {

struct TextRow {
  std::string key;
  std::uint64_t version = 0;
  std::string value;
};
using TextRows = std::vector<TextRow>;

// A table's local versions mean nothing to other nodes, so its rows carry none.
void table_rows(const SharedState& state, wire::StreamKind kind, const crdt::Buckets& buckets,
                TextRows& out) {
  if (kind == wire::StreamKind::MEMBERSHIP) {
    state.members().for_each_in(buckets, [&](crdt::NodeId, const crdt::Member& member) {
      out.push_back(
          {member.name, 0,
           fmt::format("epoch {} refutations {} status {} mesh {} http {}", member.epoch.value,
                       member.refutations, static_cast<int>(member.status), member.mesh_address,
                       member.http_address)});
    });
  } else if (kind == wire::StreamKind::REGISTRY) {
    static constexpr const char* kFields[] = {"address", "models", "weight",         "lifecycle",
                                              "source",  "unused", "learned_models", "kv_events"};
    state.registry().for_each_in(buckets, [&](const net::FieldKey& key, const auto& field) {
      const char* name = key.field < std::size(kFields) ? kFields[key.field] : "unknown";
      out.push_back({key.instance + "." + name, 0,
                     fmt::format("{} at {} by {}", field.value, field.stamp.time,
                                 hex(field.stamp.writer.value))});
    });
  } else if (kind == wire::StreamKind::SETTINGS) {
    state.settings().for_each_in(buckets, [&](const net::SettingKey& key, const auto& value) {
      std::string text;
      for (const auto& sibling : value.siblings()) {
        text +=
            fmt::format("{}{} at {}", text.empty() ? "" : " | ", sibling.value, sibling.dot.time);
      }
      out.push_back({key.name, 0, std::move(text)});
    });
  } else {
    state.depth().for_each_in(buckets, [&](const net::DepthKey& key, const auto& deeper) {
      out.push_back(
          {fmt::format("{}/{}", key.bucket, hex(key.prefix)), 0, std::to_string(deeper.value)});
    });
  }
}

std::string row_text(const net::LoadGauges& gauges) {
  return fmt::format(
      "queued {} ({} tokens, head {} ms) prefilling {} ({} tokens) decoding {} ({} tokens)",
      gauges.queued_requests, gauges.queued_tokens, gauges.head_wait_ms, gauges.prefilling_requests,
      gauges.prefilling_tokens, gauges.decoding_requests, gauges.decoding_tokens);
}

std::string row_text(const net::ProbedHealth& health) {
  return health.healthy ? "healthy" : "unhealthy";
}

std::string row_text(const net::StatusNumber& number) { return hex(number.value); }

std::string key_of(std::uint8_t key) {
  static constexpr const char* kKeys[] = {"ready",           "ring_digest", "depth_digest",
                                          "registry_digest", "policy",      "ring_generation"};
  return key < std::size(kKeys) ? kKeys[key] : std::to_string(key);
}

std::string key_of(std::uint64_t key) { return hex(key); }

template <class Feed>
void feed_rows(const Feed& feed, const crdt::Buckets& buckets, TextRows& out) {
  feed.for_each_in(buckets, [&](const auto& key, crdt::Version version, const auto& value) {
    out.push_back({key_of(key), version.value, row_text(value)});
  });
}

void placement_rows(const net::ResidencyFeed& feed, const crdt::Buckets& buckets, TextRows& out) {
  feed.for_each_in(buckets, [&](const net::PlacementKey& key, crdt::Version version) {
    out.push_back({hex(key.instance) + "/" + hex(key.block), version.value, ""});
  });
}

crdt::Buckets read_buckets(capnp::Data::Reader bitmap) {
  crdt::Buckets buckets;
  if (bitmap.size() == 0) return buckets.set();
  for (std::size_t i = 0; i < std::min(buckets.size(), 8 * bitmap.size()); ++i) {
    buckets[i] = (bitmap[i / 8] >> (i % 8) & 1) != 0;
  }
  return buckets;
}

// Calls `visit` with the feed of `origin`: our own, or the column we hold of it.
template <class Feed, class Visit>
void with_feed(const SharedState& state, crdt::NodeId origin, const Feed& own,
               const crdt::Columns<Feed>& columns, Visit&& visit) {
  if (origin == state.self().node) return visit(own);
  if (const auto* column = columns.find(origin)) visit(column->feed);
}

}  // namespace

void write_bucket_sums(const MeshNode& node, wire::StreamKind kind, wire::Origin::Reader origin,
                       wire::Admin::BucketSumsResults::Builder out) {
  KJ_REQUIRE(static_cast<std::size_t>(kind) < net::kStreamKinds, "no such stream");
  const auto sums =
      node.state().bucket_sums(static_cast<net::StreamKind>(kind), crdt::NodeId{origin.getNode()});
  auto list = out.initSums(static_cast<unsigned>(sums.size()));
  for (unsigned i = 0; i < list.size(); ++i) list.set(i, sums[i]);
}

void write_rows(const MeshNode& node, wire::Admin::RowsParams::Reader asked,
                wire::Admin::RowsResults::Builder out) {
  const SharedState& state = node.state();
  const crdt::NodeId writer{asked.getOrigin().getNode()};
  const crdt::Buckets buckets = read_buckets(asked.getBuckets());
  TextRows rows;
  const auto add = [&](const auto& feed) { feed_rows(feed, buckets, rows); };
  switch (asked.getKind()) {
    case wire::StreamKind::LOAD:
      with_feed(state, writer, state.own_load(), state.loads(), add);
      break;
    case wire::StreamKind::HEALTH:
      with_feed(state, writer, state.own_health(), state.healths(), add);
      break;
    case wire::StreamKind::STATUS:
      with_feed(state, writer, state.own_status(), state.statuses(), add);
      break;
    case wire::StreamKind::RESIDENCY:
      with_feed(state, writer, state.own_residency(), state.residencies(),
                [&](const auto& feed) { placement_rows(feed, buckets, rows); });
      break;
    default:
      table_rows(state, asked.getKind(), buckets, rows);
  }
  // An answer must fit one message; a difference shows among the first rows too.
  constexpr std::size_t kMaxRows = 20'000;
  std::sort(rows.begin(), rows.end(),
            [](const TextRow& a, const TextRow& b) { return a.key < b.key; });
  if (rows.size() > kMaxRows) rows.resize(kMaxRows);
  auto list = out.initRows(static_cast<unsigned>(rows.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    list[i].setKey(rows[i].key);
    list[i].setVersion(rows[i].version);
    list[i].setValue(rows[i].value);
  }
}

}  // namespace dualmesh::node
