// Placements that weigh cache against load: each decision, on fleets made by hand.
#include "policies/placement/aibrix_prefix_cache.h"
#include "policies/placement/cache_aware.h"
#include "policies/placement/dynamo_cost.h"
#include "policies/placement/lmetric.h"
#include "policies/placement/load_cache_score.h"
#include "policies/placement/min_ttft.h"
#include "policies/placement/precise_prefix.h"
#include "tests/policies/cache_scene.h"

using namespace dualmesh::policies;
using namespace std::chrono_literals;

TEST_CASE("placements by cache and load never take what is masked") {
  const auto check = [](auto policy) { check_masked_holders(policy); };
  check(with<AibrixPrefixCache>());
  check(with<CacheAware>());
  check(with<DynamoCost>());
  check(with<DynamoCost>("temperature=1"));
  check(with<LMetric>());
  check(with<LoadCacheScore>());
  check(with<MinTtft>());
  check(with<MinTtft>("transfer_us=10"));
  check(with<PrecisePrefix>());
}

TEST_CASE("min_ttft: what is pending plus what is missing, at each one's own speed") {
  CacheScene scene(3);
  const auto policy = with<MinTtft>();
  const Arrival a = ten_blocks({4, 0, 1});  // missing 3072, 5120, 4608
  CHECK(scene.pick(policy, a) == 0);
  CHECK(scene.choose(policy, a).backup == 2);
  CHECK(scene.choose(policy, a).reason == Reason::shorter_ttft);
  CHECK(scene.choose(policy, a).candidates[0].ttft_s == doctest::Approx(3072 * 0.00016));
  // 3072 + 1535 is still less than 4608, one more is a draw, two more are not.
  scene.others(0, {.queued_tokens = 1000, .prefilling_tokens = 500});
  scene.own(0).queued_tokens = 35;
  CHECK(scene.pick(policy, a) == 0);
  scene.own(0).prefilling_tokens = 2;
  CHECK(scene.pick(policy, a) == 2);
  // Slot 1 computes twice as fast: 5120 there are as long as 2560 elsewhere.
  scene.builder[1].prefill_s_per_token = 0.00008;
  scene.show();
  CHECK(scene.pick(policy, a) == 1);
}

TEST_CASE("min_ttft breaks ties at random") {
  CacheScene scene(3);
  auto taken = scene.spread(with<MinTtft>(), ten_blocks({2, 3, 3}));
  CHECK(taken[0] == 0);
  // A fair coin leaves 350..550 of 900 with a chance of 3e-11.
  CHECK(taken[1] > 350);
  CHECK(taken[2] > 350);
}

TEST_CASE("min_ttft fetches what a much longer hit elsewhere holds; any hit is more than none") {
  CacheScene scene(3);
  const Arrival a = ten_blocks({8, 4, 0});
  // Slot 0: 6000 pending + 1024. Slot 1: 3072 and 200 pending, or 1024 and fetching 2048 tokens.
  // Slot 2: 5120, or 1024 and fetching 4096.
  scene.pending({6000, 200, 0});
  CHECK(scene.pick(with<MinTtft>(), a) == 1);
  // 16 us a token are a tenth of computing it. Slot 1: 200 + 1024 + 204.8; slot 2: 1024 + 409.6.
  CHECK(scene.pick(with<MinTtft>("transfer_us=16"), a) == 1);
  // The longest hit is exactly twice that of slot 1: not more, so slot 1 computes 3272.
  CHECK(scene.pick(with<MinTtft>("transfer_us=16,balancing=2"), a) == 2);
  // However high the threshold, a hit of none is exceeded.
  CHECK(scene.pick(with<MinTtft>("transfer_us=16,balancing=1000000"), a) == 2);
  // Nobody has anything: nothing to fetch.
  CHECK(scene.pick(with<MinTtft>("transfer_us=16"), ten_blocks()) == 2);
}

