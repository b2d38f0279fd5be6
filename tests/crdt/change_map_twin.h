// ChangeMap's naive twin, an observer that keeps what it is told, and histories to play to both.
#pragma once

#include <algorithm>
#include <boost/assert.hpp>
#include <map>
#include <utility>
#include <vector>

#include "crdt/change_map.h"
#include "tests/crdt/laws.h"

namespace dualmesh::crdt {

// Twelve bytes, as a block of the mesh is.
struct __attribute__((packed, aligned(4))) Content {
  std::uint64_t number = 0;
  std::uint32_t more = 0;
  bool known() const { return number != 0; }
  bool operator==(const Content&) const = default;
};
using Blocks = ChangeMap<std::uint64_t, Content>;
using Batch = std::vector<Blocks::Change>;
using History = std::vector<Batch>;                                     // batch i is step i + 1
using Counts = std::map<std::uint64_t, std::pair<unsigned, unsigned>>;  // removed, added

static_assert(sizeof(std::pair<std::uint64_t, Blocks::Entry>) == 24);

inline Content content(std::uint64_t key) { return {key + 100, 7}; }
inline Blocks::Change add(std::uint64_t key) { return {Blocks::Kind::add, key, content(key)}; }
inline Blocks::Change add_unknown(std::uint64_t key) { return {Blocks::Kind::add, key, {}}; }
inline Blocks::Change remove(std::uint64_t key) { return {Blocks::Kind::remove, key, {}}; }
inline Blocks::Change clear() { return {Blocks::Kind::clear, 0, {}}; }

// What an observer has been told is present; told nothing twice and nothing wrong.
struct Mirror {
  std::map<std::uint64_t, Content> present;
  bool consistent = true;

  void appeared(std::uint64_t key, const Content& value) {
    consistent = consistent && present.emplace(key, value).second && value == content(key);
  }
  void vanished(std::uint64_t key, const Content& value) {
    consistent = consistent && present.erase(key) == 1 && value == content(key);
  }
  void soon(std::uint64_t key, const Content& value) {
    consistent = consistent && value == content(key);
  }
  bool mirrors(const Blocks& blocks) const {
    std::size_t visible = 0;
    bool same = consistent;
    blocks.for_each([&](std::uint64_t key, const Blocks::Entry& entry) {
      visible += entry.visible();
      same = same && entry.visible() == present.contains(key);
    });
    return same && visible == present.size() && visible == blocks.present() - blocks.unknown();
  }
};

// The naive twin: the log of the steps (base, end], replayed copy by copy.
struct Twin {
  const History* history;
  std::uint64_t base, end;

  std::uint64_t real_base() const {  // a clearing makes what was before it irrelevant
    for (std::uint64_t step = base; step < end; ++step) {
      for (const auto& change : (*history)[step]) {
        if (change.kind == Blocks::Kind::clear) return 0;
      }
    }
    return base;
  }
  Counts counts() const {
    Counts result;
    bool complete = base == 0;
    for (std::uint64_t step = base; step < end; ++step) {
      for (const auto& change : (*history)[step]) {
        auto& [removed, added] = result[change.key];
        if (change.kind == Blocks::Kind::clear) {
          result.clear();
          complete = true;
        } else if (change.kind == Blocks::Kind::add) {
          ++added;
        } else if (added > 0) {
          --added;
        } else if (!complete) {
          ++removed;
        }
      }
    }
    std::erase_if(result, [](const auto& entry) { return entry.second == std::pair{0u, 0u}; });
    return result;
  }
};

inline Counts counts(const Blocks& blocks) {
  Counts result;
  blocks.for_each([&](std::uint64_t key, const Blocks::Entry& entry) {
    result[key] = {entry.removed, entry.added};
  });
  return result;
}

inline bool equals(const Blocks& blocks, const Twin& twin) {
  const Counts expected = twin.counts();
  const auto present = std::count_if(expected.begin(), expected.end(),
                                     [](const auto& entry) { return entry.second.second > 0; });
  return blocks.base().value == twin.real_base() && blocks.end().value == twin.end &&
         counts(blocks) == expected && blocks.size() == expected.size() &&
         blocks.present() == static_cast<std::size_t>(present);
}

// Claims no more copies than there are; all of them when it says so.
inline bool sound(const Blocks& blocks, const History& history) {
  const Counts truth = Twin{&history, 0, blocks.end().value}.counts();
  if (blocks.complete()) return counts(blocks) == truth;
  bool all = true;
  blocks.for_each([&](std::uint64_t key, const Blocks::Entry& entry) {
    const auto real = truth.find(key);
    all = all && entry.added <= (real == truth.end() ? 0 : real->second.second);
  });
  return all;
}

inline History history_of(const Steps& steps) {
  History history(1);
  for (const auto& bytes : steps) {
    if (bytes[3] % 2 == 0) history.emplace_back();  // some batches have several changes
    if (bytes[0] % 32 == 0) history.back().push_back(clear());
    const std::uint64_t key = bytes[1] % 8;
    const int kind = bytes[2] % 8;
    history.back().push_back(kind < 3 ? remove(key) : kind < 4 ? add_unknown(key) : add(key));
  }
  return history;
}

// Steps (from, to], heard `pace` steps at a time.
inline Blocks heard(const History& history, std::uint64_t from, std::uint64_t to,
                    std::uint64_t pace = 1) {
  Blocks blocks = Blocks::after(Version{from});
  for (std::uint64_t step = from; step < to;) {
    const std::uint64_t next = std::min(to, step + pace);
    Batch changes;
    for (; step < next; ++step) {
      changes.insert(changes.end(), history[step].begin(), history[step].end());
    }
    BOOST_ASSERT(blocks.apply(blocks.end(), Version{next}, changes) == Applied::changed);
  }
  return blocks;
}

inline bool joins(Blocks& blocks, const Blocks& other, Mirror& mirror) {
  Blocks copy = other;
  return blocks.join(std::move(copy), mirror);
}
inline Blocks joined(Blocks a, Blocks b) {
  a.join(std::move(b));
  return a;
}

}  // namespace dualmesh::crdt
