// LagWatch: how far each node of a simulated mesh is behind, seen from outside of all of them.
//
// It looks at every node every few milliseconds and knows when each change was made, so it can say
// of every node how much it lacks and for how long it has lacked the oldest of it. What counts is
// what running nodes hold: the feeds of running writers (behind by versions) and the rows of all
// tables together (behind by rows). Whom a node can reach does not matter.
//
// A change is dated by the look before the one that found it, so a lag is never told too short, and
// too long by one look at most. Nothing is older than the life of the node that lacks it. A node
// that held a feed and dropped it is behind from the drop on, or from the first change it had not
// had by then.
//
// Cost of a look: nodes squared, and the rows that a node lacks whenever its table has changed.
// Threads: none; the cluster's.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "tests/sim/sim_cluster.h"

namespace dualmesh::sim {

inline constexpr std::size_t kFeeds = net::kStreamKinds - node::kTables;

// The rows of one table that each node lacks of all rows that any running node holds.
template <class Table, class Key>
class TableWatch {
 public:
  using Held = std::vector<const Table*>;  // by node; null: it is down

  // `fresh`: nodes that began a new life since the last look, which was at `before_ms`.
  void look(const Held& held, const std::vector<bool>& fresh, double before_ms);
  // What is held nowhere any more, because its holder crashed or it expired, is missed by nobody.
  void read_again(const Held& held);
  const std::map<Key, double>& missing(std::size_t node) const { return nodes_[node].missing; }

 private:
  struct Node {
    crdt::Version read;             // its growths up to here are in the truth
    crdt::Version checked;          // its missing rows were looked up in this state of it
    std::map<Key, double> missing;  // since when
  };
  bool lacks(const Table& table, const Key& key) const;

  Table truth_;
  std::vector<Node> nodes_;
};

class LagWatch {
 public:
  struct Behind {
    std::size_t streams = 0;         // feeds and tables
    std::uint64_t changes = 0;       // versions and rows
    std::optional<double> since_ms;  // when the oldest of them was made
    double lag_ms(double now_ms) const { return since_ms ? now_ms - *since_ms : 0.0; }
  };

  explicit LagWatch(const SimCluster& cluster) : cluster_(cluster) {}

  void look();
  Behind behind(std::size_t node) const { return behind_[node]; }  // at the last look

 private:
  struct Written {  // one feed of one writer
    crdt::Epoch epoch;
    std::vector<std::pair<crdt::Version, double>> log;  // what it had reached when
  };
  struct Reached {  // the same at one reader
    crdt::Epoch epoch;
    crdt::Version version;
    double begun_ms = 0.0;
    std::optional<double> lost_ms;
  };
  using Versions = std::array<crdt::Version, kFeeds>;

  void begin_lives();
  void read_writer(std::size_t writer);
  void read_feeds(std::size_t reader, std::size_t writer);
  void look_at_tables(bool again);
  template <class Watch>
  void add_table(std::size_t node, const Watch& watch);
  static Versions versions(const node::SharedState& state, crdt::Origin writer);

  const SimCluster& cluster_;
  double now_ms_ = 0.0;
  double before_ms_ = 0.0;
  double read_again_ms_ = 0.0;
  std::vector<std::uint64_t> lives_;
  std::vector<bool> fresh_;
  std::vector<std::array<Written, kFeeds>> written_;               // by writer
  std::vector<std::vector<std::array<Reached, kFeeds>>> reached_;  // by reader and writer
  TableWatch<net::MembershipTable, crdt::NodeId> members_;
  TableWatch<net::RegistryTable, net::FieldKey> registry_;
  TableWatch<net::SettingsTable, net::SettingKey> settings_;
  TableWatch<net::DepthTable, net::DepthKey> depth_;
  std::vector<Behind> behind_;
};

}  // namespace dualmesh::sim
