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
        RC_ASSERT(log.size() <= 2 * newest.size() + 64);
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

}  // namespace
}  // namespace dualmesh::crdt
