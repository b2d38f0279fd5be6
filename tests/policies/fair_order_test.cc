// The orders that share service out, on queues made by hand.
#include <doctest/doctest.h>

#include <deque>

#include "policies/ledger.h"
#include "policies/order/dlpm.h"
#include "policies/order/vtc.h"
#include "tests/policies/cache_scene.h"

using namespace dualmesh::policies;

namespace {

constexpr std::uint64_t kA = 11, kB = 22, kC = 33;

// Requests that wait for two instances, with an order that hears of them as from the scheduler.
template <class Order>
struct WaitingFor {
  explicit WaitingFor(std::string_view parameters = {})
      : order(with<Order>(parameters)), builder(2), fleet(SchedulerSettings{}) {
    fleet.set_view(builder.build());
  }
  OrderContext at(Slot slot) const { return {fleet, slot}; }

  void submit(std::uint64_t client, std::uint32_t input, std::uint32_t hit = 0, Slot slot = 0) {
    LiveRequest& request = requests.emplace_back();
    request.arrival.id = requests.size();
    request.arrival.client = client;
    request.arrival.input_tokens = input;
    request.uncached_tokens = input - hit;
    request.queue_key = {order.rank(request.arrival, hit), Time(requests.size()),
                         request.arrival.id};
    queues[slot].push({request.queue_key, request.uncached_tokens, &request});
    order.queued(request.arrival, at(slot));
  }
  // Dispatches the next one and tells its number, from 1 in the order of submission.
  RequestId go(Slot slot = 0) {
    const std::size_t place = order.next(queues[slot], at(slot)).place;
    LiveRequest& request = *queues[slot][place].request;
    queues[slot].remove(request.queue_key);
    order.left(request.arrival, at(slot));
    order.dispatched(request.arrival, request.uncached_tokens, at(slot));
    return request.arrival.id;
  }
  void end(RequestId id, std::uint32_t output, Slot slot = 0) {
    order.produced(requests[id - 1].arrival, output, at(slot));
  }
  void weigh(const std::string& text) {
    REQUIRE(builder.view.settings.client_weights.read_text(text).empty());
    fleet.set_view(builder.build());
  }

  Order order;
  FleetBuilder builder;
  Fleet fleet;
  std::deque<LiveRequest> requests;
  RequestQueue queues[2];
};

}  // namespace

TEST_CASE("vtc: the client with the least service, its oldest request first") {
  WaitingFor<Vtc> w;
  w.submit(kA, 100);
  w.submit(kA, 100);
  w.submit(kB, 10);
  w.submit(kB, 300, 290);
  CHECK(w.go() == 1);  // both have nothing: the earlier
  CHECK(w.go() == 3);
  CHECK(w.go() == 4);                 // 10 against 100
  CHECK(w.order.counter(kB) == 310);  // the whole prompt, cached or not
  CHECK(w.go() == 2);
  w.end(1, 50);
  CHECK(w.order.counter(kA) == 200 + 2 * 50);
  // Prices are parameters.
  WaitingFor<Vtc> dear("input=3,output=5");
  dear.submit(kA, 100);
  dear.go();
  dear.end(1, 10);
  CHECK(dear.order.counter(kA) == 350);
}

TEST_CASE("vtc: whoever comes to wait has at least the least service of those that wait") {
  WaitingFor<Vtc> w;
  for (int i = 0; i < 3; ++i) w.submit(kA, 100);
  for (int i = 0; i < 3; ++i) w.submit(kB, 70);
  for (int i = 0; i < 4; ++i) w.go();  // A, B, B, A
  CHECK(w.order.counter(kA) == 200);
  CHECK(w.order.counter(kB) == 140);
  w.submit(kC, 1);
  CHECK(w.order.counter(kC) == 140);
  w.submit(kC, 1000);  // it waits already: not lifted anew
  w.end(1, 500);       // A has 1,200
  CHECK(w.go() == 6);  // B, with 140 as C and earlier
  CHECK(w.go() == 7);
  CHECK(w.order.counter(kC) == 141);
  // Nobody waits: the level of the one that waited last.
  w.go();
  w.go();
  CHECK(w.queues[0].empty());
  CHECK(w.order.counter(kC) == 1141);
  CHECK(w.order.counter(kA) == 1300);
  constexpr std::uint64_t kD = 44;
  w.submit(kD, 1);
  CHECK(w.order.counter(kD) == 1300);
  // One that has had more keeps what it has had.
  w.submit(kA, 1);
  CHECK(w.order.counter(kA) == 1300);
  w.submit(kC, 1);
  CHECK(w.order.counter(kC) == 1300);
}

