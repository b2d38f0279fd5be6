// Preble's decisions on fleets made by hand.
#include "policies/placement/preble.h"
#include "tests/policies/cache_scene.h"

using namespace dualmesh::policies;
using namespace std::chrono_literals;

namespace {

// 160 us a token, 45 tokens of output at 0.15 s each until something is known.
constexpr double kDecodeS = 6.75;

// Charges one request with nothing cached to `slot`.
void send(CacheScene& scene, Preble& policy, Slot slot, std::size_t blocks = 1) {
  Arrival a = arrival_of(9, std::vector<std::uint64_t>(blocks, 77));
  Choice choice;
  choice.primary = slot;
  policy.taken({a, 1, a.chain.prefix_key(1)}, scene.context(), choice);
}

}  // namespace

TEST_CASE("preble never takes what is masked") {
  auto policy = with<Preble>();
  check_masked_holders(policy);
}

TEST_CASE("preble charges a request with its prefill and its decoding, for the window's time") {
  CacheScene scene(2);
  auto policy = with<Preble>();
  send(scene, policy, 1, 10);
  CHECK(policy.load_s(scene.context(), 1) == doctest::Approx(5120 * 0.00016 + kDecodeS));
  CHECK(policy.load_s(scene.context(), 0) == 0);
  // What is cached there is not charged.
  Choice choice;
  choice.primary = 0;
  const Arrival a = ten_blocks({8});
  policy.taken({a, 1, a.chain.prefix_key(1)}, scene.context(), choice);
  CHECK(policy.load_s(scene.context(), 0) == doctest::Approx(1024 * 0.00016 + kDecodeS));
  scene.now = 100s;
  send(scene, policy, 1);
  scene.now = 180s;  // the first have left, whether or not another request came since
  CHECK(policy.load_s(scene.context(), 0) == 0);
  CHECK(policy.load_s(scene.context(), 1) == doctest::Approx(512 * 0.00016 + kDecodeS));
  send(scene, policy, 0);
  CHECK(policy.load_s(scene.context(), 1) == doctest::Approx(512 * 0.00016 + kDecodeS));
  CHECK(policy.load_s(scene.context(), 0) == doctest::Approx(512 * 0.00016 + kDecodeS));
  scene.now = 280s;
  CHECK(policy.load_s(scene.context(), 1) == 0);
  CHECK(policy.forgotten() == 0);
}

TEST_CASE("preble: four nodes have seen four times as much as one of them") {
  CacheScene scene(2);
  auto policy = with<Preble>();
  send(scene, policy, 1);
  scene.builder.view.live_nodes = 4;
  scene.show();
  CHECK(policy.load_s(scene.context(), 1) == doctest::Approx(4 * (512 * 0.00016 + kDecodeS)));
}

TEST_CASE("preble exploits when more than half of the prompt is cached, whatever others cost") {
  CacheScene scene(3);
  auto policy = with<Preble>("balance=1000000");
  for (const Slot slot : {0, 0, 0, 0, 0, 1, 1, 2}) send(scene, policy, slot);
  CHECK(scene.pick(policy, ten_blocks({6, 5})) == 0);
  CHECK(scene.choose(policy, ten_blocks({6, 5})).reason == Reason::longest_hit);
  // Half of it is not more than the rest: the least cost.
  CHECK(scene.pick(policy, ten_blocks({5, 5})) == 2);
  CHECK(scene.choose(policy, ten_blocks({5, 5})).reason == Reason::best_score);
  // Of two holders the one with less to do.
  CHECK(scene.pick(policy, ten_blocks({6, 6})) == 1);
}

TEST_CASE("preble explores by load and its own missing prefill together") {
  CacheScene scene(2);
  auto policy = with<Preble>();
  // Equal loads: the five cached blocks decide.
  send(scene, policy, 0);
  send(scene, policy, 1);
  CHECK(scene.pick(policy, ten_blocks({5, 0})) == 0);
  // One request more weighs more than 5 blocks of prefill, 0.41 s.
  send(scene, policy, 0);
  CHECK(scene.pick(policy, ten_blocks({5, 0})) == 1);
  // Unless each block takes a minute there.
  scene.builder[1].prefill_s_per_token = 60.0 / 512;
  scene.show();
  CHECK(scene.pick(policy, ten_blocks({5, 0})) == 0);
  CacheScene even(2);
  auto taken = even.spread(with<Preble>(), ten_blocks());
  CHECK(taken[0] > 350);
  CHECK(taken[1] > 350);
}

TEST_CASE("preble: the most loaded holder yields beyond twice the least load") {
  CacheScene scene(3);
  auto policy = with<Preble>();
  const Arrival a = ten_blocks({9});
  for (const Slot slot : {0, 0, 1, 1, 2}) send(scene, policy, slot);
  CHECK(scene.pick(policy, a) == 0);  // exactly twice
  send(scene, policy, 0);
  CHECK(scene.pick(policy, a) == 2);
  CHECK(scene.choose(policy, a).reason == Reason::spilled);
  CHECK(scene.pick(with<Preble>("balance=3"), a) == 0);
  // Beside one that has done nothing yet, any load is too much.
  CacheScene idle(2);
  auto other = with<Preble>("balance=1000000");
  send(idle, other, 0);
  CHECK(idle.pick(other, a) == 1);
  // Not the most loaded: it stays.
  for (int i = 0; i < 3; ++i) send(scene, policy, 1);
  CHECK(scene.pick(policy, a) == 0);
  CHECK(scene.choose(policy, a).reason == Reason::longest_hit);
}

TEST_CASE("preble learns the length of answers and the time of a token, per instance") {
  CacheScene scene(2);
  auto policy = with<Preble>();
  send(scene, policy, 0);
  send(scene, policy, 1);
  const Arrival a = ten_blocks();
  // 101 tokens in 2 s: 20 ms for each after the first; three of them are enough to believe it.
  for (int i = 0; i < 3; ++i) policy.ended(a, 0, {101, true, 2s});
  CHECK(policy.load_s(scene.context(), 0) == doctest::Approx(512 * 0.00016 + 101 * 0.02));
  CHECK(policy.load_s(scene.context(), 1) == doctest::Approx(512 * 0.00016 + 101 * 0.15));
  // Neither what was cut short nor what the engine said nothing of.
  policy.ended(a, 0, {500, false, 90s});
  policy.ended(a, 0, {0, true, 90s});
  policy.ended(a, 7, {101, true, 90s});
  CHECK(policy.load_s(scene.context(), 0) == doctest::Approx(512 * 0.00016 + 101 * 0.02));
  // Only the last 256 answers count.
  for (int i = 0; i < 256; ++i) policy.ended(a, 0, {201, true, 4s});
  CHECK(policy.load_s(scene.context(), 0) == doctest::Approx(512 * 0.00016 + 201 * 0.02));
}
