// The figure `heal`: what it takes to agree again after a long partition.
#include <capnp/message.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "net/mesh_codec.h"
#include "tests/sim/figures.h"
#include "tests/sim/scenario.h"

namespace dualmesh::sim {
namespace {

constexpr double kPartitionMs = 60'000;
constexpr std::size_t kChangesPerSide = 10'000;
constexpr std::size_t kInstances = 64;
constexpr std::size_t kAll = 1'000'000;

template <class Delta>
std::size_t wire_bytes(crdt::Origin origin, const Delta& delta) {
  if (delta.entries.empty()) return 0;
  capnp::MallocMessageBuilder message;
  auto builder = message.initRoot<wire::Delta>();
  net::write_delta({origin, delta}, builder);
  return builder.totalSize().wordCount * sizeof(capnp::word);
}

// Rows of `theirs` that `ours` does not hold as they are.
template <class Table>
std::size_t table_difference(crdt::Origin origin, const Table& ours, const Table& theirs) {
  auto delta = theirs.delta_since({}, kAll);
  std::erase_if(delta.entries, [&ours](const auto& row) {
    const auto* held = ours.find(row.key);
    if (held == nullptr) return false;
    auto joined = *held;
    return !joined.join(row.value);
  });
  return wire_bytes(origin, delta);
}

template <class Columns, class Feed>
std::size_t feed_difference(crdt::Origin writer, const Columns& columns, const Feed& feed) {
  const auto* column = columns.find(writer.node);
  const bool known = column != nullptr && column->epoch == writer.epoch;
  return wire_bytes(writer,
                    feed.delta_since(known ? column->feed.version() : crdt::Version{}, kAll));
}

// What `node` lacks of all others, in bytes on the wire: the least that must be sent to it.
std::size_t lacks(const SimCluster& cluster, std::size_t node, std::size_t other_side) {
  const node::SharedState& ours = cluster.node(node).mesh->state();
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    if (i == node) continue;
    const node::SharedState& theirs = cluster.node(i).mesh->state();
    const crdt::Origin writer = theirs.self();
    bytes += feed_difference(writer, ours.loads(), theirs.own_load());
    bytes += feed_difference(writer, ours.healths(), theirs.own_health());
    bytes += feed_difference(writer, ours.statuses(), theirs.own_status());
    bytes += feed_difference(writer, ours.residencies(), theirs.own_residency());
  }
  const node::SharedState& theirs = cluster.node(other_side).mesh->state();
  bytes += table_difference(theirs.self(), ours.members(), theirs.members());
  bytes += table_difference(theirs.self(), ours.registry(), theirs.registry());
  bytes += table_difference(theirs.self(), ours.settings(), theirs.settings());
  bytes += table_difference(theirs.self(), ours.depth(), theirs.depth());
  return bytes;
}

void change(SimNode& node, Dice& dice) {
  const auto& instances = node.mesh->view()->instances;
  const policies::Slot slot = dice.one_of(instances).slot;
  const std::uint64_t kind = dice.below(100);
  if (kind < 3) {
    const std::string name = "e" + std::to_string(dice.below(kInstances));
    node.mesh->change(
        name, dice.chance(0.5) ? policies::Lifecycle::draining : policies::Lifecycle::active);
    return;
  }
  if (kind < 8) {
    node.host.say_depth(dice.below(2'000), static_cast<std::uint32_t>(1 + dice.below(8)));
  } else if (kind < 50) {
    std::vector<policies::BlockKey> blocks(4);
    for (auto& block : blocks) block = dice.generator()();
    node.host.say_placement(slot, std::move(blocks));
  } else {
    policies::Load load;
    load.queued_requests = static_cast<std::uint32_t>(1 + dice.below(20));
    load.queued_tokens = dice.below(50'000);
    node.host.say_load(slot, load);
  }
  node.mesh->local_changes();
}

}  // namespace

int heal_figure(const FigureOptions& options) {
  const std::size_t nodes = options.nodes == 0 ? 8 : options.nodes;
  SimCluster cluster(options.seed);
  Dice dice(options.seed);
  cluster.network().set_delay({2.0, 2.0});
  cluster.add_many(nodes);
  std::vector<std::size_t> left;
  for (std::size_t i = 0; i < nodes; ++i) {
    cluster.node(i).config.instances.clear();
    for (std::size_t e = 0; e < kInstances; ++e) {
      cluster.node(i).config.instances.push_back(
          {"e" + std::to_string(e), fmt::format("10.0.0.{}:9000", e + 1), {"m"}, 1.0});
    }
    if (i < nodes / 2) left.push_back(i);
  }
  const auto agreed = [&] { return cluster.all_ready() && cluster.converged(); };
  cluster.start_all();
  if (cluster.run_until(agreed, 10'000, 50) < 0) return 1;
  cluster.partition(left);
  for (std::size_t i = 0; i < kChangesPerSide; ++i) {
    change(cluster.node(dice.below(nodes / 2)), dice);
    change(cluster.node(nodes / 2 + dice.below(nodes - nodes / 2)), dice);
    cluster.run_for(kPartitionMs / kChangesPerSide);
  }
  std::size_t differed = 0;
  for (std::size_t i = 0; i < nodes; ++i) {
    differed += lacks(cluster, i, i < nodes / 2 ? nodes / 2 : 0);
  }
  const std::uint64_t before = cluster.network().bytes_carried();
  cluster.heal();
  const double took = cluster.run_until(agreed, 60'000, 5);
  const std::uint64_t sent = cluster.network().bytes_carried() - before;
  const nlohmann::json figure = {
      {"figure", "heal"},
      {"nodes", nodes},
      {"partition_s", kPartitionMs / 1e3},
      {"changes_each_side", kChangesPerSide},
      {"agreement_ms", took},
      {"bytes_sent", sent},
      {"bytes_differed", differed},
      {"ratio", static_cast<double>(sent) / static_cast<double>(differed)}};
  fmt::print("{}\n", figure.dump());
  return took >= 0 ? 0 : 1;
}

}  // namespace dualmesh::sim
