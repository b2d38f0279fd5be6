#include "crdt/registers.h"

#include <doctest/doctest.h>

#include <map>
#include <set>
#include <string>

#include "tests/crdt/laws.h"

namespace dualmesh::crdt {
namespace {

using Text = std::string;
using Bytes = std::array<std::uint8_t, 4>;
constexpr NodeId kA{1}, kB{2}, kC{3};

template <class Register>
std::uint64_t entry_hash(const Register& value) {
  EntryHasher hasher;
  hash_entry(hasher, std::string("key"), value);
  return hasher.finish();
}

std::vector<Text> values(const MultiValue<Text>& reg) {
  std::vector<Text> result;
  for (const auto& sibling : reg.siblings()) result.push_back(sibling.value);
  return result;
}

LastWriter<Text> last_writer(const Bytes& bytes) {
  return {Stamp{bytes[0] % 3u, NodeId{bytes[1] % 3u}}, Text(1, 'a' + bytes[2] % 3)};
}

// --- LastWriter and Max

TEST_CASE("LastWriter is a semilattice and its hash tells states apart") {
  CHECK(rc::check([](const Bytes& x, const Bytes& y, const Bytes& z) {
    const auto a = last_writer(x), b = last_writer(y), c = last_writer(z);
    assert_lattice_laws(a, b, c);
    RC_ASSERT((entry_hash(a) == entry_hash(b)) == (a == b));
  }));
}

TEST_CASE("LastWriter ends at the greatest write of the whole history") {
  CHECK(rc::check([](const std::vector<Bytes>& history) {
    LastWriter<Text> reg;
    std::set<std::tuple<std::uint64_t, std::uint64_t, Text>> twin{{0, 0, ""}};
    for (const Bytes& write : history) {
      reg.join(last_writer(write));
      twin.insert({write[0] % 3, write[1] % 3, Text(1, 'a' + write[2] % 3)});
    }
    const auto& [time, writer, value] = *twin.rbegin();
    RC_ASSERT(reg == (LastWriter<Text>{Stamp{time, NodeId{writer}}, value}));
  }));
}

TEST_CASE("a removal issued after seeing the drain wins, though its clock is behind") {
  HybridClock fast(kA), slow(kB);
  LastWriter<Text> drain{fast.now(50'000), "draining"};
  REQUIRE(slow.observe(drain.stamp, 10'000));
  LastWriter<Text> removal{slow.now(10'000), "removed"};
  CHECK(joined(drain, removal).value == "removed");
  CHECK(joined(removal, drain).value == "removed");
}

TEST_CASE("Max is a semilattice and holds the greatest value") {
  CHECK(rc::check([](std::uint8_t a, std::uint8_t b, std::uint8_t c) {
    assert_lattice_laws(Max<int>{a}, Max<int>{b}, Max<int>{c});
    RC_ASSERT(joined(Max<int>{a}, Max<int>{b}).value == std::max<int>(a, b));
    RC_ASSERT((entry_hash(Max<int>{a}) == entry_hash(Max<int>{b})) == (a == b));
  }));
}

// --- MultiValue

// The naive twin: every replica remembers the whole history it knows, each write with everything
// its writer knew then. Visible is what no other known write knew.
struct NaiveReplica {
  using Event = std::pair<std::uint64_t, std::uint64_t>;  // (writer, time)
  struct Write {
    Text value;
    std::set<Event> past;
  };

  std::map<Event, Write> known;

  void assign(Event event, Text value) {
    Write write{std::move(value), {}};
    for (const auto& [earlier, unused] : known) write.past.insert(earlier);
    known[event] = std::move(write);
  }
  void join(const NaiveReplica& other) { known.insert(other.known.begin(), other.known.end()); }
  std::map<Event, Text> visible() const {
    std::map<Event, Text> result;
    for (const auto& [event, write] : known) result[event] = write.value;
    for (const auto& [event, write] : known) {
      for (const Event& earlier : write.past) result.erase(earlier);
    }
    return result;
  }
  std::map<std::uint64_t, std::uint64_t> seen() const {
    std::map<std::uint64_t, std::uint64_t> result;
    for (const auto& [event, write] : known) result[event.first] = event.second;  // rising
    return result;
  }
};

struct History {
  std::array<MultiValue<Text>, 3> replicas;
  std::array<NaiveReplica, 3> twins;
  std::array<std::uint64_t, 3> clocks{};  // only each writer's own time rises: the weakest premise

  void step(const Bytes& bytes) {
    const std::size_t self = bytes[1] % 3;
    const std::size_t other = bytes[2] % 3;
    if (bytes[0] % 2 == 0) {
      clocks[self] += 1 + bytes[3] % 4;
      const Text value(1, 'a' + bytes[2] % 4);
      replicas[self].assign(Stamp{clocks[self], NodeId{self}}, value);
      twins[self].assign({self, clocks[self]}, value);
    } else {
      replicas[self].join(replicas[other]);
      twins[self].join(twins[other]);
    }
  }
};

TEST_CASE("MultiValue shows what the full history with happens-before shows, after every step") {
  CHECK(rc::check([](const Steps& steps) {
    History history;
    for (const Bytes& bytes : steps) {
      history.step(bytes);
      const std::size_t self = bytes[1] % 3;
      const MultiValue<Text>& reg = history.replicas[self];
      std::map<NaiveReplica::Event, Text> visible;
      Stamp last;
      for (const auto& sibling : reg.siblings()) {
        RC_ASSERT(visible.empty() || last < sibling.dot);
        last = sibling.dot;
        visible[{sibling.dot.writer.value, sibling.dot.time}] = sibling.value;
      }
      RC_ASSERT(visible == history.twins[self].visible());
      std::map<std::uint64_t, std::uint64_t> seen;
      for (const auto& [writer, time] : reg.seen()) seen[writer.value] = time;
      RC_ASSERT(seen == history.twins[self].seen());
    }
  }));
}

TEST_CASE("MultiValue is a semilattice over states of one history, and its hash tells them apart") {
  CHECK(rc::check([](const Steps& steps) {
    History history;
    for (const Bytes& bytes : steps) history.step(bytes);
    const auto& [a, b, c] = history.replicas;
    assert_lattice_laws(a, b, c);
    RC_ASSERT((entry_hash(a) == entry_hash(b)) == (a == b));
  }));
}

TEST_CASE("riak_dt PR 82: present on both sides does not mean present") {
  MultiValue<Text> a, b;
  a.assign(Stamp{1, kA}, "x");
  b.assign(Stamp{1, kB}, "x");
  const MultiValue<Text> c = a;
  a.assign(Stamp{2, kA}, "");  // a removes x
  a.join(b);
  b.assign(Stamp{2, kB}, "");  // b removes x
  MultiValue<Text> merged = b;
  merged.join(joined(a, c));
  CHECK(values(merged) == std::vector<Text>{"", ""});
}

TEST_CASE("riak_dt PR 78: an equal clock is no licence to take one side whole") {
  MultiValue<Text> a, b;
  a.assign(Stamp{1, kA}, "x");
  b.assign(Stamp{1, kB}, "y");
  MultiValue<Text> both = joined(a, b);
  MultiValue<Text> resolved = both;
  resolved.assign(Stamp{2, kC}, "z");
  CHECK(values(joined(both, both)) == std::vector<Text>{"x", "y"});
  CHECK(values(joined(both, resolved)) == std::vector<Text>{"z"});
  CHECK(values(joined(resolved, both)) == std::vector<Text>{"z"});
}

TEST_CASE("riak_kv 814: one dot with two values loses neither the dot nor the agreement") {
  MultiValue<Text> one, two;
  one.assign(Stamp{1, kA}, "x");
  two.assign(Stamp{1, kA}, "y");
  CHECK(values(joined(one, two)) == std::vector<Text>{"y"});
  CHECK(values(joined(two, one)) == std::vector<Text>{"y"});
}

TEST_CASE("concurrent edits stay visible, the greatest stamp acts, the next edit resolves") {
  MultiValue<Text> a, b;
  CHECK(a.chosen() == nullptr);
  a.assign(Stamp{5, kA}, "dualmap");
  b.assign(Stamp{9, kB}, "round_robin");
  a.join(b);
  b.join(a);
  CHECK(a == b);
  CHECK(a.siblings().size() == 2);
  REQUIRE(a.chosen() != nullptr);
  CHECK(*a.chosen() == "round_robin");
  a.assign(Stamp{10, kA}, "dualmap");
  CHECK(b.join(a));
  CHECK(values(b) == std::vector<Text>{"dualmap"});
}

TEST_CASE("a register restored from its parts is the register") {
  CHECK(rc::check([](const Steps& steps) {
    History history;
    for (const Bytes& bytes : steps) history.step(bytes);
    for (const auto& reg : history.replicas) {
      RC_ASSERT(MultiValue<Text>::restore(reg.siblings(), reg.seen()) == reg);
    }
  }));
}

TEST_CASE("restoring from disordered parts gives a proper register") {
  using Register = MultiValue<Text>;
  const auto reg = Register::restore(
      {{Stamp{9, kB}, "late"}, {Stamp{4, kA}, "x"}, {Stamp{4, kA}, "y"}}, {{kB, 3}, {kC, 7}});
  CHECK(values(reg) == std::vector<Text>{"y", "late"});
  CHECK(reg.seen() == Register::Seen{{kA, 4}, {kB, 9}, {kC, 7}});
  CHECK(joined(reg, reg) == reg);
}

}  // namespace
}  // namespace dualmesh::crdt
