// ChangeLog beside a twin that keeps everything and cuts when it is asked.
#include "node/kv/change_log.h"

#include <doctest/doctest.h>

#include <random>
#include <vector>

namespace dualmesh::node {
namespace {

using crdt::Version;

struct Appended {
  Version from, to;
  std::vector<BlockChange> changes;
  std::uint64_t last_batch;
};

std::vector<BlockChange> some_changes(std::mt19937_64& random, std::size_t count) {
  std::vector<BlockChange> changes;
  for (std::size_t i = 0; i < count; ++i) {
    changes.push_back({BlockMap::Kind::add, random(), {.key = random()}});
  }
  return changes;
}

// What is kept of all that was appended: the latest without a gap that fit.
class Twin {
 public:
  explicit Twin(std::size_t max_changes) : max_changes_(max_changes) {}

  void append(Appended step) {
    if (all_.empty() ? step.from != end_ : step.from != all_.back().to) all_.clear();
    begin_ = all_.empty() ? step.from : begin_;
    end_ = step.to;
    all_.push_back(std::move(step));
    std::size_t changes = 0, kept = all_.size();
    while (kept > 0 && changes + all_[kept - 1].changes.size() <= max_changes_ &&
           all_.size() - kept < max_changes_) {
      changes += all_[--kept].changes.size();
    }
    if (kept > 0) begin_ = all_[kept - 1].to;
    all_.erase(all_.begin(), all_.begin() + static_cast<std::ptrdiff_t>(kept));
  }
  Version begin() const { return begin_; }
  Version end() const { return end_; }
  bool begins_at(Version from) const {
    for (const Appended& step : all_) {
      if (step.from == from) return true;
    }
    return from == end_;
  }
  // Whole steps from there on: all, or as many as fit, and one at least.
  std::vector<Appended> since(Version from, std::size_t most) const {
    std::vector<Appended> found;
    std::size_t changes = 0;
    for (const Appended& step : all_) {
      if (step.from < from) continue;
      changes += step.changes.size();
      if (!found.empty() && changes > most) break;
      found.push_back(step);
    }
    return found;
  }

 private:
  std::size_t max_changes_;
  Version begin_, end_;
  std::vector<Appended> all_;
};

void compare(const ChangeLog& log, const Twin& twin, Version from, std::size_t most) {
  const auto found = log.since(from, most);
  const bool known = twin.begin() <= from && twin.begins_at(from);
  REQUIRE(found.has_value() == known);
  if (!known) return;
  const auto wanted = twin.since(from, most);
  std::vector<BlockChange> changes;
  Version to = from;
  std::uint64_t last_batch = 0;
  for (const Appended& step : wanted) {
    changes.insert(changes.end(), step.changes.begin(), step.changes.end());
    to = step.to;
    last_batch = step.last_batch;
  }
  CHECK(found->from == from);
  CHECK(found->to == to);
  CHECK(found->last_batch == last_batch);
  REQUIRE(found->steps.size() == wanted.size());
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    CHECK(found->steps[i].to == wanted[i].to);
    CHECK(found->steps[i].changes == wanted[i].changes.size());
  }
  REQUIRE(found->changes.size() == changes.size());
  for (std::size_t i = 0; i < changes.size(); ++i) {
    CHECK(found->changes[i].key == changes[i].key);
    CHECK(found->changes[i].value == changes[i].value);
  }
}

TEST_CASE("a log gives what followed a step, as its twin does") {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const std::size_t max_changes = 1 + random() % 40;
    ChangeLog log(max_changes);
    Twin twin(max_changes);
    Version end;
    for (int i = 0; i < 60; ++i) {
      const Version from{end.value + (random() % 12 == 0 ? 1 + random() % 3 : 0)};
      const Version to{from.value + 1 + random() % 3};
      const auto changes = some_changes(random, random() % 20 == 0 ? 41 : random() % 12);
      const std::uint64_t last_batch = random();
      log.append(from, to, changes, last_batch);
      twin.append({from, to, changes, last_batch});
      end = to;
      CHECK(log.begin() == twin.begin());
      CHECK(log.end() == end);
      CHECK(log.batch_at(end) == (log.begin() == end ? 0 : last_batch));
      for (int asked = 0; asked < 4; ++asked) {
        compare(log, twin, Version{end.value - std::min<std::uint64_t>(end.value, random() % 30)},
                random() % 50);
      }
    }
    CHECK_FALSE(log.since(end.next(), 10));
    log.restart(Version{7});
    CHECK(log.begin() == Version{7});
    CHECK(log.since(Version{7}, 10)->to == Version{7});
    CHECK_FALSE(log.since(Version{6}, 10));
  }
}

}  // namespace
}  // namespace dualmesh::node
