// KvStream against engines that lose, replay and restart: thousands of histories.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "tests/node/kv/kv_stream_scene.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::test;

namespace {

struct Plan {
  std::size_t steps = 400;
  std::size_t buffer = 1'000'000;
  bool has_replay = true;
  Faults faults;
  double restart = 0.004, blip = 0.01;
  std::size_t most_while_away = 200;  // batches of a new life before we are back
  std::size_t observers = 1;
  bool clock_steps_back = false;
};

class Scene {
 public:
  Scene(const Plan& plan, std::uint64_t seed) : plan_(plan), random_(seed) {
    engine_.buffer_batches = plan.buffer;
    engine_.clock_steps_back = plan.clock_steps_back;
    StreamSettings settings;
    settings.has_replay = plan.has_replay;
    for (std::size_t i = 0; i < plan.observers; ++i) {
      observers_.push_back(std::make_unique<Subscriber>(settings, engine_, random_));
      observers_.back()->faults = plan.faults;
    }
  }

  void play() {
    for (std::size_t i = 0; i < plan_.steps; ++i) step();
    for (auto& observer : observers_) observer->faults = {};
    for (int i = 0; i < 4000; ++i) quiet_step();  // 200 s
  }

  const Plan plan_;
  std::mt19937_64 random_;
  ModelEngine engine_;
  std::vector<std::unique_ptr<Subscriber>> observers_;
  StreamPosition mesh_;
  Time now_{seconds(1000)};

 private:
  std::uint64_t upto(std::uint64_t most) { return random_() % (most + 1); }
  bool chance(double p) { return observers_[0]->chance(p); }

  void publish(std::uint64_t batches) {
    for (; batches > 0; --batches) {
      const std::uint64_t sequence = engine_.now_living().size();
      const std::string payload = engine_.publish();
      for (auto& observer : observers_) observer->hear(sequence, payload);
    }
  }
  void pass(Duration time) {
    now_ += time;
    for (auto& observer : observers_) observer->now = now_;
  }
  void share() {
    for (auto& observer : observers_) {
      const auto& said = observer->position;
      if (std::pair(said.epoch, said.end) > std::pair(mesh_.epoch, mesh_.end)) mesh_ = said;
    }
  }
  void step() {
    pass(milliseconds(1 + upto(60)));
    if (chance(0.5)) publish(upto(6));
    if (chance(plan_.restart)) {
      for (auto& observer : observers_) observer->disconnect();
      engine_.restart();
      if (chance(0.7)) publish(upto(plan_.most_while_away));
    }
    share();
    for (auto& observer : observers_) {
      if (chance(plan_.blip)) observer->disconnect();
      if (!observer->is_connected() && chance(0.2)) observer->connect();
      if (chance(0.3)) observer->told(mesh_);
      if (chance(0.4)) observer->serve_replay();
      observer->read(upto(12));
      if (chance(0.3)) observer->tick();
    }
  }
  void quiet_step() {
    pass(milliseconds(50));
    share();
    for (auto& observer : observers_) {
      if (!observer->is_connected()) observer->connect();
      observer->told(mesh_);
      observer->serve_replay();
      observer->read(1000);
      observer->tick();
    }
  }
};

// Each epoch's batches in order, each once; a mixture of lives only where no wire can tell.
void check_deliveries(const Subscriber& observer, bool may_mix) {
  std::map<crdt::Epoch, Subscriber::Delivered const*> last_of;
  crdt::Epoch newest;
  for (const auto& one : observer.delivered) {
    REQUIRE(one.what.batch.sequence == one.id.sequence);
    REQUIRE(one.what.from.value == one.id.sequence);
    REQUIRE(one.what.digest == batch_digest(one.id.sequence, one.what.batch.payload));
    REQUIRE(one.what.epoch >= newest);
    newest = one.what.epoch;
    auto& before = last_of[one.what.epoch];
    if (before != nullptr) {
      REQUIRE(one.id.sequence > before->id.sequence);
      const bool rolled = one.first_served > before->id.sequence;
      if (!may_mix && !rolled) REQUIRE(one.id.life == before->id.life);
      REQUIRE(one.id.life >= before->id.life);
    }
    before = &one;
  }
}

void check_nothing_lost(const Subscriber& observer, const ModelEngine& engine) {
  std::map<std::size_t, std::vector<std::uint64_t>> of_life;
  std::map<std::size_t, std::set<crdt::Epoch>> epochs;
  for (const auto& one : observer.delivered) {
    of_life[one.id.life].push_back(one.id.sequence);
    epochs[one.id.life].insert(one.what.epoch);
  }
  for (const auto& [life, sequences] : of_life) {
    REQUIRE(sequences.front() == 0);
    REQUIRE(sequences.back() == sequences.size() - 1);  // with increasing order: no hole
    REQUIRE(epochs[life].size() == 1);
  }
  REQUIRE(observer.machine.counters().lost == 0);
  const std::uint64_t restarts = observer.machine.counters().restarts;  // silent lives count too
  if (!of_life.empty()) REQUIRE(restarts >= of_life.size() - 1);
  REQUIRE(restarts < engine.lives.size());
  const std::size_t last = engine.lives.size() - 1;
  REQUIRE(of_life[last].size() == engine.lives[last].size());
}

std::uint64_t seeds() { return 1500; }

}  // namespace

