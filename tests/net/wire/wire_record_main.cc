// wire_record FILE: records what two nodes of today say to each other; see the folder's README.
#include <cstdio>
#include <fstream>
#include <memory>

#include "net/error.h"
#include "tests/net/wire/wire_fields.h"
#include "tests/net/wire/wire_file.h"
#include "tests/sim/sim_cluster.h"

namespace dualmesh::wire_test {
namespace {

using Records = std::vector<WireRecord>;

// The caller's end of the connection, with everything that passes written down.
class TappedStream final : public kj::AsyncIoStream {
 public:
  TappedStream(kj::Own<kj::AsyncIoStream> inner, Records& records)
      : inner_(kj::mv(inner)), records_(records) {}

  kj::Promise<size_t> tryRead(void* buffer, size_t min_bytes, size_t max_bytes) override {
    return inner_->tryRead(buffer, min_bytes, max_bytes).then([this, buffer](size_t n) {
      note(Direction::to_caller, {static_cast<const char*>(buffer), n});
      return n;
    });
  }
  kj::Promise<void> write(const void* buffer, size_t size) override {
    note(Direction::to_callee, {static_cast<const char*>(buffer), size});
    return inner_->write(buffer, size);
  }
  kj::Promise<void> write(kj::ArrayPtr<const kj::ArrayPtr<const kj::byte>> pieces) override {
    std::string all;
    for (auto piece : pieces)
      all.append(reinterpret_cast<const char*>(piece.begin()), piece.size());
    note(Direction::to_callee, std::move(all));
    return inner_->write(pieces);
  }
  kj::Promise<void> whenWriteDisconnected() override { return inner_->whenWriteDisconnected(); }
  void shutdownWrite() override { inner_->shutdownWrite(); }

 private:
  void note(Direction direction, std::string bytes) {
    if (!bytes.empty()) records_.push_back({direction, std::move(bytes)});
  }

  kj::Own<kj::AsyncIoStream> inner_;
  Records& records_;
};

// Taps the first connection to one address.
class TappingDialer final : public net::Dialer {
 public:
  TappingDialer(std::unique_ptr<net::Dialer> inner, std::string address, Records& records)
      : inner_(std::move(inner)), address_(std::move(address)), records_(records) {}

  kj::Promise<kj::Own<kj::AsyncIoStream>> dial(const std::string& address) override {
    return inner_->dial(address).then(
        [this, address](kj::Own<kj::AsyncIoStream> stream) -> kj::Own<kj::AsyncIoStream> {
          if (address != address_ || tapped_) return stream;
          tapped_ = true;
          return kj::heap<TappedStream>(kj::mv(stream), records_);
        });
  }

 private:
  std::unique_ptr<net::Dialer> inner_;
  std::string address_;
  Records& records_;
  bool tapped_ = false;
};

policies::Load load_of(std::uint32_t queued, std::uint64_t tokens) {
  policies::Load load;
  load.queued_requests = queued;
  load.queued_tokens = tokens;
  return load;
}

// As a node of the order `slo` says it.
policies::Load waiting(policies::Load load, std::uint32_t prefill_left_ms,
                       std::initializer_list<policies::WaitingReport> requests) {
  load.prefilling_requests = 1;
  load.prefill_left_ms = prefill_left_ms;
  load.waiting.assign(requests.begin(), requests.end());
  return load;
}

void say(sim::SimNode& node) { node.mesh->local_changes(); }

Records record() {
  Records records;
  sim::SimCluster cluster(1);
  cluster.add_many(4);  // n0 calls, n1 answers; n2 reaches only n1, n3 only n0
  for (std::size_t i = 0; i < 4; ++i) {
    node::MeshConfig& config = cluster.node(i).config;
    config.max_push_bytes = 8'000;
    config.instances = {{"east-1", "10.0.0.1:8000", {"llama"}, 1.0},
                        {"east-2", "10.0.0.2:8000", {"llama", "qwen"}, 2.0}};
  }
  cluster.node(0).wrap_dialer = [&](std::unique_ptr<net::Dialer> inner) {
    return std::make_unique<TappingDialer>(std::move(inner), cluster.node(1).address, records);
  };
  for (const std::size_t i : {0, 2, 3}) cluster.start(i);
  cluster.run_for(4'000);
  cluster.network().set_cut("n0:7000", "n2:7000", true);
  cluster.network().set_cut("n2:7000", "n3:7000", true);

  // What n1 is told as it joins.
  sim::SimNode& n0 = cluster.node(0);
  DUALMESH_CHECK(n0.mesh->change("east-2", policies::Lifecycle::draining).has_value(), "n0");
  DUALMESH_CHECK(n0.mesh->change(node::SeedInstance{"west-1", "[2001:db8::7]:9000", {"qwen"}, 0.5})
                     .has_value(),
                 "n0");
  DUALMESH_CHECK(
      n0.mesh->change(node::SeedInstance{"gone-1", "10.0.0.9:8000", {"qwen"}, 1.0}).has_value(),
      "n0");
  DUALMESH_CHECK(n0.mesh->change("gone-1", policies::Lifecycle::removed).has_value(), "n0");
  cluster.run_for(500);
  std::vector<policies::BlockKey> blocks;
  for (policies::BlockKey block = 1'000'000; block < 1'001'500; ++block) blocks.push_back(block);
  n0.host.say_placement(0, blocks);
  n0.host.say_load(0,
                   waiting(load_of(3, 4'096), 650, {{-300, 96}, {1'200, 3'000}, {4'700, 1'000}}));
  n0.host.say_load(1, load_of(1, 100));
  n0.host.say_depth(0xfeed, 4);
  n0.host.say_health(0, true);
  n0.host.say_health(1, false);
  say(n0);
  cluster.node(3).host.say_load(0, load_of(7, 70'000));
  cluster.node(3).host.say_placement(1, {42, 43});
  say(cluster.node(3));
  cluster.run_for(500);
  cluster.network().set_cut("n1:7000", "n3:7000", true);
  cluster.start(1);
  cluster.run_for(2'000);

  // What it is told afterwards.
  n0.host.say_load(1, {});  // a row that goes
  n0.host.say_depth(0xfeed, 6);
  say(n0);
  cluster.node(3).host.say_load(1, waiting(load_of(2, 2'000), 20, {{5'000, 2'000}}));
  say(cluster.node(3));
  cluster.network().set_cut("n0:7000", "n3:7000", true);  // concurrent words, forwarded by n0
  DUALMESH_CHECK(n0.mesh->set_policy("round_robin").has_value(), "n0");
  DUALMESH_CHECK(cluster.node(3).mesh->set_policy("dualmap").has_value(), "n3");
  cluster.run_for(100);
  cluster.network().set_cut("n0:7000", "n3:7000", false);
  cluster.run_for(3'000);
  records.push_back({Direction::mark, "farewell"});
  bool left = false;
  n0.mesh->leave(1'000, [&]() { left = true; });
  cluster.run_until([&] { return left; }, 2'000);
  return records;
}

}  // namespace
}  // namespace dualmesh::wire_test

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("Usage: wire_record NAME: writes NAME.wire and NAME.fields\n", stderr);
    return 2;
  }
  const auto records = dualmesh::wire_test::record();
  const std::string name = argv[1];
  dualmesh::wire_test::write_wire_file(name + ".wire", records);
  std::ofstream fields(name + ".fields");
  for (const std::string& line : dualmesh::wire_test::wire_fields()) fields << line << "\n";
  std::size_t bytes = 0;
  for (const auto& record : records) bytes += record.bytes.size();
  std::printf("%zu records, %zu bytes\n", records.size(), bytes);
  return 0;
}
