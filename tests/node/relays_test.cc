#include "node/mesh/relays.h"

#include <doctest/doctest.h>

using namespace dualmesh;
using node::Relays;

namespace {

constexpr crdt::NodeId kW{10}, kR{20}, kS{30};

policies::Time ms(std::int64_t n) { return std::chrono::milliseconds(n); }

}  // namespace

TEST_CASE("a writer that speaks itself needs no relay") {
  Relays relays;
  for (int t = 0; t < 5'000; t += 250) {
    relays.told(kW, ms(t));
    relays.tick({kW, kR}, {kR}, ms(t));
    CHECK_FALSE(relays.relay_of(kW));
    relays.told(kR, ms(t));
  }
  CHECK(relays.hears(kW, ms(5'000)));
  CHECK(relays.unheard(ms(5'000)).empty());
}

TEST_CASE("after a second of silence a relay is asked, and kept while it says that it relays") {
  Relays relays;
  for (int t = 0; t <= 6'000; t += 250) {
    relays.tick({kW, kR, kS}, {kR, kS}, ms(t));
    relays.told(kR, ms(t));
    relays.told(kS, ms(t));
    CHECK(relays.relay_of(kW).has_value() == (t >= 1'000));
    if (relays.relay_of(kW)) {
      CHECK(relays.wanted_of(*relays.relay_of(kW)) == std::vector<crdt::NodeId>{kW});
      relays.relayed(*relays.relay_of(kW), {kW}, ms(t + 10));
      CHECK(relays.relay_of(kW) == kR);
    }
    CHECK(relays.unheard(ms(t)).empty());
  }
  CHECK(relays.wanted_of(kS).empty());
  relays.told(kW, ms(6'100));
  relays.tick({kW, kR, kS}, {kR, kS}, ms(6'250));
  CHECK_FALSE(relays.relay_of(kW));
}

TEST_CASE("a relay that does not hear the writer either makes room for the next, in a circle") {
  Relays relays;
  std::vector<crdt::NodeId> asked;
  for (int t = 0; t <= 5'000; t += 250) {
    relays.told(kR, ms(t));
    relays.told(kS, ms(t));
    relays.tick({kW, kR, kS}, {kR, kS}, ms(t));
    const auto relay = relays.relay_of(kW);
    if (relay && (asked.empty() || asked.back() != *relay)) asked.push_back(*relay);
  }
  CHECK(asked == std::vector<crdt::NodeId>{kR, kS, kR, kS, kR});
  CHECK(relays.unheard(ms(5'000)) == Relays::Nodes{kW});
}

TEST_CASE("a relay is never the writer itself, nor one without a link") {
  Relays relays;
  relays.tick({kW}, {kW}, ms(0));
  relays.tick({kW}, {kW}, ms(500));
  relays.tick({kW}, {kW}, ms(1'200));
  CHECK_FALSE(relays.relay_of(kW));
  relays.tick({kW, kR}, {kW, kR}, ms(1'400));
  CHECK(relays.relay_of(kW) == kR);
  relays.tick({kW, kR, kS}, {kW, kS}, ms(1'600));
  CHECK(relays.relay_of(kW) == kS);
}

TEST_CASE("what is not asked of a relay does not count, and the dead are forgotten") {
  Relays relays;
  relays.tick({kW, kR}, {kR}, ms(0));
  relays.relayed(kR, {kW}, ms(900));
  relays.told(kR, ms(2'400));
  relays.tick({kW, kR}, {kR}, ms(800));
  relays.tick({kW, kR}, {kR}, ms(1'600));
  relays.tick({kW, kR}, {kR}, ms(2'500));
  CHECK(relays.unheard(ms(2'500)) == Relays::Nodes{kW});
  relays.tick({kR}, {kR}, ms(2'600));
  CHECK(relays.unheard(ms(9'000)).count(kW) == 0);
}

TEST_CASE("our own sleep is nobody's silence") {
  Relays relays;
  relays.tick({kW, kR}, {kR}, ms(0));
  relays.told(kW, ms(100));
  relays.tick({kW, kR}, {kR}, ms(250));
  relays.tick({kW, kR}, {kR}, ms(10'250));
  CHECK_FALSE(relays.relay_of(kW));
  CHECK(relays.unheard(ms(10'250)).empty());
}
