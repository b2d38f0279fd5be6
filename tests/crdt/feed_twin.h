// The naive twin of a feed: the whole history of its writer, replayed on demand.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "crdt/feed.h"

namespace dualmesh::crdt {

using TestFeed = Feed<std::uint64_t, std::uint64_t>;
inline constexpr std::size_t kWhole = 1'000'000;

class FeedHistory {
 public:
  struct Change {
    std::uint64_t key;
    std::optional<std::uint64_t> value;
  };
  struct LastChange {
    std::uint64_t version;
    std::optional<std::uint64_t> value;
  };

  std::vector<Change> changes;  // change i has version i + 1
  std::map<std::uint64_t, LastChange> last_changes;

  std::map<std::uint64_t, std::uint64_t> live() const {
    std::map<std::uint64_t, std::uint64_t> result;
    for (const auto& [key, last] : last_changes) {
      if (last.value) result[key] = *last.value;
    }
    return result;
  }
  // Was `value` ever written to `key` at or below `version`?
  bool wrote(std::uint64_t key, std::uint64_t value, Version version) const {
    for (std::size_t i = 0; i < changes.size() && i < version.value; ++i) {
      if (changes[i].key == key && changes[i].value == value) return true;
    }
    return false;
  }

  bool put(TestFeed& writer, std::uint64_t key, std::uint64_t value) {
    const bool changed = writer.put(key, value);
    if (changed) note({key, value});
    return changed;
  }
  bool erase(TestFeed& writer, std::uint64_t key) {
    const bool changed = writer.erase(key);
    if (changed) note({key, std::nullopt});
    return changed;
  }

 private:
  void note(const Change& change) {
    changes.push_back(change);
    last_changes[change.key] = {changes.size(), change.value};
  }
};

inline std::map<std::uint64_t, std::uint64_t> live(const TestFeed& feed) {
  std::map<std::uint64_t, std::uint64_t> result;
  feed.for_each([&](std::uint64_t key, std::uint64_t value) { result[key] = value; });
  return result;
}

// All that can be observed of two feeds.
inline bool same_state(const TestFeed& a, const TestFeed& b) {
  const TestFeed::Delta whole_a = a.delta_since({}, kWhole), whole_b = b.delta_since({}, kWhole);
  bool same = live(a) == live(b) && a.version() == b.version() && a.collected() == b.collected() &&
              a.size() == b.size() && a.digest() == b.digest() &&
              whole_a.entries.size() == whole_b.entries.size();
  for (std::size_t i = 0; same && i < whole_a.entries.size(); ++i) {
    const auto &x = whole_a.entries[i], &y = whole_b.entries[i];
    same = x.key == y.key && x.version == y.version && x.value == y.value;
  }
  return same;
}

// What holds of a replica at any moment, given the writer's history; empty when it does.
inline const char* broken_promise(const TestFeed& replica, const FeedHistory& history) {
  const std::uint64_t at = replica.version().value;
  if (at > history.changes.size()) return "is ahead of its writer";
  if (replica.collected() > replica.version()) return "has a horizon beyond its version";
  for (const auto& [key, last] : history.last_changes) {
    const std::uint64_t* held = replica.find(key);
    const bool settled = last.version <= at;
    if (settled && last.value && (held == nullptr || *held != *last.value)) return "lost a value";
    if (settled && !last.value && held != nullptr) return "kept a deleted key";
    if (!settled && held != nullptr && !history.wrote(key, *held, replica.version())) {
      return "invented a value";
    }
  }
  if (at == history.changes.size() && live(replica) != history.live()) return "differs at the end";
  return "";
}

}  // namespace dualmesh::crdt