TEST_CASE("with a buffer that holds all, nothing is lost and no two lives are mixed") {
  for (std::uint64_t seed = 0; seed < seeds(); ++seed) {
    CAPTURE(seed);
    Plan plan;
    plan.faults = {.pub_loss = seed % 3 * 0.05, .duplicate = 0.02};
    plan.clock_steps_back = seed % 5 == 0;
    Scene scene(plan, seed);
    scene.play();
    check_deliveries(*scene.observers_[0], false);
    const Subscriber& observer = *scene.observers_[0];
    check_nothing_lost(observer, scene.engine_);
    REQUIRE(observer.false_beginnings == 0);
    if (!observer.delivered.empty()) REQUIRE(observer.machine.caught_up());
    REQUIRE(observer.position.end.value == scene.engine_.now_living().size());
  }
}

TEST_CASE("with a short buffer what is lost is lost, in order, and the end is reached") {
  for (std::uint64_t seed = 0; seed < seeds(); ++seed) {
    CAPTURE(seed);
    Plan plan;
    plan.buffer = 5 + seed % 40;
    plan.faults = {.pub_loss = 0.03};
    Scene scene(plan, seed);
    scene.play();
    const auto& observer = *scene.observers_[0];
    check_deliveries(observer, false);
    REQUIRE(observer.false_beginnings == 0);
    if (scene.engine_.now_living().empty()) continue;
    REQUIRE(observer.machine.caught_up());
    REQUIRE(observer.delivered.back().id ==
            BatchId{scene.engine_.lives.size() - 1, scene.engine_.now_living().size() - 1});
  }
}

TEST_CASE("replays that break off or never answer cost batches, never order") {
  for (std::uint64_t seed = 0; seed < seeds(); ++seed) {
    CAPTURE(seed);
    Plan plan;
    plan.buffer = seed % 2 == 0 ? 1'000'000 : 30;
    plan.faults = {.pub_loss = 0.05, .replay_loss = 0.05, .dead_replay = 0.3};
    Scene scene(plan, seed);
    scene.play();
    const auto& observer = *scene.observers_[0];
    check_deliveries(observer, true);
    if (scene.engine_.now_living().empty()) continue;
    REQUIRE(observer.machine.caught_up());
    REQUIRE(observer.delivered.back().id ==
            BatchId{scene.engine_.lives.size() - 1, scene.engine_.now_living().size() - 1});
  }
}

TEST_CASE("without replay live batches are in order") {
  for (std::uint64_t seed = 0; seed < seeds(); ++seed) {
    CAPTURE(seed);
    Plan plan;
    plan.has_replay = false;
    plan.faults = {.pub_loss = 0.05, .duplicate = 0.05};
    Scene scene(plan, seed);
    scene.play();
    check_deliveries(*scene.observers_[0], true);
  }
}

TEST_CASE("two observers agree on one epoch, and reach the end") {
  for (std::uint64_t seed = 0; seed < seeds(); ++seed) {
    CAPTURE(seed);
    Plan plan;
    plan.observers = 2;
    plan.buffer = seed % 2 == 0 ? 1'000'000 : 50;
    plan.faults = {.pub_loss = 0.02};
    plan.clock_steps_back = seed % 5 == 0;
    Scene scene(plan, seed);
    scene.play();
    for (const auto& observer : scene.observers_) {
      if (seed % 2 == 0) check_deliveries(*observer, false);
      REQUIRE(observer->false_beginnings == 0);
      REQUIRE(observer->machine.counters().restarts <= 2 * scene.engine_.lives.size());
      if (scene.engine_.now_living().empty()) continue;
      REQUIRE(observer->machine.caught_up());
    }
    if (scene.engine_.now_living().empty()) continue;
    REQUIRE(scene.mesh_.end.value == scene.engine_.now_living().size());
    std::set<std::size_t> lives;
    for (const auto& observer : scene.observers_) {
      for (const auto& one : observer->delivered) {
        if (one.what.epoch == scene.mesh_.epoch) lives.insert(one.id.life);
      }
    }
    if (seed % 2 == 0) REQUIRE(lives == std::set{scene.engine_.lives.size() - 1});
  }
}
