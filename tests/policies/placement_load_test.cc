// The placements that look at load alone, on views made by hand.
#include <cmath>

#include "policies/placement/freeness.h"
#include "policies/placement/join_shortest_queue.h"
#include "policies/placement/least_latency.h"
#include "policies/placement/least_request.h"
#include "policies/placement/least_tokens.h"
#include "policies/placement/power_of_two.h"
#include "policies/placement/random.h"
#include "tests/policies/placement_scene.h"

using namespace dualmesh::policies;
using namespace std::chrono_literals;

namespace {

// A fair share of `times` among n, within five standard deviations: left with a chance of 6e-7.
void check_share(int count, int times, double probability) {
  const double expected = times * probability;
  const double bound = 5 * std::sqrt(expected * (1 - probability));
  CAPTURE(expected);
  CHECK(count > expected - bound);
  CHECK(count < expected + bound);
}

LeastLatency least_latency(std::string_view text = {}) {
  ParameterValues values(LeastLatency::kParameters);
  REQUIRE(values.read(text) == "");
  return LeastLatency(values);
}

}  // namespace

TEST_CASE("placements by load take what can be used, and nothing else") {
  check_masks(RandomInstance());
  check_masks(JoinShortestQueue());
  check_masks(LeastRequest());
  check_masks(LeastTokens());
  check_masks(PowerOfTwo());
  check_masks(Freeness());
  check_masks(least_latency());
}

