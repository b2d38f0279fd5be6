// The published bounds on the difference in service of two clients that both wait, over random
// histories of a whole scheduler. Service and backlog are counted here, from its effects alone.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <random>

#include "tests/policies/scheduler_scene.h"

using namespace dualmesh::policies;

namespace {

constexpr double kOutputCost = 2;
constexpr std::uint64_t kMany = 1, kFew = 2, kSometimes = 3;  // clients

struct Setting {
  std::string policy;
  std::string queue;
  std::size_t instances = 1;
  bool whole_prompt = false;  // charged, cached or not
  double quantum = 0;
  double weight = 1;  // of kMany
};

SchedulerSettings scheduler_settings(const Setting& setting) {
  SchedulerSettings settings;
  settings.policy = setting.policy;
  settings.queue = setting.queue;
  settings.prefill_limit = 2;
  const std::vector<std::string> weights{"#0000000000000001=" + std::to_string(setting.weight)};
  REQUIRE(settings.client_weights.read(weights).empty());
  return settings;
}

class History {
 public:
  History(const Setting& setting, std::uint64_t seed)
      : setting_(setting),
        scene_(setting.instances, scheduler_settings(setting)),
        random_(seed),
        apart_(setting.instances) {
    scene_.builder.view.settings = {setting.policy, setting.queue, 5.0,
                                    scheduler_settings(setting).client_weights};
    scene_.show();
  }

  void run(int steps) {
    for (int i = 0; i < steps; ++i) {
      scene_.now += std::chrono::milliseconds(1);
      // One client keeps ten times as much waiting as the other.
      while (waiting(kMany) < 60) submit(kMany, 30);
      while (waiting(kFew) < 6) submit(kFew, 8);
      if (below(20) == 0) submit(kSometimes, 12);
      const std::uint32_t what = below(10);
      const Stage stage = what < 5 ? Stage::prefills : what < 9 ? Stage::decodes : Stage::waits;
      if (const auto one = draw(stage)) advance(*one);
    }
  }

  // The largest difference in service by weight over any interval in which both waited for the
  // instance throughout, over all of them.
  double largest_difference() const {
    double largest = 0;
    for (const Apart& apart : apart_) largest = std::max(largest, apart.largest);
    return largest;
  }
  // 2 (U + Q), with U by weight, of what this history really held.
  double bound() const {
    const double most = longest_prompt_ + kOutputCost * most_output_under_way_;
    return most + most / setting_.weight + 2 * setting_.quantum;
  }
  std::uint64_t dispatched() const { return dispatched_; }

 private:
  enum class Stage { waits, prefills, decodes };
  struct Live {
    std::uint64_t client;
    Stage stage;
    Slot slot;
    std::uint32_t charged;  // of the prompt, by slot
    std::uint32_t output;
    std::vector<std::uint32_t> hits;
    std::uint32_t input;
  };
  struct Apart {  // at one instance
    std::map<std::uint64_t, int> waiting;
    std::map<std::uint64_t, double> output_under_way;
    double difference = 0, least = 0, most = 0;
    double largest = 0;
  };

  std::uint32_t below(std::uint32_t n) {
    return std::uniform_int_distribution<std::uint32_t>(0, n - 1)(random_);
  }
  int waiting(std::uint64_t client) {
    int sum = 0;
    for (Apart& apart : apart_) sum += apart.waiting[client];
    return sum;
  }
  std::optional<RequestId> draw(Stage stage) {
    std::vector<RequestId> all;
    for (const auto& [id, live] : live_) {
      if (live.stage == stage) all.push_back(id);
    }
    if (all.empty()) return std::nullopt;
    return all[below(static_cast<std::uint32_t>(all.size()))];
  }

