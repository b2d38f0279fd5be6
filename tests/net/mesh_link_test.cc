#include "net/mesh_link.h"

#include <doctest/doctest.h>
#include <kj/async.h>
#include <kj/timer.h>

#include <vector>

namespace dualmesh::net {
namespace {

// A network that answers nobody; it notes who dialled when.
class DeadNetwork : public Dialer {
 public:
  explicit DeadNetwork(kj::TimerImpl& timer) : timer_(timer) {}
  kj::Promise<kj::Own<kj::AsyncIoStream>> dial(const std::string&) override {
    dials_ms.push_back(
        static_cast<double>((timer_.now() - kj::origin<kj::TimePoint>()) / kj::MILLISECONDS));
    return kj::NEVER_DONE;
  }
  std::vector<double> dials_ms;

 private:
  kj::TimerImpl& timer_;
};

class NoOwner : public MeshLinkOwner {
 public:
  void write_hello(wire::Hello::Builder) override {}
  LinkVerdict welcomed(MeshLink&, wire::Welcome::Reader) override { return LinkVerdict::keep; }
  void link_up(MeshLink&) override {}
  void link_down(MeshLink&, bool, const std::string& reason) override { reasons.push_back(reason); }
  std::vector<std::string> reasons;
};

struct OneLink {
  kj::TimerImpl timer{kj::origin<kj::TimePoint>()};
  kj::EventLoop loop;
  kj::WaitScope scope{loop};
  std::mt19937_64 random{1};
  DeadNetwork network{timer};
  NoOwner owner;
  MeshLink link{"r2:7000", network, timer, random, {}, owner};

  void run_until(double ms) {
    for (double at = 0; at <= ms; at += 1) {
      const auto time =
          kj::origin<kj::TimePoint>() + static_cast<std::int64_t>(at) * kj::MILLISECONDS;
      if (time > timer.now()) timer.advanceTo(time);
      loop.run();
    }
  }
};

TEST_CASE("a dial that nobody hurries waits for the network's own repetition") {
  OneLink one;
  one.run_until(1'000);
  CHECK(one.network.dials_ms.size() == 1);
}

TEST_CASE("a dial older than the shortest backoff begins anew when its address is heard of") {
  OneLink one;
  one.run_until(150);
  one.link.redial_soon();
  one.run_until(300);
  REQUIRE(one.network.dials_ms.size() == 2);
  CHECK(one.network.dials_ms[1] <= 250.0);  // the jitter of one backoff
}

// A network that was healed a moment after the dial's first packet was lost in it.
TEST_CASE("a younger dial is hurried as soon as it is that old, once") {
  OneLink one;
  one.run_until(30);
  one.link.redial_soon();
  one.run_until(60);
  one.link.redial_soon();
  CHECK(one.network.dials_ms.size() == 1);
  one.run_until(99);
  CHECK(one.network.dials_ms.size() == 1);
  one.run_until(1'000);
  REQUIRE(one.network.dials_ms.size() == 2);
  CHECK(one.network.dials_ms[1] >= 100.0);
  CHECK(one.network.dials_ms[1] <= 200.0);
  CHECK(one.owner.reasons.size() == 1);
}

}  // namespace
}  // namespace dualmesh::net
