// Columns: one single-writer feed per node, keyed by the epoch of its writer.
//
// The replicated form of "each node says its own": load, health, status. A higher epoch of a node
// replaces its whole column in one merge; a lower one is ignored; dropping a node drops its column.
//
// Invariant: at most one column per NodeId, that of the highest epoch seen since it was dropped.
// Merge: the higher epoch; within one, that of the feed. Cost: open and find O(log n), a first
// column O(n) moves of feeds; memory a feed per node.
// Threads: none; owned by one thread.
// Source: Cassandra's endpoint state keyed by generation.
#pragma once

#include <boost/container/flat_map.hpp>

#include "crdt/identity.h"

namespace dualmesh::crdt {

template <class FeedType>
class Columns {
 public:
  struct Column {
    Epoch epoch;
    FeedType feed;
  };

  // The column of `origin`, created or reset when its epoch is new; nullptr when the epoch is
  // stale. Good until the next call of open or drop.
  FeedType* open(Origin origin) {
    auto column = columns_.try_emplace(origin.node, Column{origin.epoch, FeedType{}}).first;
    Column& held = column->second;
    if (origin.epoch < held.epoch) return nullptr;
    if (origin.epoch > held.epoch) held = Column{origin.epoch, FeedType{}};
    return &held.feed;
  }

  const Column* find(NodeId node) const {
    auto column = columns_.find(node);
    return column == columns_.end() ? nullptr : &column->second;
  }

  void drop(NodeId node) { columns_.erase(node); }

  const boost::container::flat_map<NodeId, Column>& all() const { return columns_; }

 private:
  boost::container::flat_map<NodeId, Column> columns_;
};

}  // namespace dualmesh::crdt