  void submit(std::uint64_t client, std::uint32_t most_blocks) {
    const std::uint32_t blocks = 1 + below(most_blocks);
    std::vector<std::uint32_t> hits;
    for (std::size_t i = 0; i < setting_.instances; ++i) hits.push_back(below(blocks + 1));
    Arrival arrival = arrival_of(++last_id_, std::vector<std::uint64_t>(blocks, 7), hits);
    arrival.client = client;
    live_[last_id_] = {client, Stage::waits, kNoSlot, 0, below(300), hits, arrival.input_tokens};
    scene_.submit(std::move(arrival));
    hear();
  }
  void advance(RequestId id) {
    Live& live = live_.at(id);
    if (live.stage == Stage::prefills) {
      live.stage = Stage::decodes;
      scene_.first_token(id);
    } else if (live.stage == Stage::decodes) {
      apart_[live.slot].output_under_way[live.client] -= live.output;
      serve(live, kOutputCost * live.output);
      scene_.effects.clear();
      scene_.scheduler.finished(id, {0, 0, live.output}, scene_.now, scene_.effects);
      live_.erase(id);
    } else {
      --apart_[live.slot].waiting[live.client];
      live_.erase(id);
      scene_.effects.clear();
      scene_.scheduler.cancelled(id, scene_.now, scene_.effects);
      begin_again();
    }
    hear();
  }
  void hear() {
    for (const Effects::Placed& placed : scene_.effects.placed) {
      Live& live = live_.at(placed.id);
      live.slot = placed.slot;
      ++apart_[placed.slot].waiting[live.client];
    }
    begin_again();
    for (const Effects::Dispatch& dispatch : scene_.effects.dispatched) {
      ++dispatched_;
      Live& live = live_.at(dispatch.id);
      REQUIRE(live.slot == dispatch.slot);
      live.stage = Stage::prefills;
      Apart& apart = apart_[live.slot];
      --apart.waiting[live.client];
      double& under_way = apart.output_under_way[live.client];
      under_way += live.output;
      most_output_under_way_ = std::max(most_output_under_way_, under_way);
      const std::uint32_t cached = setting_.whole_prompt ? 0 : live.hits[live.slot] * 512;
      longest_prompt_ = std::max(longest_prompt_, static_cast<double>(live.input - cached));
      serve(live, live.input - cached);
    }
    begin_again();
  }
  void serve(const Live& live, double cost) {
    Apart& apart = apart_[live.slot];
    if (live.client == kMany) apart.difference += cost / setting_.weight;
    if (live.client == kFew) apart.difference -= cost;
    apart.least = std::min(apart.least, apart.difference);
    apart.most = std::max(apart.most, apart.difference);
    apart.largest = std::max(apart.largest, apart.most - apart.least);
  }
  // An interval ends where one of the two does not wait.
  void begin_again() {
    for (Apart& apart : apart_) {
      if (apart.waiting[kMany] > 0 && apart.waiting[kFew] > 0) continue;
      apart.least = apart.most = apart.difference;
    }
  }

