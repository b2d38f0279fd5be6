// Random histories of a scheduler against a ledger kept by hand: where each request is follows from
// the effects alone, and everything the scheduler says about itself must agree with that.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "policies/scheduler.h"
#include "tests/policies/fleet_builder.h"

using namespace dualmesh::policies;
using namespace std::chrono_literals;

namespace {

enum class At { queued, prefilling, decoding, away };

struct Known {
  Arrival arrival;
  At at = At::queued;
  Slot slot = kNoSlot;
  std::set<Slot> failed_at;
  bool ever_dispatched = false;
  bool ever_handed = false;
};

class History {
 public:
  explicit History(unsigned seed)
      : random_(seed),
        builder_(1 + seed % 6),
        settings_(make_settings(seed)),
        scheduler_(settings_) {
    healthy_.assign(builder_.view.instances.size(), true);
    show();
  }

  void step() {
    now_ += std::chrono::milliseconds(random_() % 300);
    const auto what = random_() % 100;
    if (what < 35) return submit();
    if (what < 60) return with_request(At::prefilling, [&](RequestId id) { first_token(id); });
    if (what < 75) return with_request(At::decoding, [&](RequestId id) { finish(id); });
    if (what < 80) return with_request({}, [&](RequestId id) { cancel(id); });
    if (what < 83) return with_request(At::prefilling, [&](RequestId id) { fail(id, true); });
    if (what < 85) return with_request({}, [&](RequestId id) { fail(id, random_() % 2 == 0); });
    if (what < 87) return with_request(At::away, [&](RequestId id) { hear_of(id); });
    if (what < 91) return change_view();
    if (what < 95) return change_health();
    begin();
    scheduler_.tick(now_, effects_);
    settle();
  }

  void drain() {
    while (!requests_.empty()) {
      // Whatever waits is behind something that runs: nothing is ever stuck.
      const auto running = std::find_if(requests_.begin(), requests_.end(), [](const auto& entry) {
        return entry.second.at != At::queued;
      });
      REQUIRE(running != requests_.end());
      now_ += 10ms;
      const RequestId id = running->first;
      running->second.at == At::prefilling ? first_token(id) : finish(id);
    }
    for (const QueueSnapshot& queue : scheduler_.queues()) CHECK(queue.own == Load{});
    for (const auto& [slot, load] : reported_) CHECK(load == Load{});
    const SchedulerTotals totals = scheduler_.totals();
    CHECK(totals.submitted == totals.finished + totals.failed + totals.cancelled + totals.rejected);
    CHECK(totals.migrations == migrations_);
  }

  std::uint64_t migrations() const { return migrations_; }
  std::uint64_t replaced() const { return replaced_; }
  std::uint64_t waited() const { return waited_; }
  std::uint64_t handed() const { return scheduler_.totals().handed; }
  std::uint64_t rejected() const { return scheduler_.totals().rejected; }

 private:
  static SchedulerSettings make_settings(unsigned seed) {
    SchedulerSettings settings;
    settings.seed = seed + 1;
    settings.prefill_limit = 1 + seed % 2;
    settings.policy = seed % 5 == 4 ? "round_robin" : "dualmap";
    settings.rebalance_examine_limit = seed % 3 == 0 ? 4 : 64;
    settings.prefill_s_per_token = 0.0005;  // overloaded soon
    settings.learn_prefill_cost = seed % 2 == 0;
    return settings;
  }

  void begin() { effects_.clear(); }

  void submit() {
    const RequestId id = ++last_id_;
    Arrival arrival = arrival_of(id, {random_() % 3, random_() % 5, random_() % 50});
    if (random_() % 8 == 0) arrival.model = random_() % 2 == 0 ? "n" : "nobody";
    arrival.input_tokens = 1 + static_cast<std::uint32_t>(random_() % 3000);
    for (std::size_t i = random_() % (builder_.view.instances.size() + 1); i > 0; --i) {
      arrival.hit_tokens.push_back(static_cast<std::uint32_t>(random_() % 6) * 512);
    }
    requests_[id].arrival = arrival;
    begin();
    scheduler_.submit(std::move(arrival), now_, effects_);
    settle();
  }

  template <class Do>
  void with_request(std::optional<At> at, Do&& act) {
    std::vector<RequestId> matching;
    for (const auto& [id, request] : requests_) {
      if (!at || request.at == *at) matching.push_back(id);
    }
    if (!matching.empty()) act(matching[random_() % matching.size()]);
  }

