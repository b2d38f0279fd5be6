// What of ours is held back until something else is written, and in which order it comes.
#include "net/mesh_messages.h"

#include <capnp/message.h>
#include <capnp/rpc.capnp.h>
#include <capnp/serialize.h>
#include <doctest/doctest.h>
#include <kj/async.h>
#include <kj/timer.h>

#include <vector>

namespace dualmesh::net {
namespace {

struct Scene {
  Scene() { messages.pace(timer, {}, throttled); }

  kj::Promise<void> write(bool finish, std::uint32_t question) {
    auto message = kj::heap<capnp::MallocMessageBuilder>();
    auto root = message->initRoot<capnp::rpc::Message>();
    if (finish) {
      root.initFinish().setQuestionId(question);
    } else {
      root.initCall().setQuestionId(question);
    }
    auto written = messages.writeMessage(*message);
    return written.attach(kj::mv(message)).eagerlyEvaluate(nullptr);
  }
  void finish(std::uint32_t question) { writes.push_back(write(true, question)); }
  void call(std::uint32_t question) { writes.push_back(write(false, question)); }
  void advance(kj::Duration by) {
    loop.run();
    timer.advanceTo(timer.now() + by);
    loop.run();
  }
  // The questions of what came, finishes negative.
  std::vector<int> came() {
    std::vector<int> found;
    bool more = true;
    while (more) {
      auto reading = capnp::readMessage(*pipe.ends[1]).then([&](auto&& message) {
        auto root = message->template getRoot<capnp::rpc::Message>();
        if (root.isFinish()) {
          found.push_back(-static_cast<int>(root.getFinish().getQuestionId()));
        } else {
          found.push_back(static_cast<int>(root.getCall().getQuestionId()));
        }
      });
      more = reading.poll(scope);
      if (more) reading.wait(scope);
    }
    return found;
  }

  kj::TimerImpl timer{kj::origin<kj::TimePoint>()};
  kj::EventLoop loop;
  kj::WaitScope scope{loop};
  kj::TwoWayPipe pipe = kj::newTwoWayPipe();
  FrameGuard guard{*pipe.ends[0], 1'000};
  std::uint64_t throttled = 0;
  MeshMessages messages{guard, [] { return std::size_t{0}; }};
  std::vector<kj::Promise<void>> writes;
};

using Found = std::vector<int>;

TEST_CASE("A finish goes with the next message, before it") {
  Scene scene;
  scene.finish(1);
  scene.finish(2);
  scene.call(3);
  CHECK(scene.came() == Found{-1, -2, 3});
  scene.advance(2 * MeshMessages::kFinishWithin);
  CHECK(scene.came().empty());
}

TEST_CASE("A finish that nothing follows goes alone, after a while") {
  Scene scene;
  scene.finish(1);
  scene.advance(MeshMessages::kFinishWithin - 1 * kj::MILLISECONDS);
  scene.finish(2);
  for (auto& write : scene.writes) CHECK(write.poll(scene.scope));  // nobody waits for it
  scene.advance(1 * kj::MILLISECONDS);
  CHECK(scene.came() == Found{-1, -2});
}

TEST_CASE("While the held are under way, what follows waits for them") {
  Scene scene;
  scene.finish(1);
  scene.advance(MeshMessages::kFinishWithin);  // nobody reads
  scene.finish(2);
  CHECK(scene.came() == Found{-1, -2});
  scene.finish(3);
  scene.call(4);
  CHECK(scene.came() == Found{-3, 4});
}

TEST_CASE("While a message is under way, a finish waits for it, and is not forgotten") {
  Scene scene;
  scene.call(1);
  scene.finish(2);
  scene.advance(MeshMessages::kFinishWithin);
  scene.advance(MeshMessages::kFinishWithin);
  CHECK(scene.came() == Found{1});
  scene.advance(MeshMessages::kFinishWithin);
  CHECK(scene.came() == Found{-2});
}

TEST_CASE("Nothing is held where there is no timer") {
  Scene scene;
  MeshMessages plain{scene.guard, [] { return std::size_t{0}; }};
  capnp::MallocMessageBuilder message;
  message.initRoot<capnp::rpc::Message>().initFinish().setQuestionId(7);
  auto written = plain.writeMessage(message);
  CHECK(scene.came() == Found{-7});
  written.wait(scene.scope);
}

}  // namespace
}  // namespace dualmesh::net