TEST_CASE("lmetric: queued prefill included, times the batch and one") {
  CacheScene scene(2);
  const auto policy = with<LMetric>();
  const Arrival a = ten_blocks({8, 0});  // missing 1024, 5120
  // (976 + 1024) x 3 = 6000 against 5120.
  scene.own(0) = {.prefilling_requests = 1, .decoding_requests = 1, .prefilling_tokens = 976};
  CHECK(scene.pick(policy, a) == 1);
  CHECK(scene.choose(policy, a).reason == Reason::best_score);
  // (682 + 1024) x 3 = 5118.
  scene.own(0).prefilling_tokens = 682;
  CHECK(scene.pick(policy, a) == 0);
  // The same in the other nodes' queues.
  scene.own(0) = {};
  scene.others(0, {.queued_requests = 1, .decoding_requests = 1, .queued_tokens = 683});
  CHECK(scene.pick(policy, a) == 1);
}

TEST_CASE("lmetric: an idle instance with nothing to compute scores 0, whatever batch there is") {
  CacheScene scene(3);
  const auto policy = with<LMetric>();
  const Arrival a = ten_blocks({10, 10, 9});
  scene.decoding({100, 0, 0});  // 0 x 101 = 0 x 1: a tie, broken at random
  auto taken = scene.spread(policy, a);
  CHECK(taken[0] > 350);
  CHECK(taken[1] > 350);
  CHECK(taken[2] == 0);
}

TEST_CASE("lmetric's guard: a class beyond its holders' share leaves them after 2 |M| in a row") {
  CacheScene scene(4);
  auto policy = with<LMetric>();
  const Arrival hot = ten_blocks({10});  // M = {0}, everything cached: scores 0
  // Arrivals 1 : 0, 2 : 0 exceed 1 : 3; the second in a row is confirmed.
  CHECK(scene.take(policy, hot).primary == 0);
  const Choice spilled = scene.choose(policy, hot);
  CHECK(spilled.primary != 0);
  CHECK(spilled.reason == Reason::spilled);
  CHECK(scene.pick(with<LMetric>("guard=0"), hot) == 0);
  // The hit is there too from now on, M = {0, n}: 4 in a row.
  Arrival twice = ten_blocks({0, 0, 0, 0});
  twice.hit_tokens[0] = twice.hit_tokens[spilled.primary] = 10 * kBlock;
  CHECK(scene.take(policy, twice).reason == Reason::best_score);
  CHECK(scene.take(policy, twice).reason == Reason::best_score);
  CHECK(scene.take(policy, twice).reason == Reason::spilled);
  // All hold it: nobody is left out.
  CHECK(scene.choose(policy, ten_blocks({10, 10, 10, 10})).reason == Reason::best_score);
}

TEST_CASE("lmetric's guard forgets after its window, and counts the others' arrivals") {
  CacheScene scene(4);
  auto policy = with<LMetric>();
  const Arrival hot = ten_blocks({10});
  // 12 others before: 1 : 12 is less than 1 : 3, as is 4 : 12; from the fifth on it is more.
  for (std::uint64_t i = 0; i < 12; ++i) scene.take(policy, arrival_of(2, {100 + i}));
  for (int i = 0; i < 5; ++i) CHECK(scene.take(policy, hot).reason == Reason::best_score);
  CHECK(scene.choose(policy, hot).reason == Reason::spilled);  // 6 : 12, the second in a row
  // A minute later all are forgotten: 1 : 0 is an alarm again, though a row goes on only while the
  // class is known.
  scene.now = 60s;
  CHECK(scene.choose(policy, arrival_of(3, {500}, {1})).reason == Reason::best_score);
  CHECK(scene.choose(policy, hot).reason == Reason::spilled);
  scene.take(policy, arrival_of(3, {500}));
  CHECK(scene.choose(policy, hot).reason == Reason::best_score);  // 1 : 1, the first in a row
  CHECK(policy.forgotten() == 0);
}

TEST_CASE("lmetric's guard rests while an instance outside scores better") {
  CacheScene scene(4);
  auto policy = with<LMetric>();
  const Arrival hot = ten_blocks({9});
  scene.own(0) = {.decoding_requests = 20};  // 512 x 21 against 5120
  for (int i = 0; i < 5; ++i) {
    const Choice choice = scene.take(policy, hot);
    CHECK(choice.primary != 0);
    CHECK(choice.reason == Reason::best_score);
  }
}