  void first_token(RequestId id) {
    requests_[id].at = At::decoding;
    begin();
    if (random_() % 4 == 0) {
      scheduler_.prefill_presumed(id, now_, effects_);
    } else {
      scheduler_.first_token(id, now_, effects_);
    }
    settle();
  }
  void finish(RequestId id) {
    requests_.erase(id);
    begin();
    scheduler_.finished(id, {100, 50}, now_, effects_);
    settle();
  }
  // What another node does with a request.
  void hear_of(RequestId id) {
    const auto what = random_() % 4;
    if (what == 0) return finish(id);
    if (what == 1) return fail(id, true);
    begin();
    what == 2 ? scheduler_.first_token(id, now_, effects_)
              : scheduler_.prefill_presumed(id, now_, effects_);
    settle();
  }
  void cancel(RequestId id) {
    requests_.erase(id);
    begin();
    scheduler_.cancelled(id, now_, effects_);
    settle();
  }
  void fail(RequestId id, bool retry) {
    Known& request = requests_[id];
    request.failed_at.insert(request.slot);
    request.slot = kNoSlot;
    request.at = At::queued;
    if (!retry) requests_.erase(id);
    begin();
    scheduler_.failed(id, retry, now_, effects_);
    settle();
  }

  void change_view() {
    const auto what = random_() % 12;
    auto& instances = builder_.view.instances;
    if (what < 5) {
      const Lifecycle states[] = {Lifecycle::active, Lifecycle::active, Lifecycle::draining,
                                  Lifecycle::removed};
      instances[random_() % instances.size()].lifecycle = states[random_() % 4];
    } else if (what < 6 && instances.size() < 9) {
      builder_.add(random_() % 4 == 0 ? "n" : "m");
      healthy_.push_back(true);
    } else if (what < 8) {
      const char* policies[] = {"round_robin", "selective_push", "dualmap", "dualmap"};
      builder_.view.settings.policy = policies[random_() % 4];
    } else if (what < 10) {
      builder_.peers.resize(random_() % 3);
      for (PeerView& peer : builder_.peers) {
        peer.reaches.clear();
        for (Slot slot = 0; slot < instances.size(); ++slot) {
          if (random_() % 2 == 0) peer.reaches.push_back(slot);
        }
      }
    } else {
      Load& others = instances[random_() % instances.size()].others;
      others.queued_tokens = random_() % 8000;
      others.prefilling_tokens = random_() % 3000;
      others.decoding_tokens = random_() % 3000;
      others.head_wait_ms = static_cast<std::uint32_t>(random_() % 3500);
    }
    show();
  }

  void show() {
    begin();
    scheduler_.set_view(builder_.build(), now_, effects_);
    settle();
  }

  void change_health() {
    const auto slot = static_cast<Slot>(random_() % builder_.view.instances.size());
    healthy_[slot] = random_() % 3 != 0;
    begin();
    scheduler_.set_health(slot, healthy_[slot], now_, effects_);
    settle();
  }

  bool usable(const Known& request, Slot slot) const {
    std::size_t serving = 0;
    std::size_t dead = 0;
    bool serves = false;
    for (const InstanceView& instance : builder_.view.instances) {
      const auto& models = instance.models;
      if (instance.lifecycle == Lifecycle::removed ||
          std::find(models.begin(), models.end(), request.arrival.model) == models.end()) {
        continue;
      }
      ++serving;
      dead += healthy_[instance.slot] ? 0 : 1;
      serves = serves || instance.slot == slot;
    }
    const bool panic = 2 * dead > serving;
    return serves && builder_.view.instances[slot].lifecycle == Lifecycle::active &&
           (panic || healthy_[slot]) && !request.failed_at.contains(slot);
  }

  std::uint32_t uncached(const Known& request) const {
    const auto& hits = request.arrival.hit_tokens;
    const std::uint32_t hit = request.slot < hits.size() ? hits[request.slot] : 0;
    return request.arrival.input_tokens - std::min(hit, request.arrival.input_tokens);
  }

  // Follows the effects, then compares everything.
  void settle() {
    const bool queues = builder_.view.settings.policy == "dualmap";
    for (const auto& placed : effects_.placed) {
      Known& request = requests_.at(placed.id);
      CHECK(request.at == At::queued);
      CHECK(usable(request, placed.slot));
      const Reason reason = scheduler_.decision(placed.id)->reason;
      if (request.slot != kNoSlot && reason == Reason::rebalanced) {
        CHECK(request.slot != placed.slot);
        ++migrations_;
      }
      if (reason == Reason::replaced) ++replaced_;
      request.slot = placed.slot;
    }
    std::map<Slot, std::size_t> prefilling;
    for (const auto& [id, request] : requests_) {
      if (request.at == At::prefilling) ++prefilling[request.slot];
    }
    for (const auto& dispatch : effects_.dispatched) {
      Known& request = requests_.at(dispatch.id);
      CHECK(request.at == At::queued);
      CHECK(request.slot == dispatch.slot);
      if (queues) CHECK(prefilling[dispatch.slot] < settings_.prefill_limit);
      ++prefilling[dispatch.slot];
      request.at = At::prefilling;
      request.ever_dispatched = true;
    }
    for (const auto& hop : effects_.handed) {
      Known& request = requests_.at(hop.id);
      CHECK(request.at == At::queued);
      CHECK_FALSE(request.ever_handed);
      const std::vector<Slot>& reached = builder_.peers.at(hop.peer).reaches;
      CHECK(std::any_of(reached.begin(), reached.end(), [&](Slot s) { return !healthy_[s]; }));
      request.ever_handed = true;
      request.at = At::away;
      request.slot = kNoSlot;
    }
    for (const auto& rejection : effects_.rejected) {
      const Known& request = requests_.at(rejection.id);
      CHECK(request.at == At::queued);
      for (const InstanceView& instance : builder_.view.instances) {
        CHECK_FALSE(usable(request, instance.slot));
      }
      requests_.erase(rejection.id);
    }
    compare(prefilling);
  }

