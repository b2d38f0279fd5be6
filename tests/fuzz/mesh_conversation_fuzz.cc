// Bytes as a whole connection to a node's mesh port: framing, RPC, hello, pushes, administrators'
// calls. Whatever comes, the node goes on, knows itself alive, and lets go of the connection.
#include <kj/async-io.h>
#include <kj/timer.h>
#include <spdlog/spdlog.h>

#include "node/mesh/mesh_node.h"
#include "tests/fuzz/fuzz_check.h"
#include "tests/node/fake_mesh_host.h"

namespace {

using namespace dualmesh;

constexpr std::uint64_t kWallMs = 1'760'000'000'000;

class NobodyThere final : public net::Dialer {
 public:
  kj::Promise<kj::Own<kj::AsyncIoStream>> dial(const std::string&) override {
    return KJ_EXCEPTION(DISCONNECTED, "nobody listens there");
  }
};

kj::Promise<void> forget_all(kj::AsyncIoStream& stream, kj::ArrayPtr<kj::byte> buffer) {
  return stream.tryRead(buffer.begin(), 1, buffer.size())
      .then([&stream, buffer](std::size_t n) -> kj::Promise<void> {
        if (n == 0) return kj::READY_NOW;
        return forget_all(stream, buffer);
      });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  spdlog::set_level(spdlog::level::off);
  kj::EventLoop loop;
  kj::WaitScope scope(loop);
  kj::TimerImpl timer(kj::origin<kj::TimePoint>());
  NobodyThere dialer;
  node::FakeMeshHost host;
  node::MeshConfig config;
  config.node_name = "a";
  config.advertise = "127.0.0.1:1";
  config.alone = true;
  config.instances = {{"e1", "127.0.0.1:9001", {"sim"}, 1.0}};
  node::MeshNode node(
      config, {timer, dialer, []() { return kWallMs; }, []() { return std::uint64_t{1}; }, 1}, host,
      host);
  node.start();

  auto pipe = kj::newTwoWayPipe();
  node.accept(kj::mv(pipe.ends[0]));
  kj::byte buffer[4096];
  auto reading = forget_all(*pipe.ends[1], buffer).eagerlyEvaluate([](kj::Exception&&) {});
  auto writing = pipe.ends[1]->write(data, size).eagerlyEvaluate([](kj::Exception&&) {});
  for (int step = 1; step <= 3; ++step) {
    scope.poll();
    timer.advanceTo(kj::origin<kj::TimePoint>() + step * 40 * kj::MILLISECONDS);
  }
  scope.poll();
  writing = nullptr;
  reading = nullptr;
  pipe.ends[1] = nullptr;
  scope.poll();
  FUZZ_CHECK(node.acceptor().connections() == 0 && node.acceptor().greeting() == 0);
  FUZZ_CHECK(node.state().self_member().status == crdt::MemberStatus::alive);
  FUZZ_CHECK(node.view() != nullptr);
  return 0;
}
