#include "node/ctl/convergence.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <set>
#include <tuple>

#include "net/mesh.capnp.h"

namespace dualmesh::node::ctl {
namespace {

using Nodes = std::vector<NodeReport>;

const NodeReport* writer_of(const StreamId& id, const Nodes& nodes) {
  for (const NodeReport& node : nodes) {
    if (node.node == id.node && node.epoch == id.epoch) return &node;
  }
  return nullptr;
}

const Position* position_at(const NodeReport& node, const StreamId& id) {
  const auto found = node.positions.find(id);
  return found == node.positions.end() ? nullptr : &found->second;
}

// The newest life of an engine is the only one that counts.
bool newest_life(const StreamId& id, const Nodes& nodes) {
  return std::ranges::none_of(nodes, [&](const NodeReport& node) {
    const auto newer = node.positions.upper_bound(id);
    return newer != node.positions.end() && newer->first.kind == id.kind &&
           newer->first.node == id.node;
  });
}

std::set<StreamId> live_streams(const Nodes& nodes) {
  std::set<StreamId> ids;
  for (const NodeReport& node : nodes) {
    for (const auto& [id, position] : node.positions) {
      const bool live =
          id.kind == kKvStream ? newest_life(id, nodes) : writer_of(id, nodes) != nullptr;
      if (is_table(id.kind) || live) ids.insert(id);
    }
  }
  return ids;
}

// The most that anybody knows of a cache.
Position reference_of_cache(const StreamId& id, const Nodes& nodes) {
  Position best;
  for (const NodeReport& node : nodes) {
    const Position* here = position_at(node, id);
    if (here == nullptr || here->version < best.version) continue;
    if (here->version > best.version || best.partial) best = *here;
  }
  return best;
}

// As the writer holds it; where the writer was not reached, the furthest that anybody has.
Position reference_of_feed(const StreamId& id, const Nodes& nodes) {
  const NodeReport* writer = writer_of(id, nodes);
  if (writer != nullptr && writer->reached) {
    const Position* own = position_at(*writer, id);
    return own != nullptr ? *own : Position{};
  }
  Position furthest;
  for (const NodeReport& node : nodes) {
    const Position* here = position_at(node, id);
    if (here != nullptr && here->version > furthest.version) furthest = *here;
  }
  return furthest;
}

// What most nodes hold; the first of equals.
Position reference_of_table(const StreamId& id, const Nodes& nodes) {
  Position best;
  int best_votes = 0;
  for (const NodeReport& candidate : nodes) {
    if (!candidate.reached) continue;
    const Position* theirs = position_at(candidate, id);
    const Position held = theirs != nullptr ? *theirs : Position{};
    const auto votes = std::count_if(nodes.begin(), nodes.end(), [&](const NodeReport& node) {
      const Position* here = position_at(node, id);
      return node.reached && held.same_digest(here != nullptr ? *here : Position{});
    });
    if (votes > best_votes) {
      best_votes = static_cast<int>(votes);
      best = held;
    }
  }
  return best;
}

Cell cell_of(const StreamId& id, const Position& reference, const NodeReport& node) {
  if (!node.reached) return {Cell::State::unknown};
  const Position* found = position_at(node, id);
  const Position here = found != nullptr ? *found : Position{};
  if (is_table(id.kind)) {
    return {here.same_digest(reference) ? Cell::State::in_step : Cell::State::differs};
  }
  if (here.version < reference.version) {
    return {Cell::State::behind, reference.version - here.version};
  }
  if (id.kind == kKvStream && here.same_digest(reference)) return {Cell::State::in_step};
  if (here.partial) return {.state = Cell::State::behind, .behind = 1, .partial = true};
  // Nodes are asked one after the other, so a replica may be seen ahead of its writer.
  if (here.version > reference.version) return {Cell::State::in_step};
  return {here.same_digest(reference) ? Cell::State::in_step : Cell::State::differs};
}

StreamRow row_of(const StreamId& id, const Nodes& nodes, Position& reference) {
  StreamRow row{.id = id, .label = kind_name(id.kind), .writer = "all", .version = 0, .cells = {}};
  if (id.kind == kKvStream) {
    reference = reference_of_cache(id, nodes);
    row.writer = "engine";
    row.label += "/" + cache_name(id, nodes);
    row.version = reference.version;
  } else if (is_table(id.kind)) {
    reference = reference_of_table(id, nodes);
  } else {
    reference = reference_of_feed(id, nodes);
    row.writer = writer_of(id, nodes)->name;
    row.label += "/" + row.writer;
    row.version = reference.version;
  }
  for (const NodeReport& node : nodes) {
    row.cells.push_back(cell_of(id, reference, node));
    row.cells.back().relayed = !is_table(id.kind) && node.relays.contains(id.node);
  }
  return row;
}

std::string difference_text(const StreamRow& row, const Cell& cell, const NodeReport& node) {
  if (cell.partial) {
    return fmt::format("{}: {} holds the newest version in part only", row.label, node.name);
  }
  if (cell.state == Cell::State::behind) {
    return fmt::format("{}: {} is {} version{} behind", row.label, node.name, cell.behind,
                       cell.behind == 1 ? "" : "s");
  }
  if (is_table(row.id.kind)) return fmt::format("{}: {} holds other rows", row.label, node.name);
  return fmt::format("{}: {} has the same version with another digest", row.label, node.name);
}

}  // namespace

KvStreamName cache_called(const StreamId& id, const Nodes& nodes) {
  for (const NodeReport& node : nodes) {
    const auto found = node.kv_streams.find(id.node);
    if (found != node.kv_streams.end()) return found->second;
  }
  return {};
}

std::string cache_name(const StreamId& id, const Nodes& nodes) {
  const KvStreamName name = cache_called(id, nodes);
  const std::uint64_t second = kv_stream_id(name.instance, 1);  // whoever has several has this one
  const bool has_ranks = std::any_of(nodes.begin(), nodes.end(), [&](const NodeReport& node) {
    return node.kv_streams.contains(second);
  });
  return has_ranks ? fmt::format("{}/{}", name.instance, name.rank) : name.instance;
}

std::uint64_t kv_stream_id(const std::string& instance, std::uint32_t rank) {
  return std::hash<std::string>{}(instance) + rank;
}

bool is_table(std::uint16_t kind) {
  switch (static_cast<wire::StreamKind>(kind)) {
    case wire::StreamKind::MEMBERSHIP:
    case wire::StreamKind::REGISTRY:
    case wire::StreamKind::SETTINGS:
    case wire::StreamKind::DEPTH:
      return true;
    default:
      return false;
  }
}

std::string readable_key(const std::string& key,
                         const std::map<std::string, std::string>& names_by_id) {
  constexpr std::size_t kIdDigits = 16;
  const auto name = names_by_id.find(key.substr(0, kIdDigits));
  return name == names_by_id.end() ? key : name->second + key.substr(kIdDigits);
}

std::string kind_name(std::uint16_t kind) {
  if (kind == kKvStream) return "kv";
  switch (static_cast<wire::StreamKind>(kind)) {
    case wire::StreamKind::MEMBERSHIP:
      return "membership";
    case wire::StreamKind::REGISTRY:
      return "registry";
    case wire::StreamKind::SETTINGS:
      return "settings";
    case wire::StreamKind::DEPTH:
      return "depth";
    case wire::StreamKind::LOAD:
      return "load";
    case wire::StreamKind::HEALTH:
      return "health";
    case wire::StreamKind::STATUS:
      return "status";
    case wire::StreamKind::RESIDENCY:
      return "residency";
  }
  return fmt::format("stream{}", kind);
}

const char* to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::converged:
      return "CONVERGED";
    case Verdict::behind:
      return "BEHIND";
    case Verdict::unreached:
      return "UNREACHED";
    case Verdict::diverged:
      return "DIVERGED";
  }
  return "?";
}