TEST_CASE("random gives every instance the same share, whatever its load") {
  PlacementScene scene(4);
  scene.own(0).queued_requests = 100;
  auto counts = scene.counts(RandomInstance(), 4'000);
  for (Slot slot = 0; slot < 4; ++slot) check_share(counts[slot], 4'000, 0.25);
  CHECK(scene.choose(RandomInstance()).reason == Reason::random);
  // A masked instance leaves its share to all others alike, not to its neighbour.
  scene.fleet.set_health(1, false);
  counts = scene.counts(RandomInstance(), 3'000);
  for (const Slot slot : {0, 2, 3}) check_share(counts[slot], 3'000, 1.0 / 3);
}

TEST_CASE("join_shortest_queue counts what has no first token, here and at the others") {
  PlacementScene scene(3);
  scene.own(0).queued_requests = 2;  // 2 + 1
  scene.others(0).queued_requests = 1;
  scene.own(1).prefilling_requests = 1;  // 1 + 1
  scene.others(1).prefilling_requests = 1;
  scene.others(2).queued_requests = 4;
  scene.others(1).decoding_requests = 50;  // served already
  scene.others(1).queued_tokens = 1'000'000;
  scene.show();
  const Choice choice = scene.choose(JoinShortestQueue());
  CHECK(choice.primary == 1);
  CHECK(choice.backup == 0);
  CHECK(choice.reason == Reason::least_load);
  CHECK(choice.candidates[0].slot == 1);
  CHECK(choice.candidates[0].pending_tokens == 1'000'000);
  CHECK(choice.candidates[1].slot == 0);
}

TEST_CASE("least_request counts whatever is under way, here and at the others") {
  PlacementScene scene(3);
  scene.own(0).decoding_requests = 5;
  scene.others(1).queued_requests = 1;
  scene.others(1).prefilling_requests = 1;
  scene.own(1).decoding_requests = 2;
  scene.others(2).queued_requests = 6;
  scene.show();
  CHECK(scene.choose(LeastRequest()).primary == 1);  // 4 < 5 < 6
  CHECK(scene.choose(LeastRequest()).backup == 0);
  CHECK(scene.choose(LeastRequest()).reason == Reason::least_load);
  scene.own(1).prefilling_requests = 2;  // 6
  CHECK(scene.choose(LeastRequest()).primary == 0);
}

TEST_CASE("least_tokens counts uncached prefill tokens and no requests") {
  PlacementScene scene(3);
  scene.own(0).queued_tokens = 600;
  scene.others(0).prefilling_tokens = 500;
  scene.own(1).prefilling_tokens = 300;
  scene.others(1).queued_tokens = 700;
  scene.others(1).queued_requests = 9;
  scene.others(1).decoding_tokens = 100'000;
  scene.others(2).queued_tokens = 1'200;
  scene.show();
  CHECK(scene.choose(LeastTokens()).primary == 1);  // 1,000 < 1,100 < 1,200
  CHECK(scene.choose(LeastTokens()).backup == 0);
  scene.own(1).queued_tokens = 101;
  CHECK(scene.choose(LeastTokens()).primary == 0);
}

TEST_CASE("ties go to each of the equals alike, the runner-up too") {
  PlacementScene scene(5);
  scene.own(1) = {.queued_requests = 1, .queued_tokens = 10};
  scene.own(4) = {.queued_requests = 1, .queued_tokens = 10};
  // 0, 2 and 3 are idle: a walk from a random place would favour 0 and 2, which follow the others.
  for (const std::string name : {"join_shortest_queue", "least_request", "least_tokens"}) {
    CAPTURE(name);
    const auto policy = make_policy(name);
    auto counts = scene.counts(*policy, 3'000);
    for (const Slot slot : {0, 2, 3}) check_share(counts[slot], 3'000, 1.0 / 3);
    CHECK(counts.size() == 3);
  }
  std::map<Slot, int> backups;
  for (int i = 0; i < 2'000; ++i) ++backups[scene.choose(LeastRequest(), {0, 2}).backup];
  check_share(backups[1], 2'000, 0.5);
  check_share(backups[4], 2'000, 0.5);
}

TEST_CASE("power_of_two takes the smaller load of two different instances") {
  PlacementScene scene(4);
  for (Slot slot = 0; slot < 4; ++slot) scene.own(slot).queued_requests = slot;
  // Of the six pairs, instance i is the lesser in 3 - i: the most loaded is never taken.
  auto counts = scene.counts(PowerOfTwo(), 6'000);
  check_share(counts[0], 6'000, 3.0 / 6);
  check_share(counts[1], 6'000, 2.0 / 6);
  check_share(counts[2], 6'000, 1.0 / 6);
  CHECK(counts[3] == 0);
  const Choice choice = scene.choose(PowerOfTwo());
  CHECK(choice.backup > choice.primary);
  CHECK(choice.reason == Reason::less_of_two);
  // Others' load counts as much, decoding as much as waiting; equals share alike.
  for (Slot slot = 0; slot < 4; ++slot) scene.others(slot).decoding_requests = 3U - slot;
  scene.show();
  counts = scene.counts(PowerOfTwo(), 4'000);
  for (Slot slot = 0; slot < 4; ++slot) check_share(counts[slot], 4'000, 0.25);
}

TEST_CASE("power_of_two on two instances is least_request") {
  PlacementScene scene(3);
  scene.own(0).decoding_requests = 2;
  scene.own(1).decoding_requests = 1;
  scene.fleet.set_health(2, false);
  for (int i = 0; i < 20; ++i) CHECK(scene.choose(PowerOfTwo()).primary == 1);
}

TEST_CASE("freeness is free memory for each request under way") {
  SchedulerSettings settings;
  settings.instance_cache_tokens = 10'000;
  PlacementScene scene(3, settings);
  // (10,000 - 4,000 - 1,000) / (1 + 1) = 2,500
  scene.own(0) = {.queued_requests = 1,
                  .decoding_requests = 1,
                  .queued_tokens = 1'000,
                  .decoding_tokens = 4'000};
  // (10,000 - 7,000) / 1 = 3,000, with more tokens but fewer requests
  scene.others(1) = {.decoding_requests = 1, .decoding_tokens = 7'000};
  // (10,000 - 1,000 - 500) / 4 = 2,125, with the fewest tokens
  scene.own(2) = {.prefilling_requests = 1, .prefilling_tokens = 500};
  scene.others(2) = {.decoding_requests = 3, .decoding_tokens = 1'000};
  scene.show();
  CHECK(scene.choose(Freeness()).primary == 1);
  CHECK(scene.choose(Freeness()).backup == 0);
  CHECK(scene.choose(Freeness(), {1}).primary == 0);
  // What is being prefilled takes memory as well: (10,000 - 1,000 - 5,000) / 2 = 2,000.
  scene.own(1) = {.prefilling_requests = 1, .prefilling_tokens = 5'000};
  scene.others(1) = {.decoding_requests = 1, .decoding_tokens = 1'000};
  scene.show();
  CHECK(scene.choose(Freeness()).primary == 0);
  scene.own(1).prefilling_tokens = 3'900;  // 2,550
  CHECK(scene.choose(Freeness()).primary == 1);
  scene.own(1).prefilling_tokens = 5'000;
  // Beyond its memory: (10,000 - 12,000) / 1 = -2,000 is less free than 2,125.
  scene.own(0) = {};
  scene.others(0) = {.decoding_requests = 1, .decoding_tokens = 12'000};
  scene.show();
  CHECK(scene.choose(Freeness()).primary == 2);
  // Nothing is freer than an idle one, and idle ones are equal.
  scene.own(1) = {};
  scene.others(1) = {};
  scene.show();
  CHECK(scene.choose(Freeness()).primary == 1);
  CHECK(scene.choose(Freeness()).reason == Reason::least_load);
  scene.others(0) = {};
  scene.show();
  auto counts = scene.counts(Freeness(), 2'000);
  check_share(counts[0], 2'000, 0.5);
  check_share(counts[1], 2'000, 0.5);
}

TEST_CASE("freeness knows the memory of an instance from the settings") {
  // 1,198,080 - 1,000,000 = 198,080 of one request; 1,198,080 - 200,000 over six is 166,346.
  PlacementScene scene(2);
  scene.own(0) = {.decoding_requests = 1, .decoding_tokens = 1'000'000};
  scene.own(1) = {.decoding_requests = 6, .decoding_tokens = 200'000};
  CHECK(scene.choose(Freeness()).primary == 0);
  // With 1,050,000: 50,000 against 141,666.
  SchedulerSettings settings;
  settings.instance_cache_tokens = 1'050'000;
  PlacementScene smaller(2, settings);
  smaller.own(0) = scene.own(0);
  smaller.own(1) = scene.own(1);
  CHECK(smaller.choose(Freeness()).primary == 1);
}

TEST_CASE("least_latency tries everyone first, then prefers the soonest first token") {
  PlacementScene scene(3);
  LeastLatency policy = least_latency("weight=0.5,half_life=1000000");
  std::set<Slot> tried;
  for (int i = 0; i < 3; ++i) {
    const Choice choice = scene.take(policy);
    CHECK(choice.reason == Reason::untried);
    tried.insert(choice.primary);
  }
  CHECK(tried.size() == 3);
  policy.first_token(scene.arrival, 0, 300ms);
  policy.first_token(scene.arrival, 1, 200ms);
  CHECK(scene.choose(policy).primary == 1);  // the third counts as the SLO
  CHECK(scene.choose(policy).backup == 0);
  CHECK(scene.choose(policy).reason == Reason::least_load);
  CHECK(scene.choose(policy, {0, 1}).primary == 2);
  policy.first_token(scene.arrival, 2, 100ms);  // as it is, not averaged with the SLO
  CHECK(scene.choose(policy).primary == 2);
  policy.first_token(scene.arrival, 2, 400ms);  // (100 + 400) / 2 = 250
  CHECK(scene.choose(policy).primary == 1);
  CHECK(scene.choose(policy).backup == 2);
  policy.first_token(scene.arrival, 2, 50ms);  // (250 + 50) / 2 = 150
  CHECK(scene.choose(policy).primary == 2);
}

TEST_CASE("least_latency comes back to a slow instance after a while") {
  PlacementScene scene(2);
  LeastLatency policy = least_latency("weight=1,half_life=10");
  policy.first_token(scene.arrival, 0, 100ms);
  policy.first_token(scene.arrival, 1, 800ms);
  // 800 ms x 2^(-n / 10) < 100 ms from n = 31 on; 0 answers each of its own in 100 ms.
  int placements = 0;
  while (scene.take(policy).primary == 0) {
    ++placements;
    REQUIRE(placements < 40);
    policy.first_token(scene.arrival, 0, 100ms);
  }
  // After 30 it is equal: either may be taken.
  CHECK(placements >= 30);
  CHECK(placements <= 31);
  policy.first_token(scene.arrival, 1, 90ms);  // it has recovered
  CHECK(scene.choose(policy).primary == 1);
}

TEST_CASE("least_latency does not send a burst to one that has yet to answer its trial") {
  PlacementScene scene(3);
  LeastLatency policy = least_latency();
  policy.first_token(scene.arrival, 0, 2s);
  policy.first_token(scene.arrival, 1, 3s);
  CHECK(scene.take(policy).primary == 2);
  for (int i = 0; i < 5; ++i) CHECK(scene.take(policy).primary == 0);
  // An instance that joins later is untried.
  scene.builder.add("m");
  scene.show();
  CHECK(scene.choose(policy).primary == 3);
  CHECK(scene.choose(policy).reason == Reason::untried);
}

TEST_CASE("least_latency tries one that was left aside with one request, not with all") {
  PlacementScene scene(2);
  LeastLatency policy = least_latency("weight=1,half_life=10");
  policy.first_token(scene.arrival, 0, 100ms);
  policy.first_token(scene.arrival, 1, 10s);
  for (int i = 0; i < 1'000; ++i) {  // 10 s x 2^-100: nothing is left of it
    if (scene.take(policy).primary == 0) policy.first_token(scene.arrival, 0, 100ms);
  }
  CHECK(scene.choose(policy).primary == 1);
  scene.own(1).prefilling_requests = 1;  // the one that tries it waits, and may do so for ever
  CHECK(scene.choose(policy).primary == 0);
  scene.own(0).prefilling_requests = 9;
  CHECK(scene.choose(policy).primary == 0);  // 1 s against 20
}

TEST_CASE(
    "least_latency adds the average once for each request that waits, here or at the others") {
  PlacementScene scene(2);
  LeastLatency policy = least_latency();
  policy.first_token(scene.arrival, 0, 100ms);
  policy.first_token(scene.arrival, 1, 390ms);
  scene.own(0).queued_requests = 1;
  scene.others(0).prefilling_requests = 1;
  scene.own(0).decoding_requests = 100;  // served already
  scene.show();
  CHECK(scene.choose(policy).primary == 0);  // 300 ms
  scene.own(0).prefilling_requests = 1;      // 400 ms
  CHECK(scene.choose(policy).primary == 1);
  LeastLatency half = least_latency("pending=0.5");
  half.first_token(scene.arrival, 0, 100ms);
  half.first_token(scene.arrival, 1, 390ms);
  CHECK(scene.choose(half).primary == 0);  // 250 ms
  scene.own(0).prefilling_requests = 4;    // 400 ms
  CHECK(scene.choose(half).primary == 1);
  LeastLatency plain = least_latency("pending=0");
  plain.first_token(scene.arrival, 0, 100ms);
  plain.first_token(scene.arrival, 1, 390ms);
  CHECK(scene.choose(plain).primary == 0);
}
