// ChangeLog: the most recent changes of one stream, by steps, so that a peer that is a little
// behind is sent those and not the whole state.
//
// Invariant: holds (begin, end] without a gap, at most `max_changes` changes, the oldest steps
// dropped first; a step is never split. Threads: none.
#pragma once

#include <boost/circular_buffer.hpp>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "node/kv/kv_types.h"

namespace dualmesh::node {

struct LoggedStep {
  crdt::Version to;
  std::uint64_t last_batch = 0;
  std::size_t changes = 0;  // how many of them
  bool operator==(const LoggedStep&) const = default;
};

struct LoggedChanges {
  crdt::Version from, to;
  std::uint64_t last_batch = 0;   // digest of the batch at `to`
  std::vector<LoggedStep> steps;  // how they came
  std::vector<BlockChange> changes;
};

class ChangeLog {
 public:
  explicit ChangeLog(std::size_t max_changes) : max_changes_(max_changes) {}

  // Joins on at end(), or begins anew there.
  void append(crdt::Version from, crdt::Version to, std::span<const BlockChange> changes,
              std::uint64_t last_batch);
  void restart(crdt::Version at);
  crdt::Version begin() const { return begin_; }
  crdt::Version end() const { return end_; }
  // Steps after `from`, as many whole entries as fit in `max_changes`, at least one; nothing when
  // `from` is before begin() or inside an entry that came as one.
  std::optional<LoggedChanges> since(crdt::Version from, std::size_t max_changes) const;
  std::uint64_t batch_at(crdt::Version step) const;  // 0: not kept

 private:
  using Entry = LoggedStep;
  std::size_t max_changes_;
  crdt::Version begin_, end_;
  void drop_oldest();
  void make_room(std::size_t changes);

  std::deque<Entry> entries_;
  boost::circular_buffer<BlockChange> changes_;  // its capacity doubles up to max_changes_
};

}  // namespace dualmesh::node
