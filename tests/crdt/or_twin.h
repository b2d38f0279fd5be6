// The naive twin of the add-wins types: every addition ever made and every one ever taken back.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "crdt/or_map.h"
#include "crdt/or_set.h"

namespace dualmesh::crdt {

using Letters = OrSet<char>;
// Words by number; and counters by number.
using WordMap = OrMap<int, Letters>;
using CountMap = OrMap<int, RemovableCounter>;

inline Origin replica(std::uint64_t number) { return Origin{NodeId{number}, Epoch{1}}; }

struct OrTwin {
  struct Addition {
    int key;
    char element;
    std::int64_t amount;  // of a counter: what its writer has added in all
    auto operator<=>(const Addition&) const = default;
  };

  std::map<Dot, Addition> added;
  std::set<Dot> taken;

  // What is there: additions not taken back.
  std::map<Dot, Addition> present() const {
    std::map<Dot, Addition> result = added;
    for (const Dot& dot : taken) result.erase(dot);
    return result;
  }
  template <class Matches>
  OrTwin take(Matches&& matches) {
    OrTwin delta;
    for (const auto& [dot, addition] : present()) {
      if (matches(dot, addition)) {
        delta.added[dot] = addition;
        delta.taken.insert(dot);
      }
    }
    join(delta);
    return delta;
  }
  OrTwin add(const Dot& dot, const Addition& addition) {
    OrTwin delta;
    delta.added[dot] = addition;
    join(delta);
    return delta;
  }
  OrTwin join(const OrTwin& other) {
    added.insert(other.added.begin(), other.added.end());
    taken.insert(other.taken.begin(), other.taken.end());
    return *this;
  }
  bool operator==(const OrTwin&) const = default;
};

}  // namespace dualmesh::crdt
