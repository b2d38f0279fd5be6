// The verdict on instances from probes and traffic, by hand and over real sockets.
#include <doctest/doctest.h>

#include "tests/node/router_support.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::testing;
using policies::Answered;
using State = InstanceHealth::Verdict::State;
using namespace std::chrono_literals;

namespace {

InstanceHealth::Settings quick() {
  InstanceHealth::Settings settings;
  settings.outliers.base = 30ms;
  settings.outliers.most = 30ms;
  settings.trial_requests = 2;
  return settings;
}

InstanceHealth::Settings for_good() {
  InstanceHealth::Settings settings = quick();
  settings.outliers.base = settings.outliers.most = 1h;
  return settings;
}

struct Judging {
  explicit Judging(const ViewPointer& view, InstanceHealth::Settings settings = for_good())
      : health(threads.at(0), settings, monotonic_now, [this](policies::Slot) { ++changes; }) {
    health.set_view(*view);
  }
  ~Judging() { threads.stop(); }
  void fail(policies::Slot slot, int times) {
    for (int i = 0; i < times; ++i) {
      health.ended(slot, health.sent(slot), Answered::not_well, "status 503");
    }
  }
  void answer(policies::Slot slot) {
    const auto era = health.sent(slot);
    health.answered(slot, era);
    health.ended(slot, era, Answered::well, {});
  }
  State state(policies::Slot slot) const { return health.verdict(slot).state; }

  net::IoThreads threads{1};
  std::atomic<int> changes{0};
  InstanceHealth health;
};

ViewPointer three() {
  return make_view({{"e1", "127.0.0.1:1", {"m"}},
                    {"e2", "127.0.0.1:1", {"m"}},
                    {"e3", "127.0.0.1:1", {"m", "n"}}});
}

}  // namespace

TEST_CASE("health: failures in a row put an instance to rest, and the verdict says why") {
  Judging judging(three());
  judging.fail(0, 4);
  CHECK(judging.state(0) == State::well);
  CHECK(judging.changes == 0);
  judging.fail(0, 1);
  CHECK(judging.state(0) == State::ejected);
  CHECK(judging.changes == 1);
  CHECK(judging.health.ejections() == 1);
  CHECK(!judging.health.verdict(0).usable());
  CHECK(judging.health.verdict(0).reason == "ejected: 5 failures in a row, the last: status 503");
  CHECK(judging.state(1) == State::well);
  CHECK(judging.state(9) == State::well);  // nobody's
}

TEST_CASE("health: the last of a model stays, and the share is kept") {
  Judging judging(three());
  judging.fail(2, 50);  // alone serves n
  CHECK(judging.state(2) == State::well);
  judging.fail(0, 5);
  CHECK(judging.state(0) == State::ejected);
  judging.fail(1, 50);  // the second of three
  CHECK(judging.state(1) == State::well);
  // Those whose probes fail are nobody to fall back on.
  Judging pair(make_view({{"e1", "127.0.0.1:1", {"m"}}, {"e2", "127.0.0.1:1", {"m"}}}));
  pair.health.probed(1, false);
  CHECK(pair.state(1) == State::unwell);
  pair.fail(0, 50);
  CHECK(pair.state(0) == State::well);
  pair.health.probed(1, true);
  pair.fail(0, 1);
  CHECK(pair.state(0) == State::ejected);
}

TEST_CASE("health: after its rest it is tried, and its answers or failures decide") {
  Judging judging(three(), quick());
  const auto before = judging.health.sent(0);
  judging.fail(0, 5);
  CHECK(judging.state(0) == State::ejected);
  REQUIRE(eventually([&] { return judging.state(0) == State::on_trial; }));
  CHECK(judging.health.verdict(0).trial == 2);
  CHECK(judging.health.verdict(0).usable());
  // What was sent before its rest proves nothing.
  for (int i = 0; i < 9; ++i) judging.health.answered(0, before);
  judging.health.ended(0, before, Answered::not_well, "late");
  CHECK(judging.state(0) == State::on_trial);
  judging.fail(0, 1);
  CHECK(judging.state(0) == State::ejected);
  CHECK(judging.health.verdict(0).reason.find("failed again when it was tried") !=
        std::string::npos);
  REQUIRE(eventually([&] { return judging.state(0) == State::on_trial; }));
  judging.answer(0);
  CHECK(judging.state(0) == State::on_trial);
  judging.answer(0);
  CHECK(judging.state(0) == State::well);
  CHECK(judging.health.verdict(0).reason.empty());
  judging.fail(0, 4);
  CHECK(judging.state(0) == State::well);
}

