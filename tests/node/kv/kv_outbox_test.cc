#include "node/kv/kv_outbox.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace dualmesh;
using namespace dualmesh::node;
using namespace std::chrono_literals;

namespace {

constexpr crdt::NodeId kPeer{7};

std::string message(std::uint64_t sum) {
  std::string bytes;
  write_section(KvSummary{sum}, bytes);
  return bytes;
}

std::vector<std::uint64_t> sums(const std::string& bytes) {
  std::vector<std::uint64_t> found;
  const auto read = read_message(bytes);
  REQUIRE(read.has_value());
  for (const KvSection& section : *read) found.push_back(std::get<KvSummary>(section).sum);
  return found;
}

using Sums = std::vector<std::uint64_t>;

}  // namespace

TEST_CASE("What is laid while a message lies there joins it; each interval one, to peers alone") {
  KvOutbox outbox(4ms);
  std::uint64_t next = 0;
  const auto make = [&](crdt::NodeId) { return message(++next); };
  CHECK_FALSE(outbox.fill(0ms, make));  // nobody is there
  outbox.set_peers({kPeer});
  CHECK(outbox.fill(0ms, make));
  CHECK_FALSE(outbox.fill(3ms, make));
  CHECK_FALSE(outbox.fill(4ms, make));
  CHECK(sums(outbox.take(kPeer)) == Sums{1, 2});
  CHECK(outbox.take(kPeer).empty());
  CHECK(outbox.fill(8ms, make));
  CHECK(sums(outbox.take(kPeer)) == Sums{3});
}

TEST_CASE("Large messages stay on their own, and none is made while too much lies there") {
  KvOutbox outbox(0ms, 40'000);
  outbox.set_peers({kPeer});
  std::size_t made = 0;
  const auto make = [&](crdt::NodeId) {
    std::string bytes = message(made++);
    while (bytes.size() < 15'000) append_message(message(0), bytes);
    return bytes;
  };
  for (int i = 0; i < 10; ++i) outbox.fill(0ms, make);
  CHECK(made == 3);
  for (std::uint64_t i = 0; i < 3; ++i) CHECK(sums(outbox.take(kPeer)).front() == i);
  CHECK(outbox.take(kPeer).empty());
  outbox.fill(0ms, make);
  CHECK(made == 4);
}