TEST_CASE("load_cache_score: 0.7 x cached share less 0.3 x pending against the most") {
  CacheScene scene(3);
  const auto policy = with<LoadCacheScore>();
  const Arrival a = ten_blocks({4, 0, 2});
  CHECK(scene.pick(policy, a) == 0);  // nothing pending anywhere
  scene.pending({1000, 400, 500});    // 0.28 - 0.3, 0 - 0.12, 0.14 - 0.15
  CHECK(scene.pick(policy, a) == 2);
  CHECK(scene.choose(policy, a).backup == 0);
  CHECK(scene.choose(policy, a).reason == Reason::best_score);
  // The others' load counts alike: 0.14 - 0.3 x 600 / 1000.
  scene.others(2, {.queued_tokens = 100});
  CHECK(scene.pick(policy, a) == 0);
  CHECK(scene.pick(with<LoadCacheScore>("alpha=0"), a) == 1);
  CHECK(scene.pick(with<LoadCacheScore>("beta=0"), a) == 0);
  // What is masked does not set the scale: 0.28 - 0.3 against 0 - 0.3 x 400 / 1000.
  CHECK(scene.pick(policy, a, {2}) == 0);
}

TEST_CASE("load_cache_score with equal scores draws") {
  CacheScene scene(3);
  auto taken = scene.spread(with<LoadCacheScore>(), ten_blocks({1, 1, 0}));
  CHECK(taken[0] > 350);
  CHECK(taken[1] > 350);
}

TEST_CASE(
    "cache_aware takes a holder of the longest match only when it is more than the threshold") {
  CacheScene scene(4);
  const auto policy = with<CacheAware>();
  scene.decoding({9, 9, 1, 0});
  CHECK(scene.pick(policy, ten_blocks({4, 3})) == 0);
  CHECK(scene.choose(policy, ten_blocks({4, 3})).reason == Reason::longest_hit);
  // 3 of 10 is 0.3, not more.
  CHECK(scene.pick(policy, ten_blocks({3, 3})) == 3);
  CHECK(scene.choose(policy, ten_blocks({3, 3})).reason == Reason::least_load);
  CHECK(scene.pick(with<CacheAware>("threshold=0.29"), ten_blocks({3})) == 0);
  CHECK(scene.pick(with<CacheAware>("threshold=0"), ten_blocks()) == 3);
  // Any of the holders, whatever their load.
  auto taken = scene.spread(policy, ten_blocks({5, 4, 5}));
  CHECK(taken[0] > 350);
  CHECK(taken[2] > 350);
}

TEST_CASE("cache_aware is uneven when both differences are exceeded, strictly") {
  CacheScene scene(2);
  const auto policy = with<CacheAware>();
  const Arrival a = ten_blocks({10, 0});
  const auto taken = [&](std::uint32_t busy, std::uint32_t idle) {
    scene.decoding({busy, idle});
    return scene.pick(policy, a);
  };
  CHECK(taken(64, 0) == 0);     // 64 apart: not more
  CHECK(taken(65, 0) == 1);     // both
  CHECK(taken(300, 200) == 0);  // 100 apart, 1.5 x: not more
  CHECK(taken(301, 200) == 1);
  CHECK(taken(290, 200) == 0);  // absolute only
  CHECK(taken(40, 10) == 0);    // relative only
  // The other nodes' requests count; all stages do.
  scene.decoding({20, 0});
  scene.others(0, {.queued_requests = 15, .prefilling_requests = 15, .decoding_requests = 15});
  CHECK(scene.pick(policy, a) == 1);
}

TEST_CASE("cache_aware's least loaded: by requests, then by what was ever sent, then by name") {
  CacheScene scene(4);
  const auto policy = with<CacheAware>();
  const Arrival a = ten_blocks();
  for (int i = 0; i < 20; ++i) CHECK(scene.pick(policy, a) == 0);
  scene.fleet.at(0).dispatches = 1;
  CHECK(scene.pick(policy, a) == 1);
  scene.decoding({0, 1, 1, 1});
  CHECK(scene.pick(policy, a) == 0);
  CHECK(scene.choose(policy, a).backup == 1);
}

