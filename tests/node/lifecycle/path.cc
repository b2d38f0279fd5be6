#include "tests/node/lifecycle/path.h"

#include <algorithm>
#include <filesystem>

#include "tests/node/lifecycle/live_memory.h"

namespace dualmesh::node::testing {
namespace {

using Kind = Event::Kind;

std::size_t open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

Seen seen_in(World& world) {
  const FlowStats& flow = world.router().flow.stats();
  const policies::SchedulerTotals totals = world.router().scheduler.read(
      [](const policies::Scheduler& scheduler) { return scheduler.totals(); });
  Seen seen;
  seen.retries = flow.retries;
  seen.hops = totals.handed;
  seen.hops_back = flow.handed_back;
  seen.moved = totals.migrations;
  seen.broken = flow.upstream_broken;
  seen.gone = flow.clients_gone;
  seen.aborted = flow.aborted;
  seen.queue_timeouts = flow.queue_timeouts;
  seen.no_instance = flow.no_instance;
  seen.overload = world.router().server.stats().refused_overload;
  seen.refused_in_line = flow.refused_early;
  seen.unbudgeted = flow.retries_unbudgeted;
  seen.ejections = world.router().health.ejections();
  for (const TestClientPeer& client : world.clients) seen.answers += client.answers;
  return seen;
}

using SeenField = std::pair<const char*, std::uint64_t Seen::*>;
constexpr SeenField kSeen[] = {{"retries", &Seen::retries},
                               {"hops", &Seen::hops},
                               {"hops that came back", &Seen::hops_back},
                               {"moves between queues", &Seen::moved},
                               {"broken answers", &Seen::broken},
                               {"clients that left", &Seen::gone},
                               {"requests aborted", &Seen::aborted},
                               {"time-outs in a queue", &Seen::queue_timeouts},
                               {"requests without an instance", &Seen::no_instance},
                               {"refusals by overload", &Seen::overload},
                               {"answers", &Seen::answers},
                               {"refusals as others wait", &Seen::refused_in_line},
                               {"questions for tokens", &Seen::asked_for_tokens},
                               {"retries off an instance found down", &Seen::unbudgeted},
                               {"ejections", &Seen::ejections},
                               {"trials", &Seen::trials},
                               {"waits for room", &Seen::waits_for_room}};

// The events of one path in its world, until something is wrong.
class Steps {
 public:
  Steps(World& world, Outcome& outcome) : world_(world), outcome_(outcome) {}

  void go(const Walk& walk, const Choose& choose) {
    world_.connects = walk.connects;
    world_.quiet();
    for (const Event& event : walk.begin) {
      if (is_possible(world_, event)) step(event);
      if (ended()) return;
    }
    for (std::size_t i = 0; i < walk.more; ++i) {
      std::vector<Event> events = possible(world_);
      std::erase_if(events, [&](const Event& event) { return !walk.allowed(event); });
      if (events.empty()) break;
      step(events[choose(events.size())]);
      if (ended()) return;
    }
    const bool odd = std::hash<std::string>()(outcome_.path) % 2 != 0;
    finish(walk.ending.value_or(odd ? Ending::all_leave : Ending::time_passes));
  }

 private:
  bool ended() const { return stopped_ || !outcome_.wrong.empty(); }

  void step(const Event& event) {
    if (!outcome_.path.empty()) outcome_.path += ' ';
    outcome_.path += to_string(event);
    stopped_ = event.kind == Kind::stop;
    if (stopped_) return;
    happen(world_, event);
    look();
    if (world_.everybody_is_idle()) expect_nothing(world_.held(), "while nobody waits: ");
  }

  // For what leaves no count behind.
  void look() {
    Seen& seen = outcome_.seen;
    seen.trials += world_.is_trial_under_way() ? 1 : 0;
    seen.asked_for_tokens += world_.router().flow.holdings(world_.thread()).questions;
    seen.waits_for_room += world_.router().scheduler.read(
        [](const policies::Scheduler& scheduler) { return scheduler.books().in_waiting_room; });
  }

  void finish(Ending ending) {
    outcome_.path += ending == Ending::all_leave ? " | all leave" : " | time passes";
    if (ending == Ending::all_leave) {
      for (TestClientPeer& client : world_.clients) client.socket.close();
      world_.quiet();
      expect_nothing(world_.held(), "when all have left: ");
    }
    // A retry begins its time anew, and so does a hop; more there are not.
    constexpr int kRounds = 10;
    std::string held = world_.held_for_ever();
    for (int i = 0; i < kRounds && !held.empty(); ++i) {
      world_.pass(std::chrono::seconds(100));
      held = world_.held_for_ever();
    }
    expect_nothing(held, "when everybody's time is up: ");
  }

  void expect_nothing(const std::string& held, std::string_view when) {
    if (!held.empty() && outcome_.wrong.empty()) outcome_.wrong = std::string(when) + held;
  }

  World& world_;
  Outcome& outcome_;
  bool stopped_ = false;
};

}  // namespace

Seen& Seen::operator+=(const Seen& other) {
  for (const SeenField& field : kSeen) this->*field.second += other.*field.second;
  return *this;
}

std::string Seen::missing() const {
  for (const SeenField& field : kSeen) {
    if (this->*field.second == 0) return field.first;
  }
  return {};
}

void warm_up() {
  for (const Scene& scene : scenes()) {
    run_path(scene, {events_of("ask:0 answer_piece:0 answer_end:0")},
             [](std::size_t) { return std::size_t{0}; });
  }
}

Outcome run_path(const Scene& scene, const Walk& walk, const Choose& choose) {
  Outcome outcome;
  outcome.path.reserve(4096);
  outcome.wrong.reserve(1024);
  const std::size_t descriptors = open_descriptors();
  const std::int64_t before = live_blocks();
  {
    World world(scene);
    Steps(world, outcome).go(walk, choose);
    outcome.seen += seen_in(world);
  }
  const std::int64_t after = live_blocks();
  if (!outcome.wrong.empty()) return outcome;
  if (after != before) {
    outcome.wrong = fmt::format("when the node has gone: {} blocks of memory", after - before);
  } else if (const std::size_t open = open_descriptors(); open != descriptors) {
    outcome.wrong = fmt::format("when the node has gone: {} descriptors more", open - descriptors);
  }
  return outcome;
}

const Scene& scene_named(std::string_view name) {
  const auto found = std::find_if(scenes().begin(), scenes().end(),
                                  [&](const Scene& scene) { return scene.name == name; });
  DUALMESH_CHECK(found != scenes().end(), "{} is no scene", name);
  return *found;
}

std::string replay(const std::string& scene, const std::string& events) {
  for (const Ending ending : {Ending::all_leave, Ending::time_passes}) {
    Walk walk{events_of(events)};
    walk.ending = ending;
    const Outcome outcome =
        run_path(scene_named(scene), walk, [](std::size_t) { return std::size_t{0}; });
    if (!outcome.wrong.empty()) return outcome.wrong + "\nafter " + outcome.path;
  }
  return {};
}

}  // namespace dualmesh::node::testing
