// The rules of suspicion, each by itself, in hand-made time.
#include "node/mesh/failure_detector.h"

#include <doctest/doctest.h>

#include <cmath>

using namespace dualmesh;
using crdt::Epoch;
using crdt::MemberStatus;
using crdt::NodeId;
using node::Accusation;
using node::FailureDetector;
using node::LocalHealth;
using node::MeshConfig;

namespace {

constexpr NodeId kPeer{7};

policies::Time ms(std::int64_t n) { return std::chrono::milliseconds(n); }

crdt::Member member(MemberStatus status, std::uint64_t refutations = 0, std::uint64_t epoch = 1) {
  crdt::Member out;
  out.epoch = Epoch{epoch};
  out.refutations = refutations;
  out.status = status;
  return out;
}

// A detector that watches kPeer and `others` more, driven in rounds of 250 ms in which all but
// kPeer are heard.
struct Observer {
  explicit Observer(std::size_t others) : others_(others) {
    for (std::size_t i = 0; i < others; ++i) detector.learned(other(i), member({}), ms(0));
    detector.learned(kPeer, member(MemberStatus::alive), ms(0));
  }
  static NodeId other(std::size_t i) { return NodeId{100 + i}; }

  FailureDetector::Actions round() {
    now += 250;
    for (std::size_t i = 0; i < others_; ++i) detector.heard(other(i), ms(now));
    return detector.tick(ms(now));
  }
  // Silent rounds until it accuses kPeer, whom no helper reaches.
  void accuse() {
    while (round().probe.empty()) REQUIRE(now < 10'000);
    REQUIRE(detector.probe_answered(kPeer, false, ms(now)));
    detector.learned(kPeer, member(MemberStatus::suspect), ms(now));
  }
  // How long after the accusation it gives up.
  std::int64_t rounds_until_dead() {
    const std::int64_t from = now;
    while (round().dead.empty()) REQUIRE(now < from + 60'000);
    return now - from;
  }

  FailureDetector detector{MeshConfig{}};
  std::int64_t now = 0;

 private:
  std::size_t others_;
};

Accusation accusation(std::uint64_t refutations = 0, std::uint64_t epoch = 1) {
  return {kPeer, Epoch{epoch}, refutations};
}

}  // namespace

TEST_CASE("detector: the table of who is probed, accused and given up, and when") {
  MeshConfig config;
  FailureDetector detector(config);
  detector.learned(kPeer, member(MemberStatus::alive), ms(1000));
  for (int t = 1000; t <= 1750; t += 250) {
    CHECK(detector.tick(ms(t)).probe.empty());
  }
  REQUIRE(detector.tick(ms(2000)).probe == std::vector<NodeId>{kPeer});
  CHECK(detector.tick(ms(2250)).probe.empty());  // one probe at a time

  SUBCASE("somebody reaches it: no accusation, and the clock starts again") {
    CHECK_FALSE(detector.probe_answered(kPeer, true, ms(2300)));
    for (int t = 2500; t <= 3250; t += 250) CHECK(detector.tick(ms(t)).probe.empty());
    CHECK(detector.tick(ms(3500)).probe == std::vector<NodeId>{kPeer});
  }
  SUBCASE("nobody does: suspected, then dead, all within four seconds of silence") {
    REQUIRE(detector.probe_answered(kPeer, false, ms(2500)));
    detector.learned(kPeer, member(MemberStatus::suspect), ms(2500));
    for (int t = 2500; t < 3750; t += 250) CHECK(detector.tick(ms(t)).dead.empty());
    CHECK(detector.tick(ms(3750)).dead == std::vector<NodeId>{kPeer});
    detector.learned(kPeer, member(MemberStatus::dead), ms(3750));
    CHECK(detector.tick(ms(4000)).dead.empty());
  }
  SUBCASE("suspected by others but heard by us: not given up") {
    detector.learned(kPeer, member(MemberStatus::suspect), ms(2300));
    for (int t = 2500; t < 6000; t += 250) {
      detector.heard(kPeer, ms(t));
      CHECK(detector.tick(ms(t)).dead.empty());
      CHECK(detector.accusations(ms(t)).empty());
    }
  }
  SUBCASE("a node that slept itself accuses nobody, and doubts itself") {
    detector.heard(kPeer, ms(2300));
    const auto actions = detector.tick(ms(12'000));
    CHECK(actions.probe.empty());
    CHECK(actions.dead.empty());
    CHECK(detector.own_pauses() == 1);
    CHECK(detector.health().score() == 1);
  }
}

TEST_CASE("suspicion: the table of times by confirmations") {
  const auto time = [](std::size_t confirmations, std::size_t wanted) {
    return static_cast<double>(
               node::suspicion_time(ms(2'000), ms(30'000), confirmations, wanted).count()) /
           1e6;
  };
  // By hand: 30 - 28 * log(c + 1) / log(k + 1), in seconds.
  CHECK(time(0, 3) == doctest::Approx(30'000.0));
  CHECK(time(1, 3) == doctest::Approx(16'000.0));
  CHECK(time(2, 3) == doctest::Approx(7'810.5).epsilon(0.0001));
  CHECK(time(3, 3) == doctest::Approx(2'000.0));
  CHECK(time(4, 3) == doctest::Approx(2'000.0));
  CHECK(time(0, 1) == doctest::Approx(30'000.0));
  CHECK(time(1, 1) == doctest::Approx(2'000.0));
  CHECK(time(0, 0) == doctest::Approx(2'000.0));  // nobody could confirm
}

TEST_CASE("suspicion: with fewer than three possible accusers the shortest time applies at once") {
  for (const std::size_t others : {0, 1, 2}) {
    CAPTURE(others);
    Observer observer(others);
    observer.accuse();
    CHECK(observer.rounds_until_dead() == 1'250);
  }
  Observer observer(3);
  observer.accuse();
  CHECK(observer.rounds_until_dead() == 3'750);
}

TEST_CASE("suspicion: each confirmation shortens it, three make it the shortest") {
  const std::int64_t expected[] = {3'750, 2'500, 2'000, 1'250, 1'250};
  for (std::size_t confirming = 0; confirming < 5; ++confirming) {
    CAPTURE(confirming);
    Observer observer(5);
    observer.accuse();
    for (std::size_t i = 0; i < confirming; ++i) {
      observer.detector.accused(Observer::other(i), {accusation()});
    }
    CHECK(observer.detector.confirmations(kPeer) == confirming);
    // 3.75 - 2.5 * log(3) / log(4) = 1.77 s falls between two rounds.
    CHECK(observer.rounds_until_dead() == expected[confirming]);
  }
}

TEST_CASE("suspicion: accusers that are silent themselves are not waited for") {
  Observer observer(2);
  for (std::uint64_t i = 0; i < 4; ++i) {
    observer.detector.learned(NodeId{200 + i}, member(MemberStatus::alive), ms(0));
  }
  observer.accuse();
  CHECK(observer.rounds_until_dead() == 1'250);
}

TEST_CASE("suspicion: the word of one accuser counts once, however often it is said") {
  Observer observer(5);
  observer.accuse();
  for (int i = 0; i < 10; ++i) observer.detector.accused(Observer::other(0), {accusation()});
  CHECK(observer.detector.confirmations(kPeer) == 1);
  observer.detector.accused(kPeer, {accusation()});  // nobody confirms his own death
  CHECK(observer.detector.confirmations(kPeer) == 1);
}

TEST_CASE("suspicion: an accuser that takes it back, leaves or dies confirms no more") {
  Observer observer(5);
  observer.accuse();
  for (std::size_t i = 0; i < 3; ++i) {
    observer.detector.accused(Observer::other(i), {accusation()});
  }
  observer.detector.accused(Observer::other(0), {});
  observer.detector.learned(Observer::other(1), member(MemberStatus::dead), ms(observer.now));
  observer.detector.learned(Observer::other(2), member(MemberStatus::left), ms(observer.now));
  CHECK(observer.detector.confirmations(kPeer) == 0);
  observer.detector.accused(NodeId{999}, {accusation()});  // of whom nothing is known
  CHECK(observer.detector.confirmations(kPeer) == 0);
}

TEST_CASE("suspicion: being suspected twice does not start the time again") {
  Observer observer(0);
  observer.accuse();
  observer.round();
  observer.round();
  observer.detector.learned(kPeer, member(MemberStatus::suspect), ms(observer.now));
  CHECK(observer.rounds_until_dead() == 750);
}

TEST_CASE("suspicion: accusations of an earlier refutation or life confirm nothing") {
  Observer observer(5);
  for (std::size_t i = 0; i < 3; ++i) {
    observer.detector.accused(Observer::other(i), {accusation(0, 1)});
  }
  observer.detector.learned(kPeer, member(MemberStatus::suspect, 1, 1), ms(0));
  CHECK(observer.detector.confirmations(kPeer) == 0);
  observer.detector.learned(kPeer, member(MemberStatus::suspect, 0, 2), ms(0));
  CHECK(observer.detector.confirmations(kPeer) == 0);
  observer.detector.accused(Observer::other(4), {accusation(0, 2)});
  CHECK(observer.detector.confirmations(kPeer) == 1);
}

TEST_CASE("refutation: the time starts again, also when only the next suspicion is heard of") {
  Observer observer(0);
  observer.accuse();
  for (int i = 0; i < 4; ++i) observer.round();
  SUBCASE("refuted, then suspected anew") {
    observer.detector.learned(kPeer, member(MemberStatus::alive, 1), ms(observer.now));
  }
  SUBCASE("both at once") {}
  observer.detector.learned(kPeer, member(MemberStatus::suspect, 1), ms(observer.now));
  CHECK(observer.rounds_until_dead() == 1'250);
}

TEST_CASE("refutation: who refutes lives, though we do not hear it ourselves") {
  Observer observer(0);
  observer.accuse();
  observer.round();
  observer.detector.learned(kPeer, member(MemberStatus::alive, 1), ms(observer.now));
  CHECK(observer.detector.last_heard(kPeer) == ms(observer.now));
  for (int i = 0; i < 3; ++i) CHECK(observer.round().probe.empty());
  CHECK(observer.round().probe == std::vector<NodeId>{kPeer});
}

TEST_CASE("accusations: told are suspects that are silent here, with what they stand for") {
  Observer observer(1);
  CHECK(observer.detector.accusations(ms(0)).empty());
  observer.detector.learned(kPeer, member(MemberStatus::suspect, 4, 9), ms(0));
  CHECK(observer.detector.accusations(ms(500)).empty());
  CHECK(observer.detector.accusations(ms(1'000)) == std::vector<Accusation>{accusation(4, 9)});
  observer.detector.learned(kPeer, member(MemberStatus::dead, 4, 9), ms(1'000));
  CHECK(observer.detector.accusations(ms(2'000)).empty());
}

TEST_CASE("health: the score is bounded both ways and heals by one per second of good rounds") {
  LocalHealth health(4);
  CHECK(health.multiplier() == 1);
  for (int i = 0; i < 20; ++i) health.worse();
  CHECK(health.score() == 8);
  CHECK(health.multiplier() == 9);
  for (int i = 0; i < 3; ++i) health.good_round();
  CHECK(health.score() == 8);
  health.good_round();
  CHECK(health.score() == 7);
  for (int i = 0; i < 3; ++i) health.good_round();
  health.worse();
  for (int i = 0; i < 3; ++i) health.good_round();
  CHECK(health.score() == 8);  // the rounds must follow each other
  for (int i = 0; i < 100; ++i) health.good_round();
  CHECK(health.score() == 0);
}

TEST_CASE("health: a probe that fails while well helpers fall silent too is blamed on ourselves") {
  Observer observer(2);
  while (observer.round().probe.empty()) REQUIRE(observer.now < 10'000);
  const std::vector<NodeId> helpers{Observer::other(0), Observer::other(1)};
  observer.detector.probe_began(kPeer, helpers, ms(observer.now));
  SUBCASE("both silent: it doubts itself and gives the node more time") {
    CHECK_FALSE(observer.detector.probe_answered(kPeer, false, ms(observer.now + 550)));
    CHECK(observer.detector.health().score() == 1);
  }
  SUBCASE("one says that it does not reach it") {
    observer.detector.heard(Observer::other(1), ms(observer.now + 500));
    CHECK(observer.detector.probe_answered(kPeer, false, ms(observer.now + 550)));
    CHECK(observer.detector.health().score() == 0);
  }
  SUBCASE("no helper at all is nobody's fault") {
    observer.detector.probe_began(kPeer, {}, ms(observer.now));
    CHECK(observer.detector.probe_answered(kPeer, false, ms(observer.now + 550)));
    CHECK(observer.detector.health().score() == 0);
  }
}

TEST_CASE("health: helpers that fell silent together with the node may be gone with it") {
  FailureDetector detector{MeshConfig{}};
  const NodeId helper{8};
  detector.learned(kPeer, member(MemberStatus::alive), ms(0));
  detector.learned(helper, member(MemberStatus::alive), ms(0));
  detector.heard(helper, ms(200));
  for (int t = 250; t < 1'000; t += 250) detector.tick(ms(t));
  REQUIRE(detector.tick(ms(1'000)).probe == std::vector<NodeId>{kPeer});
  detector.probe_began(kPeer, {helper}, ms(1'000));
  CHECK(detector.probe_answered(kPeer, false, ms(1'550)));
  CHECK(detector.health().score() == 0);
}

TEST_CASE("health: a node that had to refute accuses later, until it has healed") {
  Observer observer(0);
  observer.detector.refuted();
  observer.detector.refuted();
  REQUIRE(observer.detector.health().multiplier() == 3);
  // Silence of 3 s, of which each second of good rounds takes one: 3.0, 2.0, then 1.0 apply.
  std::int64_t probed = 0;
  while (probed == 0) {
    if (!observer.round().probe.empty()) probed = observer.now;
    REQUIRE(observer.now < 10'000);
  }
  CHECK(probed == 2'000);
}
