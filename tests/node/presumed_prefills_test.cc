// PresumedPrefills: each that counts at its time, in order, and what has lapsed does not pile up.
#include "node/router/presumed_prefills.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <boost/unordered/unordered_flat_set.hpp>
#include <future>
#include <random>

#include "tests/node/router_support.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace std::chrono_literals;
using Entry = PresumedPrefills::Entry;

namespace {

// On one I/O thread; the clock stands, so that times come by the loop's timer alone.
class Scene {
 public:
  ~Scene() { threads_.stop(); }
  void run(const std::function<void()>& work) {
    std::promise<void> done;
    threads_.at(0).post([&] {
      work();
      done.set_value();
    });
    done.get_future().wait();
  }
  std::vector<policies::RequestId> over() {
    std::vector<policies::RequestId> ids;
    run([&] { ids = over_; });
    return ids;
  }

  net::IoThreads threads_{1};
  boost::unordered_flat_set<policies::RequestId> counting;
  std::vector<policies::RequestId> over_;
  PresumedPrefills prefills{threads_.at(0), [] { return policies::Time(1s); },
                            [this](const Entry& entry) { return counting.contains(entry.id); },
                            [this](const Entry& entry) { over_.push_back(entry.id); }};
};

}  // namespace

TEST_CASE("those that count are over in the order of their times, the others never") {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    std::vector<policies::RequestId> ids(60);
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = i + 1;
    Scene scene;
    std::vector<policies::RequestId> expected;
    for (const policies::RequestId id : ids) {
      if (id != ids.back() && random() % 2 == 0) continue;
      scene.counting.insert(id);
      expected.push_back(id);
    }
    std::shuffle(ids.begin(), ids.end(), random);
    scene.run([&] {
      for (const policies::RequestId id : ids) {
        scene.prefills.add({1s + std::chrono::microseconds(100 * id), id, 1}, 1s);
      }
    });
    CHECK(testing::eventually([&] { return scene.over().size() >= expected.size(); }));
    CHECK(scene.over() == expected);
    scene.run([&] { CHECK(scene.prefills.size() == 0); });
  }
}

TEST_CASE("one that is added as another is over has its own time") {
  Scene scene;
  scene.counting = {1, 2};
  PresumedPrefills* again = nullptr;
  std::vector<policies::RequestId> over;
  PresumedPrefills prefills{scene.threads_.at(0), [] { return policies::Time(1s); },
                            [](const Entry&) { return true; },
                            [&](const Entry& entry) {
                              over.push_back(entry.id);
                              if (entry.id < 5) again->add({1s + 1ms, entry.id + 1, 1}, 1s);
                            }};
  again = &prefills;
  scene.run([&] { prefills.add({1s + 1ms, 1, 1}, 1s); });
  const auto seen = [&] {
    std::size_t count = 0;
    scene.run([&] { count = over.size(); });
    return count;
  };
  CHECK(testing::eventually([&] { return seen() == 5; }));
  scene.run([&] { CHECK(prefills.size() == 0); });
  scene.threads_.stop();
}

TEST_CASE("what has lapsed does not pile up") {
  Scene scene;
  constexpr std::size_t kLive = 100;
  std::size_t most = 0;
  scene.run([&] {
    for (policies::RequestId id = 1; id <= 100'000; ++id) {
      scene.counting.insert(id);
      if (id > kLive) scene.counting.erase(id - kLive);
      scene.prefills.add({1h, id, 1}, 1s);
      most = std::max(most, scene.prefills.size());
    }
  });
  CHECK(most <= 2 * (kLive + 1) + PresumedPrefills::kSpare);
}
