// Every sequence of events, up to a depth, from several beginnings and in several scenes.
//
// DUALMESH_LIFECYCLE_DEPTH is the depth (default 1; 2 takes 50 s of CPU). A path that fails is
// printed; with DUALMESH_LIFECYCLE_REPLAY="scene: events" it is run again alone.
#include <doctest/doctest.h>
#include <spdlog/spdlog.h>

#include <cstdlib>

#include "tests/node/lifecycle/path.h"

using namespace dualmesh::node::testing;

namespace {

std::size_t depth() {
  const char* given = std::getenv("DUALMESH_LIFECYCLE_DEPTH");
  return given == nullptr ? 1 : std::stoul(given);
}

// All choices of a path, one path after the other: the last choice counts up, and when it has been
// through, the one before it.
class Odometer {
 public:
  Odometer() { digits_.reserve(64); }  // not in the midst of a path, whose memory is counted
  void begin() { at_ = 0; }
  std::size_t choose(std::size_t options) {
    if (at_ == digits_.size()) digits_.push_back({0, options});
    Digit& digit = digits_[at_++];
    digit.options = options;
    return std::min(digit.value, options - 1);
  }
  bool next() {
    digits_.resize(at_);
    while (!digits_.empty() && digits_.back().value + 1 >= digits_.back().options) {
      digits_.pop_back();
    }
    if (digits_.empty()) return false;
    ++digits_.back().value;
    return true;
  }

 private:
  struct Digit {
    std::size_t value, options;
  };
  std::vector<Digit> digits_;
  std::size_t at_ = 0;
};

std::size_t enumerate(const Scene& scene, const std::string& begin, Seen& seen) {
  // Streams that nobody reads take megabytes each: one step less beyond the first.
  const bool costly = begin.find("stop_reading") != std::string::npos;
  const Walk walk{events_of(begin), depth() - (costly && depth() > 1 ? 1 : 0)};
  Odometer odometer;
  std::size_t paths = 0, failed = 0;
  do {
    odometer.begin();
    const Outcome outcome =
        run_path(scene, walk, [&](std::size_t options) { return odometer.choose(options); });
    ++paths;
    seen += outcome.seen;
    if (outcome.wrong.empty()) continue;
    FAIL_CHECK(scene.name << ": " << outcome.path << "\n  " << outcome.wrong);
    if (++failed == 5) break;
  } while (odometer.next());
  return paths;
}

}  // namespace

TEST_CASE("whatever happens in whatever order, all is given back") {
  spdlog::set_level(spdlog::level::off);
  warm_up();
  Seen seen;
  std::size_t paths = 0;
  for (const Scene& scene : scenes()) {
    for (const std::string begin :
         {"", "ask_partly:0", "ask:0", "ask:0 ask:1", "ask:0 answer_head:0",
          "ask:0 ask:1 answer_piece:0", "unhealthy:0 unhealthy:1 ask:0", "remove:0 remove:1 ask:0",
          "ask:0 stop_reading:0", "ask:0 ask:1 ask:2 ask:3 ask:4",
          "ask:0 cut:0 pass_moment answer_end:0 pass_long ask:0 ask:1",
          "unhealthy:0 ask:0 ask:1 ask:2 ask:3 healthy:0"}) {
      paths += enumerate(scene, begin, seen);
    }
    MESSAGE(scene.name << ": " << paths << " paths so far");
  }
  if (depth() > 0) CHECK(seen.missing() == "");
}

TEST_CASE("one path again") {
  const char* given = std::getenv("DUALMESH_LIFECYCLE_REPLAY");
  if (given == nullptr) return;
  const std::string text = given;
  const std::size_t colon = text.find(": ");
  REQUIRE(colon != std::string::npos);
  const std::string wrong =
      replay(text.substr(0, colon), text.substr(colon + 2, text.find('|') - colon - 2));
  CHECK(wrong == "");
}