Comparison compare(const Nodes& nodes) {
  Comparison result;
  const auto worsen = [&](Verdict to) { result.verdict = std::max(result.verdict, to); };
  for (const NodeReport& node : nodes) {
    if (node.reached) continue;
    worsen(Verdict::unreached);
    result.differing.push_back(fmt::format("{} was not reached: {}", node.name, node.why_not));
  }
  for (const StreamId& id : live_streams(nodes)) {
    Position reference;
    result.rows.push_back(row_of(id, nodes, reference));
    const StreamRow& row = result.rows.back();
    // Any mixing will do: equal streams give an equal number for people to compare.
    result.digest =
        (result.digest ^ reference.sum ^ (reference.count + row.version)) * 0x9E3779B97F4A7C15ULL;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      const Cell& cell = row.cells[i];
      if (cell.state == Cell::State::behind) worsen(Verdict::behind);
      if (cell.state == Cell::State::differs) worsen(Verdict::diverged);
      if (cell.state == Cell::State::behind || cell.state == Cell::State::differs) {
        result.differing.push_back(difference_text(row, cell, nodes[i]));
      }
    }
  }
  std::stable_sort(result.rows.begin(), result.rows.end(),
                   [](const StreamRow& a, const StreamRow& b) {
                     return std::tie(a.id.kind, a.writer) < std::tie(b.id.kind, b.writer);
                   });
  return result;
}

Baseline baseline_of(const Nodes& nodes) {
  Baseline baseline;
  for (const NodeReport& node : nodes) {
    for (const auto& [id, position] : node.positions) {
      if (!is_table(id.kind) && id.node == node.node && id.epoch == node.epoch) {
        baseline[id] = position.version;
      }
      if (id.kind == kKvStream) baseline[id] = std::max(baseline[id], position.version);
    }
  }
  return baseline;
}

std::vector<std::string> missing_from(const Baseline& baseline, const Nodes& nodes) {
  std::vector<std::string> missing;
  for (const NodeReport& node : nodes) {
    if (!node.reached) {
      missing.push_back(fmt::format("{} was not reached: {}", node.name, node.why_not));
    } else if (!node.ready) {
      missing.push_back(fmt::format("{} is not ready: {}", node.name, node.not_ready));
    }
  }
  for (const StreamRow& row : compare(nodes).rows) {
    const auto wanted = baseline.find(row.id);
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      const Cell& cell = row.cells[i];
      if (cell.state == Cell::State::behind) {
        // Written after the call began: not waited for.
        if (wanted == baseline.end()) continue;
        if (row.version - cell.behind >= wanted->second) continue;
      }
      if (cell.state == Cell::State::behind || cell.state == Cell::State::differs) {
        missing.push_back(difference_text(row, cell, nodes[i]));
      }
    }
  }
  return missing;
}

}  // namespace dualmesh::node::ctl