TEST_CASE("aibrix_prefix_cache: the longest match that is no outlier, then the fewest requests") {
  CacheScene scene(4);
  const auto policy = with<AibrixPrefixCache>();
  scene.decoding({6, 5, 5, 4});
  CHECK(scene.pick(policy, ten_blocks({3, 2, 2, 0})) == 0);
  CHECK(scene.choose(policy, ten_blocks({3, 2, 2, 0})).reason == Reason::longest_hit);
  CHECK(scene.pick(policy, ten_blocks({3, 3, 2, 0})) == 1);
  CHECK(scene.pick(policy, ten_blocks()) == 3);
  CHECK(scene.choose(policy, ten_blocks()).reason == Reason::least_load);
  auto taken = scene.spread(policy, ten_blocks({2, 3, 3, 0}));
  CHECK(taken[1] > 350);
  CHECK(taken[2] > 350);
}

TEST_CASE("aibrix_prefix_cache: more than two deviations above the mean is too much") {
  // 15 and five times 0: mean 2.5, squares 37.5, deviation sqrt(31.25) = 5.59; at most 13.68.
  CacheScene scene(6);
  const auto policy = with<AibrixPrefixCache>();
  const Arrival a = ten_blocks({9, 0, 1});
  scene.decoding({15, 0, 0, 0, 0, 0});
  CHECK(scene.pick(policy, a) == 2);
  CHECK(scene.pick(policy, ten_blocks({9})) != 0);
  CHECK(scene.choose(policy, ten_blocks({9})).reason == Reason::least_load);
  // 2.5 + 2.3 x 5.59 = 15.36.
  CHECK(scene.pick(with<AibrixPrefixCache>("sigmas=2.3"), a) == 0);
  // 15 and 10: mean 12.5, deviation 2.5, at most 17.5.
  scene.decoding({15, 10, 10, 10, 15, 15});
  CHECK(scene.pick(policy, a) == 0);
}

TEST_CASE("aibrix_prefix_cache: more than 16 apart, only requests count") {
  CacheScene scene(3);
  const auto policy = with<AibrixPrefixCache>("sigmas=100");
  const Arrival a = ten_blocks({9, 0, 0});
  scene.decoding({18, 2, 3});
  CHECK(scene.pick(policy, a) == 0);
  scene.others(0, {.queued_requests = 1});
  CHECK(scene.pick(policy, a) == 1);
  CHECK(scene.choose(policy, a).reason == Reason::least_load);
}

TEST_CASE("precise_prefix: 3 x prefix + 2 x queue + 2 x free memory") {
  SchedulerSettings settings;
  settings.instance_cache_tokens = 10'000;
  CacheScene scene(3, settings);
  const auto policy = with<PrecisePrefix>();
  const Arrival a = ten_blocks({6, 2, 0});
  // 1.8, 0.6, 0 + 4 each.
  CHECK(scene.pick(policy, a) == 0);
  CHECK(scene.choose(policy, a).reason == Reason::best_score);
  // Waiting behind the one in prefill: 4, 1, 0. Queue: 0, 1.5, 2. In all 3.8, 4.1, 4.
  scene.own(0) = {.queued_requests = 1, .prefilling_requests = 4};
  scene.own(1) = {.prefilling_requests = 2};
  scene.own(2) = {.prefilling_requests = 1};
  CHECK(scene.pick(policy, a) == 1);
  CHECK(scene.choose(policy, a).backup == 2);
  // A twentieth of slot 1's memory and more: 4.1 - 2 x 0.06 against 4.
  scene.own(1).decoding_tokens = 400;
  scene.own(1).prefilling_tokens = 150;
  scene.others(1, {.decoding_tokens = 50});
  CHECK(scene.pick(policy, a) == 2);
  // Each term by itself: prefix and queue, prefix, queue.
  scene.own(1).decoding_tokens = 1'000'000;
  CHECK(scene.pick(with<PrecisePrefix>("kv=0"), a) == 1);
  CHECK(scene.pick(with<PrecisePrefix>("queue=0,kv=0"), a) == 0);
  CHECK(scene.pick(with<PrecisePrefix>("prefix=0,kv=0"), a) == 2);
}

TEST_CASE("precise_prefix: a prompt shorter than a block has no prefix, equal scores are drawn") {
  CacheScene scene(3);
  const auto policy = with<PrecisePrefix>();
  Arrival brief = arrival_of(1, {});
  brief.input_tokens = 100;
  scene.own(0).decoding_tokens = 1;
  auto taken = scene.spread(policy, brief);
  CHECK(taken[1] > 350);
  CHECK(taken[2] > 350);
}