  void compare(std::map<Slot, std::size_t>& prefilling) {
    CHECK(scheduler_.live_requests() == requests_.size());
    std::vector<Load> expected(builder_.view.instances.size());
    for (auto& [id, request] : requests_) {
      if (request.at == At::away) {
        CHECK(scheduler_.decision(id)->reason == Reason::handed);
        continue;
      }
      if (request.at == At::queued && scheduler_.decision(id)->chosen == kNoSlot) {
        request.slot = kNoSlot;
        continue;
      }
      REQUIRE(request.slot != kNoSlot);
      Load& load = expected[request.slot];
      switch (request.at) {
        case At::queued:
          ++load.queued_requests;
          load.queued_tokens += uncached(request);
          CHECK(usable(request, request.slot));
          // An instance with work waiting is never left without work.
          CHECK(prefilling[request.slot] >= settings_.prefill_limit);
          break;
        case At::prefilling:
          ++load.prefilling_requests;
          load.prefilling_tokens += uncached(request);
          break;
        case At::decoding:
          ++load.decoding_requests;
          load.decoding_tokens += request.arrival.input_tokens;
          break;
        case At::away:
          break;
      }
    }
    check_waiting(expected);
    for (QueueSnapshot& queue : scheduler_.queues()) {
      queue.own.head_wait_ms = 0;
      CHECK(queue.own == expected[queue.slot]);
    }
    // What the mesh hears adds up to the same, if it takes the changes whenever it is told to.
    std::vector<std::pair<Slot, Load>> changes;
    if (effects_.load_changed) scheduler_.take_load_changes(now_, changes);
    for (auto& [slot, load] : changes) {
      load.head_wait_ms = 0;
      CHECK(load.waiting.size() <= std::min<std::size_t>(load.queued_requests, kWaitingTold));
      CHECK((load.prefill_left_ms == 0 || load.prefilling_requests > 0));
      load.waiting.clear();
      load.prefill_left_ms = 0;
      reported_[slot] = load;
    }
    for (std::size_t slot = 0; slot < expected.size(); ++slot) {
      CHECK(reported_[static_cast<Slot>(slot)] == expected[slot]);
    }
  }

  // Nobody waits at the router while an instance that it may use has room.
  void check_waiting(const std::vector<Load>& loads) {
    for (const auto& [id, request] : requests_) {
      if (request.slot != kNoSlot || request.at == At::away) continue;
      ++waited_;
      CHECK(scheduler_.decision(id)->reason == Reason::waits);
      for (std::size_t slot = 0; slot < loads.size(); ++slot) {
        if (!usable(request, static_cast<Slot>(slot))) continue;
        // What others may reach is not for itself to use.
        if (!healthy_[slot] && !builder_.peers.empty()) continue;
        CHECK((loads[slot].queued_requests > 0 || loads[slot].prefilling_requests > 1));
      }
    }
  }

  std::mt19937 random_;
  FleetBuilder builder_;
  SchedulerSettings settings_;
  Scheduler scheduler_;
  std::vector<bool> healthy_;
  Effects effects_;
  Time now_ = 5s;
  RequestId last_id_ = 0;
  std::map<RequestId, Known> requests_;
  std::map<Slot, Load> reported_;
  std::uint64_t migrations_ = 0;
  std::uint64_t replaced_ = 0;
  std::uint64_t waited_ = 0;
};

}  // namespace

TEST_CASE("no history loses a request, miscounts one or breaks a limit") {
  std::uint64_t migrations = 0, replaced = 0, rejected = 0, waited = 0, handed = 0;
  for (unsigned seed = 0; seed < 150; ++seed) {
    CAPTURE(seed);
    History history(seed);
    for (int i = 0; i < 400; ++i) history.step();
    history.drain();
    migrations += history.migrations();
    replaced += history.replaced();
    rejected += history.rejected();
    waited += history.waited();
    handed += history.handed();
  }
  // The histories went where the traps are.
  CHECK(migrations > 100);
  CHECK(replaced > 100);
  CHECK(rejected > 100);
  CHECK(waited > 100);
  CHECK(handed > 100);
}
