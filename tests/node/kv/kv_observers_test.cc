#include "node/kv/kv_observers.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

using namespace dualmesh;
using namespace dualmesh::node;

namespace {

using Orders = std::vector<std::vector<crdt::NodeId>>;

struct Scene {
  explicit Scene(std::uint64_t seed, std::size_t streams, std::size_t nodes) : random(seed) {
    while (names.size() < streams) names.push_back(random());
    while (all.size() < nodes) all.push_back({random()});
  }
  Orders orders(std::uint32_t observers, const KvObservers::Able& able) const {
    KvObservers plan;
    plan.set(names, all, observers);
    return plan.orders(able);
  }
  Orders orders(std::uint32_t observers) const {
    return orders(observers, [](std::size_t, crdt::NodeId) { return true; });
  }
  std::mt19937_64 random;
  std::vector<std::uint64_t> names;
  std::vector<crdt::NodeId> all;
};

std::map<crdt::NodeId, std::size_t> loads_of(const Scene& scene, const Orders& orders,
                                             std::size_t role) {
  std::map<crdt::NodeId, std::size_t> loads;
  for (const crdt::NodeId node : scene.all) loads[node] = 0;
  for (const auto& order : orders) ++loads[order[role]];
  return loads;
}

std::size_t spread(const std::map<crdt::NodeId, std::size_t>& loads) {
  const auto [least, most] = std::minmax_element(
      loads.begin(), loads.end(), [](auto& a, auto& b) { return a.second < b.second; });
  return most->second - least->second;
}

bool observes(const std::vector<crdt::NodeId>& order, std::size_t observers, crdt::NodeId node) {
  const auto end = order.begin() + static_cast<std::ptrdiff_t>(std::min(observers, order.size()));
  return std::find(order.begin(), end, node) != end;
}

// How many streams' observers are none any more, of the streams that both name.
std::size_t given_up(const Orders& before, const Orders& after, std::size_t observers) {
  std::size_t moved = 0;
  for (std::size_t i = 0; i < std::min(before.size(), after.size()); ++i) {
    for (std::size_t role = 0; role < observers; ++role) {
      moved += !observes(after[i], observers, before[i][role]);
    }
  }
  return moved;
}

}  // namespace

TEST_CASE("Of each role every node has as many streams as any other, or one more") {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    CAPTURE(seed);
    std::mt19937_64 dice(seed);
    const Scene scene(seed, 1 + dice() % 200, 1 + dice() % 20);
    const std::size_t roles = std::min<std::size_t>(2, scene.all.size());
    const Orders orders = scene.orders(2);
    for (std::size_t role = 0; role < roles; ++role) {
      CHECK(spread(loads_of(scene, orders, role)) <= 1);
    }
    for (const auto& order : orders) {
      CHECK(std::set(order.begin(), order.end()).size() == scene.all.size());
    }
  }
}

TEST_CASE("Whoever knows the same says the same, in whatever order it knows it") {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    CAPTURE(seed);
    const Scene scene(seed, 61, 2 + seed % 9);
    const auto able = [](std::uint64_t name, crdt::NodeId node) {
      return (name ^ node.value) % 5 != 0;
    };
    Scene other = scene;
    std::shuffle(other.all.begin(), other.all.end(), other.random);
    std::vector<std::size_t> places(scene.names.size());
    for (std::size_t i = 0; i < places.size(); ++i) places[i] = i;
    std::shuffle(places.begin(), places.end(), other.random);
    for (std::size_t i = 0; i < places.size(); ++i) other.names[i] = scene.names[places[i]];
    const auto observers = static_cast<std::uint32_t>(1 + seed % 4);
    const Orders here = scene.orders(
        observers, [&](std::size_t i, crdt::NodeId node) { return able(scene.names[i], node); });
    const Orders there = other.orders(
        observers, [&](std::size_t i, crdt::NodeId node) { return able(other.names[i], node); });
    for (std::size_t i = 0; i < places.size(); ++i) CHECK(there[i] == here[places[i]]);
  }
}

TEST_CASE("When a node dies or joins, its share moves, and little else") {
  for (const std::uint32_t observers : {1U, 2U}) {
    for (const std::size_t nodes : {3U, 8U, 16U}) {
      std::size_t in_all = 0;
      for (std::uint64_t seed = 1; seed <= 100; ++seed) {
        CAPTURE(nodes);
        CAPTURE(seed);
        const Scene scene(seed, 64, nodes);
        Scene fewer = scene;
        fewer.all.pop_back();
        const Orders before = scene.orders(observers), after = fewer.orders(observers);
        std::size_t own = 0;
        for (std::size_t i = 0; i < before.size(); ++i) {
          own += observes(before[i], observers, scene.all.back());
        }
        const std::size_t moved = given_up(before, after, observers);
        CHECK(moved >= own);
        CHECK(moved - own <= 16 * observers);  // of 64
        in_all += moved - own;
      }
      CHECK(in_all <= 100 * 10 * observers);
    }
  }
}

TEST_CASE("When a stream comes or goes, few others move") {
  for (const std::uint32_t observers : {1U, 2U}) {
    std::size_t in_all = 0;
    for (std::uint64_t seed = 1; seed <= 100; ++seed) {
      CAPTURE(seed);
      const Scene scene(seed, 65, 8);
      Scene fewer = scene;
      fewer.names.pop_back();
      const std::size_t moved =
          given_up(fewer.orders(observers), scene.orders(observers), observers);
      CHECK(moved <= 10 * observers);
      in_all += moved;
    }
    CHECK(in_all <= 100 * 3 * observers);
  }
}

TEST_CASE("Who cannot observe a stream goes behind, and no other stream moves") {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    CAPTURE(seed);
    Scene scene(seed, 40, 2 + seed % 7);
    const Orders all_able = scene.orders(2);
    const std::size_t stream = scene.random() % 40;
    const crdt::NodeId bad = all_able[stream][scene.random() % 2];
    const Orders orders = scene.orders(
        2, [&](std::size_t i, crdt::NodeId node) { return i != stream || node != bad; });
    for (std::size_t i = 0; i < orders.size(); ++i) {
      if (i != stream) CHECK(orders[i] == all_able[i]);
    }
    CHECK(orders[stream].back() == bad);
    if (all_able[stream][0] == bad) CHECK(orders[stream][0] == all_able[stream][1]);
  }
}

TEST_CASE("Where each half of the nodes reaches half of the engines, the halves are balanced") {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    CAPTURE(seed);
    const Scene scene(seed, 64, 8);
    const auto is_left = [&](crdt::NodeId node) {
      return std::find(scene.all.begin(), scene.all.begin() + 4, node) != scene.all.begin() + 4;
    };
    const Orders orders = scene.orders(
        1, [&](std::size_t i, crdt::NodeId node) { return is_left(node) == (i < 32); });
    for (std::size_t i = 0; i < 64; ++i) CHECK(is_left(orders[i][0]) == (i < 32));
    for (const auto& [node, load] : loads_of(scene, orders, 0)) CHECK(load <= 9);
  }
}

TEST_CASE("Where nobody is able, or there is one node, there is an order all the same") {
  const Scene scene(1, 10, 5);
  const Orders able = scene.orders(2);
  CHECK(scene.orders(2, [](std::size_t, crdt::NodeId) { return false; }) == able);
  const Scene alone(2, 10, 1);
  for (const auto& order : alone.orders(UINT32_MAX)) CHECK(order == alone.all);
  CHECK(Scene(3, 0, 4).orders(2).empty());
}
