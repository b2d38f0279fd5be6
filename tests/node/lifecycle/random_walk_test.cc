// Long walks by chance: more clients, more at once, and all events of which each may lead anywhere.
//
// DUALMESH_LIFECYCLE_SEEDS is the number of walks (default 2000), DUALMESH_LIFECYCLE_SEED the
// first, DUALMESH_LIFECYCLE_STEPS the events of each (default: 10 to 60). A walk that fails is
// printed with its events; see enumerate_test.cc for its replay.
#include <doctest/doctest.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "tests/node/lifecycle/path.h"

using namespace dualmesh::node::testing;

namespace {

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* given = std::getenv(name);
  return given == nullptr ? otherwise : std::stoull(given);
}

// Events that end much come seldom, so that walks get far.
bool is_drastic(const Event& event) {
  using Kind = Event::Kind;
  switch (event.kind) {
    case Kind::refuse:
    case Kind::remove:
    case Kind::drain_node:
    case Kind::abort_all:
    case Kind::stop:
      return true;
    default:
      return false;
  }
}

}  // namespace

TEST_CASE("walks by chance leave nothing behind") {
  spdlog::set_level(spdlog::level::off);
  warm_up();
  const std::uint64_t first = setting("DUALMESH_LIFECYCLE_SEED", 1);
  const std::uint64_t count = setting("DUALMESH_LIFECYCLE_SEEDS", 2000);
  const std::uint64_t steps = setting("DUALMESH_LIFECYCLE_STEPS", 0);
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    const Scene& scene = scenes()[seed % scenes().size()];
    std::mt19937_64 random(seed);
    Walk walk;
    walk.more = steps > 0 ? steps : 10 + random() % 50;
    walk.connects = static_cast<std::uint32_t>(2 + walk.more / 50);
    const std::uint64_t rare = std::max<std::uint64_t>(16, walk.more);
    walk.allowed = [&](const Event& event) { return !is_drastic(event) || random() % rare == 0; };
    const Outcome outcome =
        run_path(scene, walk, [&](std::size_t options) { return random() % options; });
    if (outcome.wrong.empty()) continue;
    FAIL_CHECK("seed " << seed << ", " << scene.name << ": " << outcome.path << "\n  "
                       << outcome.wrong);
  }
}
