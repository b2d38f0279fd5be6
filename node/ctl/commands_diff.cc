// diff A B: which streams two nodes hold differently, and exactly which rows.
//
// Of a stream whose digests differ the nodes give sums over 256 buckets of rows; only the rows of
// buckets with unequal sums are read, so a million placements that differ in one cost little.
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "crdt/state_digest.h"
#include "net/mesh.capnp.h"
#include "node/ctl/commands.h"
#include "node/ctl/json.h"
#include "node/ctl/tables.h"

namespace dualmesh::node::ctl {
namespace {

constexpr std::size_t kRowsShown = 20;  // per stream, for people; --json has all

struct RowValue {
  std::uint64_t version = 0;
  std::string value;
};
using Rows = std::map<std::string, RowValue>;

struct RowDifference {
  std::string key;
  std::optional<RowValue> a;
  std::optional<RowValue> b;

  const char* what() const { return !b ? "only in A" : !a ? "only in B" : "different"; }
};

struct StreamDifference {
  std::string label;
  Position a;
  Position b;
  std::size_t buckets = 0;  // of 256, that differ
  std::vector<RowDifference> rows;
};

net::Result<LiveNode> find_node(Session& session, const std::string& name) {
  auto nodes = session.live_nodes();
  if (!nodes) return nodes.error();
  std::vector<std::string> names;
  for (const LiveNode& node : *nodes) {
    if (node.name == name || node.mesh_address == name) return node;
    names.push_back(node.name);
  }
  if (name.find(':') != std::string::npos) {
    return LiveNode{.name = name, .node = 0, .epoch = 0, .mesh_address = name};
  }
  return net::Error{fmt::format("no live node is called {}; there are: {}", name, joined(names))};
}

template <class Request>
void name_stream(Request& request, const StreamId& id) {
  request.setKind(static_cast<wire::StreamKind>(id.kind));
  request.initOrigin().setNode(id.node);
  request.getOrigin().setEpoch(id.epoch);
}

// Asks for the blocks of a cache: sums of all, and those of the buckets in `bitmap`.
net::Result<capnp::Response<wire::Admin::KvBlocksResults>> fetch_blocks(
    AdminClient& node, const KvStreamName& cache, kj::ArrayPtr<const kj::byte> bitmap) {
  auto request = node.admin().kvBlocksRequest();
  request.setInstance(cache.instance.c_str());
  request.setRank(cache.rank);
  request.setBuckets(bitmap);
  return node.call(kj::mv(request), "read the blocks of " + cache.instance);
}

template <class List>
crdt::BucketSums sums_of(List told) {
  crdt::BucketSums sums{};
  for (unsigned i = 0; i < std::min<std::size_t>(sums.size(), told.size()); ++i) sums[i] = told[i];
  return sums;
}

net::Result<crdt::BucketSums> fetch_sums(AdminClient& node, const StreamId& id,
                                         const KvStreamName& cache) {
  if (id.kind == kKvStream) {
    auto answer = fetch_blocks(node, cache, {});
    if (!answer) return answer.error();
    return sums_of(answer->getSums());
  }
  auto request = node.admin().bucketSumsRequest();
  name_stream(request, id);
  auto answer = node.call(kj::mv(request), "read the bucket sums of " + kind_name(id.kind));
  if (!answer) return answer.error();
  return sums_of(answer->getSums());
}

// In as many calls as keep each answer far from what one holds at most.
net::Result<Rows> fetch_rows(AdminClient& node, const StreamId& id, const KvStreamName& cache,
                             const crdt::Buckets& buckets, std::uint64_t count) {
  constexpr std::uint64_t kRowsPerCall = 8'000;
  const std::uint64_t per_bucket = count / buckets.size() + 1;
  const std::size_t at_once = std::max<std::uint64_t>(1, kRowsPerCall / per_bucket);
  Rows rows;
  for (std::size_t first = 0; first < buckets.size();) {
    std::array<std::uint8_t, 32> bitmap{};
    std::size_t asked = 0;
    for (; first < buckets.size() && asked < at_once; ++first) {
      if (!buckets[first]) continue;
      bitmap[first / 8] |= static_cast<std::uint8_t>(1 << (first % 8));
      ++asked;
    }
    if (asked == 0) break;
    if (id.kind == kKvStream) {
      auto answer = fetch_blocks(node, cache, {bitmap.data(), bitmap.size()});
      if (!answer) return answer.error();
      for (auto row : answer->getRows()) rows[row.getKey().cStr()] = {0, row.getValue().cStr()};
      continue;
    }
    auto request = node.admin().rowsRequest();
    name_stream(request, id);
    request.setBuckets({bitmap.data(), bitmap.size()});
    auto answer = node.call(kj::mv(request), "read the rows of " + kind_name(id.kind));
    if (!answer) return answer.error();
    for (auto row : answer->getRows()) {
      rows[row.getKey().cStr()] = RowValue{row.getVersion(), row.getValue().cStr()};
    }
  }
  return rows;
}

// Versions of a table mean something to their holder only, so values alone are compared there.
bool equal(const RowValue& a, const RowValue& b, bool table) {
  return a.value == b.value && (table || a.version == b.version);
}

std::vector<RowDifference> row_differences(const Rows& a, const Rows& b, bool table) {
  std::vector<RowDifference> result;
  for (const auto& [key, value] : a) {
    const auto other = b.find(key);
    if (other == b.end()) {
      result.push_back({key, value, std::nullopt});
    } else if (!equal(value, other->second, table)) {
      result.push_back({key, value, other->second});
    }
  }
  for (const auto& [key, value] : b) {
    if (!a.contains(key)) result.push_back({key, std::nullopt, value});
  }
  return result;
}

std::map<StreamId, std::pair<Position, Position>> differing_positions(const NodeReport& a,
                                                                      const NodeReport& b) {
  std::map<StreamId, std::pair<Position, Position>> both;
  for (const auto& [id, position] : a.positions) both[id].first = position;
  for (const auto& [id, position] : b.positions) both[id].second = position;
  std::erase_if(both, [](const auto& entry) {
    const auto& [here, there] = entry.second;
    const bool same_version = is_table(entry.first.kind) || here.version == there.version;
    return same_version && here.same_digest(there);
  });
  return both;
}

std::string stream_label(const StreamId& id, const std::vector<NodeReport>& nodes) {
  if (is_table(id.kind)) return kind_name(id.kind);
  if (id.kind == kKvStream) return kind_name(id.kind) + "/" + cache_name(id, nodes);
  for (const NodeReport& node : nodes) {
    if (node.node == id.node && node.epoch == id.epoch) {
      return kind_name(id.kind) + "/" + node.name;
    }
  }
  return fmt::format("{}/{:016x} (not alive)", kind_name(id.kind), id.node);
}

bool has_stream(const std::vector<NodeReport>& nodes, const std::string& stream) {
  for (const NodeReport& node : nodes) {
    for (const auto& [id, position] : node.positions) {
      if (stream == kind_name(id.kind) || stream == stream_label(id, nodes)) return true;
    }
  }
  return false;
}

const NodeReport* report_of(const std::vector<NodeReport>& nodes, const LiveNode& node) {
  for (const NodeReport& report : nodes) {
    if (report.address == node.mesh_address) return &report;
  }
  return nullptr;
}

// By id, as rows of feeds call them; empty when the node does not answer: the ids do as well.
std::map<std::string, std::string> instance_names(AdminClient& node) {
  std::map<std::string, std::string> names;
  auto answer = node.call(node.admin().instancesRequest(), "read the instances");
  if (!answer) return names;
  for (auto instance : answer->getInstances()) {
    names[instance.getId().cStr()] = instance.getName().cStr();
  }
  return names;
}

void print_difference(const StreamDifference& difference, const std::string& a,
                      const std::string& b, const std::map<std::string, std::string>& names) {
  const std::string what = fmt::format(
      "{}: {} at version {} with {} rows, {} at version {} with {} rows; {} of 256 buckets differ",
      difference.label, a, count_text(difference.a.version), count_text(difference.a.count), b,
      count_text(difference.b.version), count_text(difference.b.count), difference.buckets);
  std::puts(wrapped(what, 2).c_str());
  if (difference.rows.empty()) {
    std::puts("  the rows had become equal when they were read");
    return;
  }
  TextTable table({{.title = "  what"},
                   {.title = "key", .shrink = 1},
                   {.title = "in " + a, .shrink = 1},
                   {.title = "in " + b, .shrink = 1}});
  const auto text = [](const std::optional<RowValue>& row) {
    return row ? fmt::format("v{} {}", row->version, row->value) : std::string("-");
  };
  for (std::size_t i = 0; i < std::min(kRowsShown, difference.rows.size()); ++i) {
    const RowDifference& row = difference.rows[i];
    const std::string what = !row.b ? "only in " + a : !row.a ? "only in " + b : row.what();
    table.add({"  " + what, readable_key(row.key, names), text(row.a), text(row.b)});
  }
  std::fputs(table.render().c_str(), stdout);
  if (difference.rows.size() > kRowsShown) {
    std::puts(fmt::format("  and {} more; --json lists all", difference.rows.size() - kRowsShown)
                  .c_str());
  }
}

nlohmann::ordered_json difference_json(const StreamDifference& difference) {
  const auto value = [](const std::optional<RowValue>& row) -> nlohmann::ordered_json {
    if (!row) return nullptr;
    return {{"version", row->version}, {"value", row->value}};
  };
  auto rows = nlohmann::ordered_json::array();
  for (const RowDifference& row : difference.rows) {
    rows.push_back(
        {{"what", row.what()}, {"key", row.key}, {"a", value(row.a)}, {"b", value(row.b)}});
  }
  const auto position = [](const Position& p) -> nlohmann::ordered_json {
    return {{"version", p.version}, {"count", p.count}, {"sum", fmt::format("{:016x}", p.sum)}};
  };
  return {{"stream", difference.label},
          {"a", position(difference.a)},
          {"b", position(difference.b)},
          {"buckets", difference.buckets},
          {"rows", rows}};
}

net::Result<std::vector<StreamDifference>> find_differences(Session& session,
                                                            const std::vector<NodeReport>& nodes,
                                                            const NodeReport& a,
                                                            const NodeReport& b,
                                                            const std::string& stream) {
  std::vector<StreamDifference> result;
  for (const auto& [id, positions] : differing_positions(a, b)) {
    const std::string label = stream_label(id, nodes);
    if (!stream.empty() && stream != label && stream != kind_name(id.kind)) continue;
    const KvStreamName cache = id.kind == kKvStream ? cache_called(id, nodes) : KvStreamName{};
    auto sums_a = fetch_sums(session.client(a.address), id, cache);
    if (!sums_a) return sums_a.error();
    auto sums_b = fetch_sums(session.client(b.address), id, cache);
    if (!sums_b) return sums_b.error();
    const crdt::Buckets buckets = crdt::differing_buckets(*sums_a, *sums_b);
    auto rows_a = fetch_rows(session.client(a.address), id, cache, buckets, positions.first.count);
    if (!rows_a) return rows_a.error();
    auto rows_b = fetch_rows(session.client(b.address), id, cache, buckets, positions.second.count);
    if (!rows_b) return rows_b.error();
    result.push_back({.label = label,
                      .a = positions.first,
                      .b = positions.second,
                      .buckets = buckets.count(),
                      .rows = row_differences(*rows_a, *rows_b, is_table(id.kind))});
  }
  return result;
}

}  // namespace

int run_diff(Session& session, const std::string& a_name, const std::string& b_name,
             const std::string& stream) {
  auto a = find_node(session, a_name);
  if (!a) return failed(a.error());
  auto b = find_node(session, b_name);
  if (!b) return failed(b.error());
  auto report = session.ask_all();
  if (!report) return failed(report.error());
  const NodeReport* at_a = report_of(report->nodes, *a);
  const NodeReport* at_b = report_of(report->nodes, *b);
  for (const auto& [node, at] : {std::pair{*a, at_a}, std::pair{*b, at_b}}) {
    if (at == nullptr) return failed({fmt::format("{} is not a live member", node.name)});
    if (!at->reached) return failed({at->why_not});
  }
  if (!stream.empty() && !has_stream(report->nodes, stream)) {
    return failed({fmt::format("no stream is called {}; `dualmeshctl lag` lists them", stream)});
  }
  auto differences = find_differences(session, report->nodes, *at_a, *at_b, stream);
  if (!differences) return failed(differences.error());
  if (session.json()) {
    auto streams = nlohmann::ordered_json::array();
    for (const auto& difference : *differences) streams.push_back(difference_json(difference));
    print_json({{"a", at_a->name},
                {"b", at_b->name},
                {"equal", differences->empty()},
                {"streams", streams}});
  } else if (differences->empty()) {
    const std::string where =
        stream.empty() ? fmt::format("in {} streams", at_a->positions.size()) : "of " + stream;
    std::puts(fmt::format("{} and {} hold the same {}", at_a->name, at_b->name, where).c_str());
  } else {
    const auto names = instance_names(session.client(at_a->address));
    for (const auto& difference : *differences) {
      print_difference(difference, at_a->name, at_b->name, names);
    }
  }
  return differences->empty() ? kExitDone : kExitNo;
}

}  // namespace dualmesh::node::ctl