TEST_CASE("vtc: a counter is the client's at all instances, and a move to another is no return") {
  WaitingFor<Vtc> w;
  w.submit(kA, 100, 0, 0);
  w.submit(kB, 500, 0, 1);
  w.submit(kB, 1, 0, 0);
  w.go(1);
  w.submit(kA, 1, 0, 0);
  CHECK(w.go(0) == 1);  // B has had 500 at the other instance
  // The only one that waits of A, moved: A is not lifted to B's 500.
  const Arrival& moved = w.requests[3].arrival;
  w.order.queued(moved, w.at(1));
  w.order.left(moved, w.at(0));
  CHECK(w.order.counter(kA) == 100);
}

TEST_CASE("vtc: service is counted by weight, from the moment the weight changes") {
  WaitingFor<Vtc> w;
  w.weigh("#000000000000000b=2");
  for (int i = 0; i < 30; ++i) w.submit(kA, 100);
  for (int i = 0; i < 30; ++i) w.submit(kB, 100);
  int of_a = 0;
  for (int i = 0; i < 18; ++i) of_a += w.go() <= 30 ? 1 : 0;
  CHECK(of_a == 12);
  w.weigh("");
  for (int i = 0; i < 18; ++i) of_a += w.go() <= 30 ? 1 : 0;
  CHECK(of_a == 12 + 9);
}

TEST_CASE("dlpm: longest hit first among those with credit; the debt is carried") {
  WaitingFor<Dlpm> w("quantum=1000");
  w.submit(kA, 2000, 500);   // 1
  w.submit(kB, 2000, 1000);  // 2
  w.submit(kA, 2000, 1500);  // 3
  w.submit(kA, 2000, 1400);  // 4
  // Nobody has credit: a round for both. Then the longest hit, charged with what is not cached.
  CHECK(w.go() == 3);
  CHECK(w.order.refills(0) == 1);
  CHECK(w.order.credit(kA, w.at(0)) == 500);
  CHECK(w.order.credit(kB, w.at(0)) == 1000);
  CHECK(w.go() == 4);  // any credit is enough
  CHECK(w.order.credit(kA, w.at(0)) == -100);
  CHECK(w.go() == 2);  // B alone has credit
  CHECK(w.order.credit(kB, w.at(0)) == 0);
  CHECK(w.go() == 1);  // a round for A, who waits, and for B, who does not
  CHECK(w.order.refills(0) == 2);
  CHECK(w.order.credit(kA, w.at(0)) == 900 - 1500);
  CHECK(w.order.credit(kB, w.at(0)) == 1000);
  w.end(1, 100);
  CHECK(w.order.credit(kA, w.at(0)) == 900 - 1500 - 2 * 100);
}

TEST_CASE("dlpm: equal hits go by arrival, and equal credit makes no turns") {
  WaitingFor<Dlpm> w;
  w.submit(kA, 100);
  w.submit(kA, 100);
  w.submit(kB, 100);
  CHECK(w.go() == 1);
  CHECK(w.go() == 2);
  CHECK(w.go() == 3);
}

