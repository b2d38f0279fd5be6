#include "net/mesh_link.h"

#include <capnp/rpc.capnp.h>
#include <capnp/serialize.h>
#include <doctest/doctest.h>
#include <kj/async-io.h>
#include <kj/async.h>
#include <kj/timer.h>

#include <optional>
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
  void link_down(MeshLink& link, bool, const std::string& reason) override {
    reasons.push_back(reason);
    violations.push_back(link.violation());
  }
  std::uint64_t& throttled() override { return throttled_; }
  std::vector<std::string> reasons;
  std::vector<Violation> violations;

 private:
  std::uint64_t throttled_ = 0;
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

// Whoever is dialled answers with what it likes, and reads nothing.
class HostileCallee : public Dialer {
 public:
  kj::Promise<kj::Own<kj::AsyncIoStream>> dial(const std::string&) override {
    if (stream) return kj::NEVER_DONE;
    auto pipe = kj::newTwoWayPipe();
    stream = kj::mv(pipe.ends[1]);
    return kj::mv(pipe.ends[0]);
  }
  // How much of it the link has read.
  std::size_t say(const kj::Array<capnp::word>& message, std::size_t times, kj::EventLoop& loop) {
    std::size_t read = 0;
    saying_ = say_on(message, times, read).eagerlyEvaluate([](kj::Exception&&) {});
    loop.run();
    return read;
  }
  std::optional<kj::Own<kj::AsyncIoStream>> stream;

 private:
  kj::Promise<void> say_on(const kj::Array<capnp::word>& message, std::size_t times,
                           std::size_t& read) {
    if (times == 0) return kj::READY_NOW;
    const auto bytes = message.asBytes();
    return (*stream)->write(bytes.begin(), bytes.size()).then([this, &message, times, &read]() {
      read += message.asBytes().size();
      return say_on(message, times - 1, read);
    });
  }
  kj::Promise<void> saying_ = nullptr;
};

struct HostileLink {
  kj::TimerImpl timer{kj::origin<kj::TimePoint>()};
  kj::EventLoop loop;
  kj::WaitScope scope{loop};
  std::mt19937_64 random{1};
  NoOwner owner;
  HostileCallee callee;
  MeshLink link{"r2:7000", callee, timer, random, {}, owner};
};

TEST_CASE("a node that was dialled cannot make the caller keep questions without end") {
  HostileLink hostile;
  hostile.loop.run();
  REQUIRE(hostile.callee.stream.has_value());
  std::size_t asked = 0;
  for (std::uint32_t id = 0; id < 1'000 && hostile.owner.reasons.empty(); ++id, ++asked) {
    capnp::MallocMessageBuilder builder;
    builder.initRoot<capnp::rpc::Message>().initBootstrap().setQuestionId(id);
    hostile.callee.say(capnp::messageToFlatArray(builder), 1, hostile.loop);
  }
  CHECK(asked < 100);
  REQUIRE(hostile.owner.violations.size() == 1);
  CHECK(hostile.owner.violations[0].reason == Refusal::calls);
}

TEST_CASE("a node that was dialled and reads no answers is not read either") {
  HostileLink hostile;
  hostile.loop.run();
  REQUIRE(hostile.callee.stream.has_value());
  capnp::MallocMessageBuilder builder;  // the protocol has it sent back as not implemented
  auto text = builder.initRoot<capnp::rpc::Message>().initObsoleteSave().initAs<capnp::Text>(4'096);
  std::fill(text.begin(), text.end(), 'x');
  const auto message = capnp::messageToFlatArray(builder);
  const std::size_t times = 5'000;  // 20 MiB
  CHECK(hostile.callee.say(message, times, hostile.loop) < times * message.asBytes().size() / 2);
}

}  // namespace
}  // namespace dualmesh::net