TEST_CASE("dynamo_cost: prefill blocks to compute plus blocks in use") {
  CacheScene scene(2);
  const auto policy = with<DynamoCost>();
  const Arrival a = ten_blocks({6, 0});
  // Slot 0: 4 + 10 + what is in use; slot 1: 10 + 10.
  scene.own(0).decoding_tokens = 5 * 512;
  CHECK(scene.pick(policy, a) == 0);
  CHECK(scene.choose(policy, a).reason == Reason::best_score);
  scene.others(0, {.decoding_tokens = 2 * 512});
  CHECK(scene.pick(policy, a) == 1);
  // Pending prefill counts twice: as work and as blocks. 4 + 2 + 10 + 2 against 20; 4 + 4 + 10 + 4.
  scene.others(0, {});
  scene.own(0) = {.queued_tokens = 512, .prefilling_tokens = 512};
  CHECK(scene.pick(policy, a) == 0);
  scene.own(0).queued_tokens = 3 * 512;
  CHECK(scene.pick(policy, a) == 1);
  // 0.5 x 8 + 14 = 18 against 0.5 x 10 + 10 = 15; 3 x 8 + 14 = 38 against 40.
  CHECK(scene.pick(with<DynamoCost>("prefill_scale=0.5"), a) == 1);
  CHECK(scene.pick(with<DynamoCost>("prefill_scale=3"), a) == 0);
}

TEST_CASE("dynamo_cost: credit for a cached block, its decay, and the price of a request") {
  CacheScene scene(2);
  const Arrival a = ten_blocks({6, 0});
  scene.own(0).decoding_tokens = 4 * 512;                             // 18 against 20
  CHECK(scene.pick(with<DynamoCost>("overlap_credit=0.5"), a) == 1);  // 21
  CHECK(scene.pick(with<DynamoCost>("overlap_credit=0"), a) == 1);
  // Half a prompt of prefill more than the least: pending 5 blocks, so 14 + 5 + 5 = 24 with full
  // credit against 20 + 6 in use at slot 1. With a decay of 2 the 6 blocks are worth 3.
  scene.own(0) = {.prefilling_tokens = 5 * 512};
  scene.own(1).decoding_tokens = 6 * 512;
  CHECK(scene.pick(with<DynamoCost>(), a) == 0);
  CHECK(scene.pick(with<DynamoCost>("credit_decay=2"), a) == 1);
  // 24 + 3 x 1 against 26.
  scene.own(0).prefilling_requests = 1;
  CHECK(scene.pick(with<DynamoCost>("request_weight=1"), a) == 0);
  CHECK(scene.pick(with<DynamoCost>("request_weight=3"), a) == 1);
}

TEST_CASE("dynamo_cost as a product: everything cached and nothing pending costs nothing") {
  CacheScene scene(2);
  scene.own(0).decoding_tokens = 100 * 512;
  CHECK(scene.pick(with<DynamoCost>("lmetric=1"), ten_blocks({10, 9})) == 0);  // 0 x 111, 1 x 11
  CHECK(scene.pick(with<DynamoCost>("lmetric=1"), ten_blocks({9, 4})) == 1);   // 1 x 111, 6 x 11
  CHECK(scene.pick(with<DynamoCost>(), ten_blocks({10, 9})) == 1);             // 110, 1 + 10
}

TEST_CASE("dynamo_cost with a temperature draws by exp(-normalised cost / T)") {
  CacheScene scene(3);
  const Arrival a = ten_blocks({10, 0, 5});  // costs 10, 20, 15: normalised 0, 1, 0.5
  auto taken = scene.spread(with<DynamoCost>("temperature=1"), a);
  // Weights 1, 0.3679, 0.6065 of 1.9744: of 900 draws 455.8, 167.7, 276.5; five deviations of each
  // are 75, 59 and 70.
  CHECK(std::abs(taken[0] - 455.8) < 75);
  CHECK(std::abs(taken[1] - 167.7) < 59);
  CHECK(std::abs(taken[2] - 276.5) < 70);
  auto even = scene.spread(with<DynamoCost>("temperature=1"), ten_blocks({3, 3, 3}));
  for (Slot slot = 0; slot < 3; ++slot) CHECK(even[slot] > 230);
}