TEST_CASE("dlpm: refills go on until somebody who waits has credit, one quantum for each client") {
  WaitingFor<Dlpm> w("quantum=1000");
  w.submit(kA, 3500);
  w.submit(kB, 100);
  w.submit(kC, 1);
  CHECK(w.go() == 1);
  CHECK(w.order.credit(kA, w.at(0)) == -2500);
  CHECK(w.go() == 2);
  CHECK(w.go() == 3);  // all three had one round
  CHECK(w.order.refills(0) == 1);
  // B spends what is left and more; now A with many requests waits alone: three rounds for a debt
  // of 2,500, of which B, 0 at -100, needs one and C, with credit, none.
  w.end(2, 500);
  CHECK(w.order.credit(kB, w.at(0)) == -100);
  for (int i = 0; i < 5; ++i) w.submit(kA, 10);
  CHECK(w.go() == 4);
  CHECK(w.order.refills(0) == 4);
  CHECK(w.order.credit(kA, w.at(0)) == 490);
  CHECK(w.order.credit(kB, w.at(0)) == 900);
  CHECK(w.order.credit(kC, w.at(0)) == 999);
  // A debt of exactly one quantum is not over with one.
  WaitingFor<Dlpm> exact("quantum=1000");
  exact.submit(kA, 2000);
  exact.go();
  exact.submit(kA, 1);
  exact.go();
  CHECK(exact.order.refills(0) == 3);
  CHECK(exact.order.credit(kA, exact.at(0)) == 999);
  // The one nearest to credit goes, though the other has the longer hit.
  WaitingFor<Dlpm> near("quantum=1000");
  near.submit(kA, 6000);
  near.submit(kB, 4000);
  near.go();
  near.go();
  near.submit(kA, 900, 800);
  near.submit(kB, 900);
  CHECK(near.go() == 4);
}

TEST_CASE("dlpm: a client's quantum follows its weight, and each of four nodes has its share") {
  WaitingFor<Dlpm> w("quantum=1000");
  w.weigh("#000000000000000b=3");
  w.submit(kA, 10);
  w.submit(kB, 10);
  w.go();
  CHECK(w.order.credit(kA, w.at(0)) == 2990);
  CHECK(w.order.credit(kB, w.at(0)) == 1000);
  w.builder.view.live_nodes = 4;
  w.fleet.set_view(w.builder.build());
  w.submit(kC, 10);
  w.end(1, 1500);  // A: -10
  w.go();
  w.end(2, 495);  // B: 0
  CHECK(w.go() == 3);
  CHECK(w.order.credit(kA, w.at(0)) == 740);
  CHECK(w.order.credit(kB, w.at(0)) == 250);
  CHECK(w.order.credit(kC, w.at(0)) == 240);
}

TEST_CASE("dlpm: credits of each instance apart, or of all together") {
  for (const bool apart : {false, true}) {
    CAPTURE(apart);
    WaitingFor<Dlpm> w(apart ? "quantum=1000,per_instance=1" : "quantum=1000");
    w.submit(kA, 5000, 0, 0);
    w.go(0);
    w.submit(kA, 100, 90, 1);
    w.submit(kB, 100, 0, 1);
    CHECK(w.go(1) == (apart ? 2 : 3));
    const double refilled = apart ? 0 : 1000;  // A is known there as well
    CHECK(w.order.credit(kA, w.at(0)) == -4000 + refilled);
    w.end(1, 100, 0);
    CHECK(w.order.credit(kA, w.at(0)) == -4200 + refilled);
    CHECK(w.order.credit(kA, w.at(1)) == (apart ? 990 : -3200));
  }
}

TEST_CASE("orders forget clients who do not wait when there are too many, and say so") {
  WaitingFor<Vtc> w;
  w.submit(kA, 100);
  w.submit(kA, 100);
  w.go();
  constexpr std::uint64_t kMany = ClientAccounts<int>::kMaxClients;
  Arrival arrival;
  arrival.input_tokens = 7;
  for (std::uint64_t client = 100; client < 100 + kMany - 1; ++client) {
    arrival.client = client;
    w.order.dispatched(arrival, 7, w.at(0));
  }
  CHECK(w.order.forgotten() == 0);
  CHECK(w.order.counter(100) == 7);
  arrival.client = 1;
  w.order.dispatched(arrival, 7, w.at(0));
  CHECK(w.order.forgotten() == kMany - 1);
  CHECK(w.order.counter(100) == 0);
  CHECK(w.order.counter(kA) == 100);
}
