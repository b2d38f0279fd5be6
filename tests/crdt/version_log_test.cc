#include "crdt/version_log.h"

#include <doctest/doctest.h>

#include <map>

#include "tests/crdt/laws.h"

namespace dualmesh::crdt {
namespace {

TEST_CASE(
    "current records are found in order of change, and memory follows the keys, not the changes") {
  CHECK(rc::check([](const Steps& steps, std::uint8_t repeats) {
    VersionLog<int> log;
    std::map<int, Version> newest;  // what an owner of the log keeps
    Version version;
    auto is_current = [&](const VersionLog<int>::Record& record) {
      auto entry = newest.find(record.key);
      return entry != newest.end() && entry->second == record.version;
    };
    for (int round = 0; round <= repeats % 8; ++round) {
      for (auto [kind, key, gap, unused] : steps) {
        version = Version{version.value + 1 + gap % 3};
        newest[key % 16] = version;
        log.append(version, key % 16);
        if (kind % 4 == 0) newest.erase(kind % 16);  // the owner forgets a key
        log.trim(newest.size(), is_current);
        RC_ASSERT(log.size() <= 3 * std::size_t{16} + 64);  // of as many keys as there ever were
      }
    }
    const Version from{version.value / 2};
    std::map<Version, int> expected;
    for (auto [key, changed] : newest) {
      if (changed > from) expected[changed] = key;
    }
    std::vector<std::pair<const Version, int>> found;
    for (auto record = log.after(from); record != log.end(); ++record) {
      if (is_current(*record)) found.emplace_back(record->version, record->key);
    }
    RC_ASSERT(found ==
              (std::vector<std::pair<const Version, int>>(expected.begin(), expected.end())));
  }));
}

TEST_CASE("outdated records are swept out a few at a time, and nothing current is lost meanwhile") {
  constexpr int kKeys = 5'000;
  VersionLog<int> log;
  std::map<int, Version> newest;
  std::uint64_t version = 0;
  std::size_t asked = 0;
  auto is_current = [&](const VersionLog<int>::Record& record) {
    ++asked;
    return newest.at(record.key) == record.version;
  };
  for (int change = 0; change < 8 * kKeys; ++change) {
    // In turn, then the same few: what is outdated lies at the front, or at the back.
    const int key = change < 4 * kKeys ? change % kKeys : change % 7;
    newest[key] = Version{++version};
    log.append(Version{version}, key);
    asked = 0;
    log.trim(newest.size(), is_current);
    REQUIRE(asked <= 4);
    REQUIRE(log.size() <= 3 * newest.size() + 64);
    if (change % 997 != 0) continue;
    for (const std::uint64_t from : {std::uint64_t{0}, version / 2, version - 1, version}) {
      std::size_t later = 0;
      std::size_t found = 0;
      for (const auto& [held, at] : newest) later += at.value > from ? 1 : 0;
      Version last{from};
      for (auto record = log.after(Version{from}); record != log.end(); ++record) {
        REQUIRE(last < record->version);
        last = record->version;
        found += is_current(*record) ? 1 : 0;
      }
      REQUIRE(found == later);
    }
  }
  log.trim_all(1, is_current);
  CHECK(log.size() == newest.size());
}

}  // namespace
}  // namespace dualmesh::crdt