TEST_CASE("health: an instance that was away begins anew, and probes go before all else") {
  Judging judging(three());
  judging.fail(0, 5);
  judging.health.probed(0, false);
  CHECK(judging.state(0) == State::unwell);
  judging.health.renewed(0);
  judging.health.probed(0, true);
  CHECK(judging.state(0) == State::well);
  judging.fail(0, 4);
  CHECK(judging.state(0) == State::well);
  // One that leaves the fleet leaves nothing behind.
  judging.fail(0, 1);
  CHECK(judging.state(0) == State::ejected);
  judging.health.set_view(*make_view({}));
  judging.health.set_view(*three());
  CHECK(judging.state(0) == State::well);
}

TEST_CASE("an instance that answers 503 rests, and comes back by a trial with real requests") {
  std::atomic<int> status{503};
  FakeInstance moody([&](std::shared_ptr<net::Exchange> exchange) {
    answer_json(*exchange, status.load(), "{}");
  });
  FakeInstance good(completing("ok"));
  TestRouter router(make_view({{"moody", moody.address(), {"m"}}, {"good", good.address(), {"m"}}}),
                    TestRouter::default_settings(), {}, 2, quick());
  TestClient client;
  int i = 0;
  const auto ask = [&] {
    const Answer answer =
        client.post(router.port(), "/v1/chat/completions",
                    chat_body("m", std::to_string(++i) + std::string(3'000, 'z'), false));
    CHECK(answer.response.status == 200);
    return std::string(answer.response.headers.find("x-dualmesh-instance"));
  };
  while (router.health.ejections() < 3 && i < 5'000) ask();
  CHECK(router.health.ejections() >= 3);  // tried again, and failed again
  const int refused = moody.requests();
  CHECK(refused < i);
  status = 200;
  bool came_back = false;
  for (int more = 0; more < 5'000 && !came_back; ++more) {
    ask();
    came_back = router.health.verdict(0).state == State::well;
  }
  CHECK(came_back);
  CHECK(moody.requests() > refused);
  CHECK(eventually([&] { return router.is_empty(); }));
}

TEST_CASE("answers that break off, and errors beside instances that have none, eject as well") {
  for (const bool breaks_off : {true, false}) {
    CAPTURE(breaks_off);
    FakeInstance bad([breaks_off](std::shared_ptr<net::Exchange> exchange) {
      if (!breaks_off) return answer_json(*exchange, 500, "{}");
      exchange->begin(200, event_stream());
      exchange->write(event("x"));
      exchange->abort();
    });
    FakeInstance good(completing("ok"));
    TestRouter router(make_view({{"bad", bad.address(), {"m"}}, {"good", good.address(), {"m"}}}),
                      TestRouter::default_settings(), {}, 1, for_good());
    TestClient client;
    int failed = 0;
    for (int i = 0; i < 400; ++i) {
      const Answer answer =
          client.post(router.port(), "/v1/chat/completions",
                      chat_body("m", std::to_string(i) + std::string(3'000, 'z'), true));
      failed += answer.response.status != 200 || answer.error != net::ClientError::none;
    }
    CHECK(router.health.verdict(0).state == State::ejected);
    CHECK(failed == bad.requests());
    CHECK(failed >= 5);
    CHECK(failed < 60);
    CHECK(eventually([&] { return router.is_empty(); }));
  }
}
