// The order by the SLO, on queues made by hand; the number in time beside a twin that tries all.
#include "policies/order/slo.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <deque>
#include <random>

#include "policies/ledger.h"
#include "tests/policies/cache_scene.h"

using namespace dualmesh::policies;
using namespace std::chrono_literals;

namespace {

// One token is one millisecond; SLO 10 s. It is 100 s. No margin but where one is asked for.
struct SloScene {
  explicit SloScene(std::string_view parameters = "margin_s=0")
      : order(with<Slo>(parameters)), builder(1), fleet(settings()) {
    builder.view.settings.slo_ttft_s = 10;
    show();
  }
  static SchedulerSettings settings() {
    SchedulerSettings s;
    s.prefill_s_per_token = 0.001;
    return s;
  }
  void show() { fleet.set_view(builder.build()); }

  // Waits here and is due at `due` by the clock; its id.
  RequestId ours(Time due, std::uint32_t tokens) {
    LiveRequest& request = requests.emplace_back();
    request.arrival.id = requests.size();
    request.queue_key = {order.rank(request.arrival, 0), due - 10s, request.arrival.id};
    queue.push({request.queue_key, tokens, &request});
    return request.arrival.id;
  }
  // Waits at another node.
  void theirs(Time due, std::uint32_t tokens) {
    builder[0].others_waiting.push_back({due, tokens});
    std::sort(builder[0].others_waiting.begin(), builder[0].others_waiting.end(),
              [](const Waiting& a, const Waiting& b) { return a.due < b.due; });
    show();
  }
  OrderContext context() const { return {fleet, 0, now, begin}; }
  QueueOrder::Next next() const { return order.next(queue, context()); }
  RequestId next_id() const { return queue[next().place].key.id; }
  RequestId go() {
    const QueueKey key = queue[next().place].key;
    queue.remove(key);
    return key.id;
  }
  std::vector<WaitingReport> told() const {
    WaitingReports reports;
    order.tell(queue, context(), reports);
    return {reports.begin(), reports.end()};
  }

