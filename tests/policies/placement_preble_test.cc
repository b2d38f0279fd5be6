// Preble's decisions on fleets made by hand.
#include "policies/placement/preble.h"
#include "tests/policies/cache_scene.h"

using namespace dualmesh::policies;
using namespace std::chrono_literals;

namespace {

// 45 tokens of output at 0.15 s each until something is known.
constexpr double kDecodeS = 6.75;
constexpr double kBlockS = 512 * 0.00016;

// Sends a request to `slot` that has nothing to do with any other, unless `blocks` says so.
class Sender {
 public:
  Sender(CacheScene& scene, Preble& policy) : scene_(scene), policy_(policy) {}

  RequestId send(Slot slot, std::size_t blocks = 1) {
    return send(slot, arrival_of(0, std::vector<std::uint64_t>(blocks, 1'000 + next_)));
  }
  RequestId send(Slot slot, Arrival arrival) {
    arrival.id = next_++;
    Choice choice;
    choice.primary = slot;
    policy_.taken({arrival, 1, arrival.chain.prefix_key(1)}, scene_.context(), choice);
    return arrival.id;
  }

 private:
  CacheScene& scene_;
  Preble& policy_;
  RequestId next_ = 1;
};

// Ten blocks and `more` that nobody else has; the ten are cached at `slot`.
Arrival follow_up(Slot slot, std::vector<std::uint64_t> more) {
  std::vector<std::uint64_t> blocks{1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  blocks.insert(blocks.end(), more.begin(), more.end());
  std::vector<std::uint32_t> hits(slot + 1U);
  hits[slot] = 10;
  return arrival_of(1, blocks, hits);
}

}  // namespace

TEST_CASE("preble never takes what is masked") {
  auto policy = with<Preble>();
  check_masked_holders(policy);
}

TEST_CASE("preble charges prefill for the window's time") {
  CacheScene scene(2);
  auto policy = with<Preble>();
  Sender sender(scene, policy);
  sender.send(1, 10);
  CHECK(policy.prefill_s(scene.context(), 1) == doctest::Approx(10 * kBlockS));
  CHECK(policy.prefill_s(scene.context(), 0) == 0);
  sender.send(0, ten_blocks({8}));  // what is cached there is not charged
  CHECK(policy.prefill_s(scene.context(), 0) == doctest::Approx(2 * kBlockS));
  scene.now = 100s;
  sender.send(1);
  scene.now = 180s;  // the first have left, whether or not another request came since
  CHECK(policy.prefill_s(scene.context(), 0) == 0);
  CHECK(policy.prefill_s(scene.context(), 1) == doctest::Approx(kBlockS));
  sender.send(0);
  CHECK(policy.prefill_s(scene.context(), 1) == doctest::Approx(kBlockS));
  CHECK(policy.prefill_s(scene.context(), 0) == doctest::Approx(kBlockS));
  scene.now = 280s;
  CHECK(policy.prefill_s(scene.context(), 1) == 0);
  CHECK(policy.forgotten() == 0);
}

TEST_CASE("preble charges decoding for requests under way only, not for the window's time") {
  CacheScene scene(2);
  auto policy = with<Preble>();
  Sender sender(scene, policy);
  for (int i = 0; i < 5; ++i) sender.send(0);  // and all have ended since
  CHECK(policy.decoding_s(scene.context(), 0) == 0);
  scene.own(1) = Load{.prefilling_requests = 1, .decoding_requests = 1};
  scene.others(1, Load{.decoding_requests = 1});
  CHECK(policy.decoding_s(scene.context(), 1) == doctest::Approx(3 * kDecodeS));
  // So three requests under way weigh more than five small ones that are over.
  CHECK(scene.pick(policy, ten_blocks()) == 0);
}

TEST_CASE("preble: four nodes have sent four times as much as one of them") {
  CacheScene scene(2);
  auto policy = with<Preble>();
  Sender(scene, policy).send(1);
  scene.builder.view.live_nodes = 4;
  scene.show();
  CHECK(policy.prefill_s(scene.context(), 1) == doctest::Approx(4 * kBlockS));
}

TEST_CASE("preble exploits when more than half of the prompt is cached, whatever others cost") {
  CacheScene scene(3);
  auto policy = with<Preble>("balance=1000000");
  scene.decoding({5, 2, 1});
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
  scene.decoding({1, 1});
  CHECK(scene.pick(policy, ten_blocks({5, 0})) == 0);
  // One request more weighs more than 5 blocks of prefill, 0.41 s.
  scene.decoding({2, 1});
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
  scene.decoding({2, 2, 1});
  CHECK(scene.pick(policy, a) == 0);  // exactly twice
  scene.decoding({3, 2, 1});
  CHECK(scene.pick(policy, a) == 2);
  CHECK(scene.choose(policy, a).reason == Reason::spilled);
  CHECK(scene.pick(with<Preble>("balance=3"), a) == 0);
  // Not the most loaded: it stays.
  scene.decoding({3, 5, 1});
  CHECK(scene.pick(policy, a) == 0);
  CHECK(scene.choose(policy, a).reason == Reason::longest_hit);
  // Beside one that has nothing to do, any load is too much.
  scene.decoding({1, 0, 1});
  CHECK(scene.pick(with<Preble>("balance=1000000"), a) == 1);
}

TEST_CASE("preble: the prefill of a prefix counts in equal parts where its requests were sent") {
  CacheScene scene(3);
  auto policy = with<Preble>();
  Sender sender(scene, policy);
  sender.send(0, ten_blocks());
  sender.send(2, follow_up(0, {11}));  // spilled: 11 blocks more
  CHECK(policy.prefill_s(scene.context(), 0) == doctest::Approx(21 * kBlockS / 2));
  CHECK(policy.prefill_s(scene.context(), 2) == doctest::Approx(21 * kBlockS / 2));
  CHECK(policy.prefill_s(scene.context(), 1) == 0);
  // What another node sent is known by its cache: nothing holds the prefix where it was first.
  scene.decoding({1, 1, 1});
  CHECK(scene.pick(policy, arrival_of(1, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12}, {9, 10, 9})) == 1);
}

TEST_CASE("preble with `decode`: exploring prefers an instance that mostly decodes") {
  CacheScene scene(3);
  auto policy = with<Preble>("decode=1.5");
  Sender sender(scene, policy);
  sender.send(0, 40);  // 3.28 s of prefill
  sender.send(1, 100);
  sender.send(2, 10);
  scene.decoding({1, 1, 0});  // 6.75 s: more than 1.5 x 3.28, less than 1.5 x 8.19
  CHECK(scene.pick(policy, ten_blocks()) == 0);
  CHECK(scene.pick(with<Preble>(), ten_blocks()) == 2);
  CHECK(scene.pick(policy, ten_blocks({0, 0, 9})) == 2);  // exploiting is not asked
}

TEST_CASE("preble with `rebalance`: the cheapest prefixes of the most loaded move") {
  CacheScene scene(2);
  auto policy = with<Preble>("rebalance=1.5,balance=1000000");
  Sender sender(scene, policy);
  // Three prefixes at 0, of 10, 20 and 30 blocks, used twice each, beside nothing at 1.
  for (const std::uint64_t prefix : {10U, 20U, 30U}) {
    const std::vector<std::uint64_t> blocks(prefix, prefix);
    sender.send(0, arrival_of(0, blocks));
    sender.send(0, arrival_of(0, blocks, {static_cast<std::uint32_t>(prefix)}));
  }
  const auto home = [&](std::uint64_t prefix) {
    const auto hit = static_cast<std::uint32_t>(prefix);
    return scene.pick(policy, arrival_of(0, std::vector<std::uint64_t>(prefix, prefix), {hit}));
  };
  scene.decoding({1, 1});
  CHECK(home(10) == 0);
  // Not before there have been 50 requests per instance; these are used once, and do not move.
  scene.now = 2s;
  for (int i = 6; i < 99; ++i) sender.send(0, std::size_t{1});
  CHECK(home(10) == 0);
  scene.now = 4s;
  sender.send(0, std::size_t{1});
  // 60 blocks against 0: the one of 10 moves, 50 against 10; then that of 20, 30 against 30; and
  // the last would turn them around.
  CHECK(home(10) == 1);
  CHECK(home(20) == 1);
  CHECK(home(30) == 0);
}

TEST_CASE("preble with `rebalance`: a prefix alone gets a second home once it has become slow") {
  CacheScene scene(2);
  auto policy = with<Preble>("rebalance=1.5,balance=1000000");
  Sender sender(scene, policy);
  const auto use = [&](Duration ttft) {
    Arrival a = follow_up(0, {});
    a.id = sender.send(0, a);
    policy.first_token(a, 0, ttft);
  };
  sender.send(0, ten_blocks());
  for (int i = 0; i < 60; ++i) use(1s);
  for (int i = 0; i < 60; ++i) sender.send(1, std::size_t{1});
  const auto both = [&] {
    scene.decoding({5, 1});
    return scene.pick(policy, ten_blocks({10}));
  };
  scene.now = 100s;  // the first minute and a half of three is over
  use(1900ms);
  scene.now = 102s;
  use(1900ms);
  CHECK(both() == 0);
  use(2200ms);  // a mean of 2 s
  scene.now = 104s;
  use(2s);
  CHECK(both() == 1);
}

TEST_CASE("preble learns the length of answers and the time of a token, per instance") {
  CacheScene scene(2);
  auto policy = with<Preble>();
  scene.decoding({1, 1});
  const Arrival a = ten_blocks();
  const auto decoding = [&](Slot slot) { return policy.decoding_s(scene.context(), slot); };
  // 101 tokens in 2 s: 20 ms for each after the first; three of them are enough to believe it.
  for (int i = 0; i < 3; ++i) policy.ended(a, 0, {101, true, 2s});
  CHECK(decoding(0) == doctest::Approx(101 * 0.02));
  CHECK(decoding(1) == doctest::Approx(101 * 0.15));
  // Neither what was cut short nor what the engine said nothing of.
  policy.ended(a, 0, {500, false, 90s});
  policy.ended(a, 0, {0, true, 90s});
  CHECK(decoding(0) == doctest::Approx(101 * 0.02));
  // Only the last 256 answers count.
  for (int i = 0; i < 256; ++i) policy.ended(a, 0, {201, true, 4s});
  CHECK(decoding(0) == doctest::Approx(201 * 0.02));
}

TEST_CASE("preble: a request that is sent again, or ends, leaves nothing behind") {
  CacheScene scene(2);
  auto policy = with<Preble>();
  Arrival a = ten_blocks();
  Choice choice;
  choice.primary = 0;
  policy.taken({a, 1, a.chain.prefix_key(1)}, scene.context(), choice);
  choice.primary = 1;
  policy.taken({a, 1, a.chain.prefix_key(1)}, scene.context(), choice);
  policy.first_token(a, 1, 1s);
  scene.now = 200s;  // under way still, and out of the window
  Sender(scene, policy).send(0);
  policy.first_token(a, 1, 200s);
  policy.ended(a, 1, {10, true, 1s});
  policy.ended(a, 1, {10, true, 1s});
  CHECK(policy.prefill_s(scene.context(), 1) == 0);
  CHECK(policy.prefill_s(scene.context(), 0) == doctest::Approx(kBlockS));
}

TEST_CASE("preble remembers so many requests and counts those it forgets early") {
  CacheScene scene(2);
  auto policy = with<Preble>();
  Sender sender(scene, policy);
  for (std::size_t i = 0; i < PrebleWindow::kMaxRequests; ++i) sender.send(i < 2 ? 1 : 0);
  CHECK(policy.forgotten() == 0);
  CHECK(policy.prefill_s(scene.context(), 1) == doctest::Approx(2 * kBlockS));
  sender.send(0);
  CHECK(policy.forgotten() == 1);
  CHECK(policy.prefill_s(scene.context(), 1) == doctest::Approx(kBlockS));
}