  Setting setting_;
  Scene scene_;
  std::mt19937_64 random_;
  std::vector<Apart> apart_;
  std::map<RequestId, Live> live_;
  RequestId last_id_ = 0;
  double longest_prompt_ = 0;
  double most_output_under_way_ = 0;
  std::uint64_t dispatched_ = 0;
};

void check_bound(const Setting& setting) {
  CAPTURE(setting.policy);
  CAPTURE(setting.queue);
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    History history(setting, seed);
    history.run(3'000);
    CHECK(history.dispatched() > 1'000);
    CHECK(history.largest_difference() <= history.bound());
  }
}

}  // namespace

TEST_CASE("vtc: service differs by at most twice the most that is charged at once") {
  check_bound({"join_shortest_queue", "vtc", 1, true, 0, 1});
  check_bound({"join_shortest_queue", "vtc", 1, true, 0, 3});
}

TEST_CASE("dlpm: service differs by at most 2 (U + Q)") {
  for (const double quantum : {1'000.0, 8'192.0, 50'000.0}) {
    const std::string order = "dlpm:quantum=" + std::to_string(quantum);
    check_bound({"join_shortest_queue", order, 1, false, quantum, 1});
    check_bound({"join_shortest_queue", order, 1, false, quantum, 3});
  }
}

TEST_CASE("d2lpm: at each of its instances service differs by at most 2 (U + Q)") {
  for (const double quantum : {1'000.0, 8'192.0}) {
    const std::string order = "dlpm:per_instance=1,quantum=" + std::to_string(quantum);
    check_bound({"d2lpm", order, 3, false, quantum, 1});
    check_bound({"d2lpm", order, 3, false, quantum, 0.5});
  }
}

TEST_CASE("orders that know no clients break that bound, so it can fail") {
  for (const char* order : {"fifo", "longest_hit"}) {
    CAPTURE(order);
    History history({"join_shortest_queue", order, 1, false, 8'192, 1}, 1);
    history.run(3'000);
    CHECK(history.largest_difference() > 3 * history.bound());
  }
}

TEST_CASE("an order named with the policy is taken up by those who wait") {
  Scene scene(1);
  scene.builder.view.settings.policy = "join_shortest_queue@fifo";
  scene.show();
  for (RequestId id = 1; id <= 40; ++id) {
    Arrival arrival = arrival_of(id, {1});
    arrival.client = id <= 20 ? 1 : 2;
    scene.submit(std::move(arrival));
  }
  RequestId prefilling = 1;
  const auto second_client_in = [&](int requests) {
    int served = 0;
    for (int i = 0; i < requests; ++i) {
      scene.first_token(prefilling);
      REQUIRE(scene.effects.dispatched.size() == 1);
      prefilling = scene.effects.dispatched[0].id;
      served += prefilling > 20 ? 1 : 0;
    }
    return served;
  };
  CHECK(second_client_in(5) == 0);
  scene.builder.view.settings.policy = "join_shortest_queue@vtc";
  scene.show();
  CHECK(second_client_in(20) == 10);
  scene.builder.view.settings.policy = "join_shortest_queue@newer";
  scene.show();
  CHECK(second_client_in(4) == 2);  // what this node does not know leaves it as it is
}

TEST_CASE("weights change while running: the next service follows them") {
  Scene scene(1, {.policy = "join_shortest_queue", .queue = "vtc"});
  scene.builder.view.settings.policy = "join_shortest_queue";
  scene.builder.view.settings.queue = "vtc";
  scene.show();
  for (RequestId id = 1; id <= 200; ++id) {
    Arrival arrival = arrival_of(id, {1});
    arrival.client = id % 2 + 1;
    scene.submit(std::move(arrival));
  }
  RequestId prefilling = 1;
  const auto served = [&](std::uint64_t client, int requests) {
    int of_client = 0;
    for (int i = 0; i < requests; ++i) {
      scene.first_token(prefilling);
      REQUIRE(scene.effects.dispatched.size() == 1);
      prefilling = scene.effects.dispatched[0].id;
      of_client += prefilling % 2 + 1 == client ? 1 : 0;
    }
    return of_client;
  };
  CHECK(served(1, 40) == 20);
  REQUIRE(scene.builder.view.settings.client_weights.read_text("#0000000000000001=3").empty());
  scene.show();
  CHECK(served(1, 40) == 30);
}

TEST_CASE("a queue that an order finds when it comes is told to it") {
  Scene scene(1, {.policy = "join_shortest_queue", .queue = "fifo"});
  RoutingSettings& settings = scene.builder.view.settings;
  settings.policy = "join_shortest_queue";
  for (const char* order : {"fifo", "vtc", "dlpm", "longest_hit", "dlpm:per_instance=1"}) {
    settings.queue = order;
    scene.show();
    const RequestId first = scene.scheduler.totals().submitted + 1;
    for (RequestId id = first; id < first + 10; ++id) {
      Arrival arrival = arrival_of(id, {1});
      arrival.client = id % 3;
      scene.submit(std::move(arrival));
    }
  }
  // Each leaves whoever counts it, one way or the other.
  for (RequestId id = 50; id > 25; --id) {
    scene.effects.clear();
    scene.scheduler.cancelled(id, scene.now, scene.effects);
  }
  settings.queue = "vtc";
  scene.show();
  for (RequestId id = 1; id <= 25; ++id) scene.finish(id);
  CHECK(scene.scheduler.live_requests() == 0);
}