  Slo order;
  FleetBuilder builder;
  Fleet fleet;
  std::deque<LiveRequest> requests;
  RequestQueue queue;
  Time now = 100s;
  Time begin = 100s;
};

struct Job {
  std::int64_t due_ms;  // from now
  std::uint32_t tokens;
};

// As many as can be served in time, by trying all subsets, each by due time.
int most_in_time(std::vector<Job> jobs) {
  std::sort(jobs.begin(), jobs.end(),
            [](const Job& a, const Job& b) { return a.due_ms < b.due_ms; });
  int most = 0;
  for (unsigned subset = 0; subset < (1U << jobs.size()); ++subset) {
    std::int64_t busy_ms = 0;
    int count = 0;
    bool good = true;
    for (std::size_t i = 0; i < jobs.size() && good; ++i) {
      if ((subset >> i & 1U) == 0) continue;
      busy_ms += jobs[i].tokens;
      ++count;
      good = busy_ms <= jobs[i].due_ms;
    }
    if (good) most = std::max(most, count);
  }
  return most;
}

std::vector<Job> random_jobs(std::mt19937& random) {
  std::vector<Job> jobs(1 + random() % 9);
  for (Job& job : jobs) {
    job = {static_cast<std::int64_t>(random() % 10'000) - 1'000,
           1 + static_cast<std::uint32_t>(random() % 3'000)};
  }
  return jobs;
}

}  // namespace

TEST_CASE("slo: carried out, it serves as many in time as any order could") {
  std::mt19937 random(1);
  int late = 0;
  for (int round = 0; round < 2'000; ++round) {
    CAPTURE(round);
    const std::vector<Job> jobs = random_jobs(random);
    SloScene scene("margin_s=0,wait_bound_s=3600");
    for (const Job& job : jobs) scene.ours(100s + job.due_ms * 1ms, job.tokens);
    int in_time = 0;
    Time last_due{};
    bool all_in_time_so_far = true;
    while (!scene.queue.empty()) {
      const QueueOrder::Next next = scene.next();
      REQUIRE(next.first);  // nobody else waits
      const RequestQueue::Entry entry = scene.queue[next.place];
      scene.queue.remove(entry.key);
      scene.now = scene.begin += entry.tokens * 1ms;
      const Time due = entry.key.arrived + 10s;
      if (scene.now <= due) {
        ++in_time;
        CHECK(all_in_time_so_far);  // those given up come after all others
        CHECK(due >= last_due);
      } else {
        if (all_in_time_so_far) last_due = {};
        all_in_time_so_far = false;
        ++late;
        CHECK(due >= last_due);  // oldest first
      }
      last_due = due;
    }
    CHECK(in_time == most_in_time(jobs));
  }
  CHECK(late > 1'000);
}

TEST_CASE("slo: those in time by due time, whatever their length; those given up by arrival") {
  SloScene scene;
  const RequestId third = scene.ours(106s, 500);
  const RequestId long_one = scene.ours(105s, 4'800);  // with it only two of four would be in time
  const RequestId first = scene.ours(101s, 900);
  const RequestId second = scene.ours(104s, 2'000);
  const RequestId lost = scene.ours(99s, 10);
  CHECK(scene.go() == first);
  scene.begin += 900ms;
  CHECK(scene.go() == second);
  scene.begin += 2s;
  CHECK(scene.go() == third);
  scene.begin += 500ms;
  CHECK(scene.go() == lost);
  CHECK(scene.go() == long_one);
}

TEST_CASE("slo: slack counts from when a prefill could begin, and the margin is kept free") {
  SloScene scene;
  const RequestId a = scene.ours(102s, 2'000);
  const RequestId b = scene.ours(103s, 500);
  CHECK(scene.next_id() == a);  // exactly in time
  scene.begin += 1ms;
  CHECK(scene.next_id() == b);
  SloScene careful("margin_s=0.5");
  const RequestId c = careful.ours(102s, 1'501);
  const RequestId d = careful.ours(103s, 500);
  CHECK(careful.next_id() == d);
  careful.begin -= 2ms;
  CHECK(careful.next_id() == c);
  // Of all that is done by then together, too.
  SloScene both("margin_s=0.5");
  both.ours(102s, 1'000);
  const RequestId shorter = both.ours(102s + 100ms, 601);  // 1.6 s are kept
  CHECK(both.next_id() == shorter);
  both.begin -= 2ms;
  CHECK(both.next_id() != shorter);
}

TEST_CASE("slo: a late one goes first exactly when else its bound would be missed") {
  // Bound 54 s after arrival, so 44 s beyond its due time.
  SloScene scene;
  const RequestId late = scene.ours(60s, 1'000);  // must begin by 103 s
  const RequestId punctual = scene.ours(109s, 2'000);
  scene.now = scene.begin = 101s;
  CHECK(scene.next_id() == punctual);  // done at 103 s: just so
  scene.begin += 1ms;
  CHECK(scene.next_id() == late);
  CHECK(scene.next().first);
  // Past its bound already, it still goes first.
  scene.begin = 106s;
  CHECK(scene.next_id() == late);
}

TEST_CASE("slo: a late one goes first when else one behind it would miss its bound") {
  SloScene scene;
  const RequestId head = scene.ours(61s, 1'500);  // alone: by 103.5 s
  scene.ours(62s, 3'500);                         // by 102.5 s, so the head by 101 s
  const RequestId punctual = scene.ours(109s, 1'000);
  CHECK(scene.next_id() == punctual);
  scene.begin += 1ms;
  CHECK(scene.next_id() == head);
  SloScene alone;
  alone.ours(61s, 1'500);
  const RequestId other = alone.ours(109s, 1'000);
  alone.begin = 102s + 500ms;
  CHECK(alone.next_id() == other);
}

TEST_CASE("slo: what others have waiting is ranked with the own queue") {
  SloScene scene;
  const RequestId ours = scene.ours(105s, 1'000);
  CHECK(scene.next().first);
  SUBCASE("due later: ours is first") {
    scene.theirs(106s, 1'000);
    CHECK(scene.next().first);
  }
  SUBCASE("due before: not ours, but still the one we would send") {
    scene.theirs(104s, 1'000);
    CHECK(!scene.next().first);
  }
  SUBCASE("due before, but given up: ours is first") {
    scene.theirs(104s, 4'001);
    CHECK(scene.next().first);
  }
  SUBCASE("theirs is kept, ours given up for its length: not ours") {
    const RequestId longer = scene.ours(104s + 500ms, 4'000);
    scene.theirs(104s + 800ms, 800);
    // 4.0 + 0.8 + 1.0 s do not fit in 5 s: the longest goes, then theirs is due first.
    CHECK(!scene.next().first);
    CHECK(scene.next_id() != longer);
  }
  SUBCASE("all given up: the oldest, wherever it waits") {
    scene.begin = 120s;
    CHECK(scene.next().first);
    scene.theirs(103s, 10);
    CHECK(!scene.next().first);
  }
  SUBCASE("ours is late, theirs is in time: not ours, until the bound asks for it") {
    scene.begin = 120s;
    scene.theirs(129s, 1'000);
    CHECK(!scene.next().first);
    // It must begin by 148 s.
    scene.begin = 147s;
    scene.builder[0].others_waiting = {{160s, 1'000}};
    scene.show();
    CHECK(!scene.next().first);
    scene.begin += 1ms;
    CHECK(scene.next().first);
  }
  CHECK(scene.next_id() == ours);
}

TEST_CASE("slo: a late request of another node goes before our punctual ones when its bound asks") {
  SloScene scene;
  const RequestId ours = scene.ours(160s, 1'000);
  scene.theirs(105s, 1'000);  // must begin by 148 s
  scene.begin = 147s;
  CHECK(scene.next().first);
  scene.begin += 1ms;
  CHECK(!scene.next().first);
  CHECK(scene.next_id() == ours);
  // A late one of ours is what we would send then, though an older one goes first.
  const RequestId late = scene.ours(106s, 900);
  CHECK(!scene.next().first);
  CHECK(scene.next_id() == late);
}

TEST_CASE("slo: two nodes that know the same agree on who is first") {
  std::mt19937 random(2);
  for (int round = 0; round < 2'000; ++round) {
    CAPTURE(round);
    SloScene a("margin_s=0,wait_bound_s=20"), b("margin_s=0,wait_bound_s=20");
    std::vector<Job> jobs = random_jobs(random);
    if (jobs.size() < 2) continue;
    // Some have waited so long that the bound speaks; no two are due at once.
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      if (random() % 3 == 0) jobs[i].due_ms -= 10'000;
      jobs[i].due_ms = jobs[i].due_ms * 10 + static_cast<std::int64_t>(i);
    }
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      SloScene& holder = i % 2 == 0 ? a : b;
      SloScene& listener = i % 2 == 0 ? b : a;
      holder.ours(100s + jobs[i].due_ms * 1ms, jobs[i].tokens);
      listener.theirs(100s + jobs[i].due_ms * 1ms, jobs[i].tokens);
    }
    CHECK(a.next().first != b.next().first);
  }
}

TEST_CASE("slo: told are slacks from now, the late before those in time, each by due time") {
  SloScene scene;
  scene.begin = 101s;
  scene.ours(106s, 500);
  scene.ours(104s, 700);
  scene.ours(98s, 300);
  CHECK(scene.told() == std::vector<WaitingReport>{{-2'000, 300}, {4'000, 700}, {6'000, 500}});
  scene.now += 400ms;
  CHECK(scene.told()[0].slack_ms == -2'400);
  scene.theirs(103s, 1);  // told by its own node
  CHECK(scene.told().size() == 3);
}

TEST_CASE("slo: one given up for its length stands among the late by due time") {
  SloScene scene;
  scene.ours(104s, 3'900);          // given up for the third
  scene.ours(104s + 500ms, 4'600);  // given up at once
  scene.ours(105s, 2'000);
  CHECK(scene.told() == std::vector<WaitingReport>{{4'000, 3'900}, {4'500, 4'600}, {5'000, 2'000}});
}

TEST_CASE("slo: no more than kWaitingTold are told, the oldest two late ones at least") {
  const auto told_of = [](int late, int in_time) {
    SloScene scene;
    for (int i = 0; i < late; ++i) scene.ours(90s + i * 1s, 1);
    for (int i = 0; i < in_time; ++i) scene.ours(105s + i * 100ms, 1);
    std::vector<std::int32_t> slacks;
    for (const WaitingReport& report : scene.told()) slacks.push_back(report.slack_ms);
    return slacks;
  };
  using Slacks = std::vector<std::int32_t>;
  CHECK(told_of(0, 0).empty());
  CHECK(told_of(0, 3) == Slacks{5'000, 5'100, 5'200});
  CHECK(told_of(0, 20) == Slacks{5'000, 5'100, 5'200, 5'300, 5'400, 5'500, 5'600, 5'700});
  CHECK(told_of(1, 20) == Slacks{-10'000, 5'000, 5'100, 5'200, 5'300, 5'400, 5'500, 5'600});
  CHECK(told_of(5, 20) == Slacks{-10'000, -9'000, 5'000, 5'100, 5'200, 5'300, 5'400, 5'500});
  CHECK(told_of(5, 4) == Slacks{-10'000, -9'000, -8'000, -7'000, 5'000, 5'100, 5'200, 5'300});
  CHECK(told_of(10, 0) == Slacks{-10'000, -9'000, -8'000, -7'000, -6'000, -5'000, -4'000, -3'000});
  CHECK(kWaitingTold == 8);
}

TEST_CASE("slo: times beyond what a report can hold are its ends") {
  SloScene scene;
  scene.now = scene.begin = Time(std::chrono::hours(24 * 60));
  scene.ours(1s, 5);
  CHECK(scene.told()[0].slack_ms == -std::numeric_limits<std::int32_t>::max());
}

TEST_CASE("slo: lead as asked for, shared") {
  CHECK(with<Slo>().lead() == 40ms);
  CHECK(with<Slo>("lead_ms=0").lead() == 0ms);
  CHECK(with<Slo>().shared());
}

TEST_CASE(
    "slo: how many tokens go together: one iteration and the next, by what decodes and room") {
  // 1,198,080 tokens of KV memory.
  SloScene scene("");
  const auto batch = [&] { return scene.order.batch_tokens(scene.context()); };
  CHECK(batch() == 0);  // nobody decodes: an iteration costs what is prefilled in it
  InstanceState& there = scene.fleet.at(0);
  there.own.decoding_requests = 10;
  CHECK(batch() == 600);
  scene.builder[0].others.decoding_requests = 90;  // of all nodes
  scene.show();
  CHECK(batch() == 6'000);
  there.own.decoding_requests = 400;
  CHECK(batch() == 16'384);
  // Others' have computed as many as ours, on average: 490 of 1,200.
  there.decoding_uncached_tokens = 400 * 1'200;
  CHECK(scene.fleet.decoding_uncached_tokens(0) == 588'000);
  CHECK(batch() == 599'040 - 588'000);
  there.decoding_uncached_tokens = 400 * 1'300;
  CHECK(batch() == 0);
  // With none of our own to go by, as much as all their contexts.
  there.own.decoding_requests = 0;
  scene.builder[0].others.decoding_tokens = 598'040;
  scene.show();
  CHECK(batch() == 1'000);
}

TEST_CASE("slo: parameters of what goes together") {
  SloScene scene("batch_tokens=5000,batch_per_decoding=100,batch_memory=0.1");
  const auto batch = [&] { return scene.order.batch_tokens(scene.context()); };
  InstanceState& there = scene.fleet.at(0);
  there.own.decoding_requests = 40;
  CHECK(batch() == 4'000);
  there.own.decoding_requests = 60;
  CHECK(batch() == 5'000);
  there.decoding_uncached_tokens = 119'000;
  CHECK(batch() == 808);
  SloScene without("batch_tokens=0");
  without.fleet.at(0).own.decoding_requests = 60;
  CHECK(without.order.batch_tokens(without.context()) == 0);
}
