#include "policies/depth_table.h"

#include <doctest/doctest.h>

#include <deque>
#include <map>
#include <random>

#include "tests/policies/fleet_builder.h"

using namespace dualmesh::policies;
using namespace std::chrono_literals;

namespace {

// Routes one request, as the scheduler does, and returns the depth it was routed at.
std::uint32_t route(DepthTable& table, const PromptChain& chain, const DepthMarks* shared = nullptr,
                    Time now = 0s) {
  const std::uint32_t depth = table.depth_of(chain, shared, now);
  table.observe(chain, depth, shared, now);
  return depth;
}

std::uint64_t fresh = 1'000;
PromptChain unique_below(std::uint64_t first) { return chain_of({first, ++fresh, ++fresh}); }

}  // namespace

TEST_CASE("all requests share block 0: from the 20th sample on they are told apart by block 1") {
  DepthTable table({});
  for (int i = 1; i <= 20; ++i) CHECK(route(table, unique_below(0)) == 1);
  // The 20th observation found block 0 in 20 of 20, over 6.12 %.
  for (int i = 21; i <= 200; ++i) CHECK(route(table, unique_below(0)) == 2);
  CHECK(table.size() == 1);
}

TEST_CASE("hot is judged by the share of the window, by hand") {
  // Window of 20, hot from a quarter on: 5 of 20.
  DepthTable table({20, 20, 0.25, 0.02, 10});
  const PromptChain tested = chain_of({7, 8, 9});
  for (int i = 0; i < 16; ++i) CHECK(route(table, unique_below(++fresh)) == 1);
  for (int i = 0; i < 3; ++i) CHECK(route(table, tested) == 1);  // 19 samples: not decided yet
  CHECK(route(table, tested) == 1);                              // 20 samples, 4 of 20: 20 %
  CHECK(table.size() == 0);
  CHECK(route(table, tested) == 1);  // an old one left the window, 5 of 20: hot now
  CHECK(table.size() == 1);
  CHECK(route(table, tested) == 2);
}

TEST_CASE("a mark goes at once when the key one shallower has gone cold") {
  // Cold below a tenth of 20: fewer than 2 of 20.
  DepthTable table({20, 20, 0.25, 0.1, 10});
  const PromptChain tested = chain_of({7, 8, 9});
  for (int i = 0; i < 15; ++i) route(table, unique_below(++fresh));
  for (int i = 0; i < 5; ++i) route(table, tested);
  REQUIRE(table.depth_of(tested, nullptr, 0s) == 2);
  // The window ends with five times block 7. 17 others leave three of those, the two observations
  // of a request at depth 2 push out two more: one is left, and the new one.
  for (int i = 0; i < 17; ++i) route(table, unique_below(++fresh));
  CHECK(route(table, tested) == 2);
  CHECK(table.size() == 1);
  for (int i = 0; i < 19; ++i) route(table, unique_below(++fresh));
  CHECK(route(table, tested) == 2);  // routed deeper once more, and found alone in the window
  CHECK(table.size() == 0);
  CHECK(route(table, tested) == 1);
}

TEST_CASE("no key is deeper than the whole prompt") {
  DepthTable table({});
  for (int i = 0; i < 400; ++i) route(table, chain_of({1, 2, 3}));
  CHECK(table.depth_of(chain_of({1, 2, 3}), nullptr, 0s) == 3);
  CHECK(table.depth_of(chain_of({1, 2}), nullptr, 0s) == 2);
  CHECK(table.depth_of(chain_of({1}), nullptr, 0s) == 1);
  CHECK(table.depth_of(PromptChain{}, nullptr, 0s) == 1);
  PromptChain partial = chain_of({1, 2});
  partial.whole = 4711;  // a third, partial block
  CHECK(table.depth_of(partial, nullptr, 0s) == 3);
}

TEST_CASE("a level keeps its most recently used marks") {
  // Everything repeated twice within a window of 4 is hot at once.
  DepthTable table({4, 1, 0.5, 0.0, 3});
  const auto heat = [&](std::uint64_t block) {
    for (int i = 0; i < 3; ++i) table.observe(chain_of({block, 0}), 1, nullptr, 0s);
  };
  for (const std::uint64_t block : {1, 2, 3}) heat(block);
  CHECK(table.size() == 3);
  heat(1);  // used again
  heat(4);
  CHECK(table.size() == 3);
  CHECK(table.depth_of(chain_of({1, 0}), nullptr, 0s) == 2);
  CHECK(table.depth_of(chain_of({2, 0}), nullptr, 0s) == 1);  // the least recently used
  CHECK(table.depth_of(chain_of({4, 0}), nullptr, 0s) == 2);
}

TEST_CASE("alone, the table does what the rule says, step by step") {
  // The rule once more, in its plainest form.
  struct Naive {
    std::deque<BlockKey> window;
    std::map<BlockKey, std::uint32_t> marks;
    double share(BlockKey key) {
      window.push_back(key);
      if (window.size() > 200) window.pop_front();
      return static_cast<double>(std::count(window.begin(), window.end(), key)) /
             static_cast<double>(window.size());
    }
    std::uint32_t route(const PromptChain& chain) {
      std::uint32_t depth = 1;
      while (depth < chain.blocks.size() && marks.contains(chain.blocks[depth - 1])) ++depth;
      const double own = share(chain.blocks[depth - 1]);
      if (window.size() >= 20 && own >= 0.0612 && depth < chain.blocks.size()) {
        marks[chain.blocks[depth - 1]] = depth + 1;
      }
      if (depth > 1) {
        const double shallower = share(chain.blocks[depth - 2]);
        if (window.size() >= 20 && shallower < 0.02) marks.erase(chain.blocks[depth - 2]);
      }
      return depth;
    }
  };
  std::mt19937 random(23);
  DepthTable table({});
  Naive naive;
  std::uint64_t hot = 0;
  std::map<std::uint32_t, int> seen;
  for (int i = 0; i < 20'000; ++i) {
    if (i % 500 == 0) hot = random() % 50;  // the hot spot moves
    std::vector<std::uint64_t> blocks{random() % 3 == 0 ? hot : random() % 50};
    for (std::size_t depth = 1 + random() % 5; blocks.size() < depth;) {
      blocks.push_back(random() % 2);
    }
    const PromptChain chain = chain_of(blocks);
    const std::uint32_t depth = route(table, chain);
    REQUIRE(depth == naive.route(chain));
    ++seen[depth];
  }
  CHECK(table.size() == naive.marks.size());
  CHECK(seen.size() >= 3);  // the history went through several depths
}

TEST_CASE("the digest is that of the marks, whatever their history") {
  DepthTable one({4, 1, 0.5, 0.0, 10});
  DepthTable two({4, 1, 0.5, 0.0, 10});
  const auto heat = [](DepthTable& table, std::uint64_t block) {
    for (int i = 0; i < 3; ++i) table.observe(chain_of({block, 0}), 1, nullptr, 0s);
  };
  CHECK(one.digest() == two.digest());
  heat(one, 1);
  CHECK(one.digest() != two.digest());
  heat(one, 2);
  heat(two, 2);
  heat(two, 1);
  CHECK(one.digest() == two.digest());
}

TEST_CASE("marks of the mesh count beside the own ones") {
  DepthTable table({});
  DepthMarks shared;
  const PromptChain chain = chain_of({1, 2, 3});
  CHECK(table.depth_of(chain, &shared, 0s) == 1);
  shared.deeper[chain.blocks[0]] = 2;
  CHECK(table.depth_of(chain, &shared, 0s) == 2);
  shared.deeper[chain.blocks[1]] = 3;
  CHECK(table.depth_of(chain, &shared, 0s) == 3);
  CHECK(table.depth_of(chain, nullptr, 0s) == 1);
}

TEST_CASE("nonsense among the shared marks ends the search and breaks nothing") {
  DepthTable table({});
  DepthMarks shared;
  const PromptChain chain = chain_of({1, 2, 3});
  shared.deeper[chain.blocks[0]] = 1;
  CHECK(route(table, chain, &shared) == 1);
  shared.deeper[chain.blocks[0]] = 0;
  CHECK(route(table, chain, &shared) == 1);
  shared.deeper[chain.blocks[0]] = 0xffffffff;
  CHECK(route(table, chain, &shared) == 3);
}

TEST_CASE("a mark is proposed when made and again while it is warm, not more often than needed") {
  DepthTable table({});
  DepthMarks none;
  std::vector<DepthProposal> out;
  for (int i = 0; i < 20; ++i) route(table, unique_below(0), &none, 0s);
  table.take_proposals(out);
  const PromptChain sample = chain_of({0});
  REQUIRE(out.size() == 1);
  CHECK(out[0].key == sample.blocks[0]);
  CHECK(out[0].deeper == 2);

  // The mesh has it now. In use all the time: proposed again once in 20 s.
  DepthMarks shared;
  shared.deeper[sample.blocks[0]] = 2;
  out.clear();
  for (int second = 1; second <= 60; ++second) {
    for (int i = 0; i < 10; ++i) route(table, unique_below(0), &shared, second * 1s);
  }
  table.take_proposals(out);
  CHECK(out.size() == 3);

  // Gone cold: used, but no longer proposed. Another node's refusal to refresh lets it expire.
  out.clear();
  for (int second = 61; second <= 200; ++second) {
    for (int i = 0; i < 100; ++i) route(table, unique_below(++fresh), &shared, second * 1s);
    if (second % 10 == 0) CHECK(route(table, unique_below(0), &shared, second * 1s) == 2);
  }
  table.take_proposals(out);
  CHECK(out.size() <= 1);  // the first use after the change still found it warm at most once
  CHECK(table.size() == 0);
}

TEST_CASE("a mark that other nodes made is kept alive by whoever uses it") {
  DepthTable table({});
  DepthMarks shared;
  const PromptChain sample = chain_of({0, 0});
  shared.deeper[sample.blocks[0]] = 2;
  shared.deeper[sample.blocks[1]] = 3;
  std::vector<DepthProposal> out;
  for (int i = 0; i < 10; ++i) {
    CHECK(route(table, chain_of({0, 0, ++fresh}), &shared, 1s) == 3);
  }
  table.take_proposals(out);
  // Both marks on the way, once each.
  REQUIRE(out.size() == 2);
  CHECK(out[0].key == sample.blocks[0]);
  CHECK(out[1].key == sample.blocks[1]);
}

TEST_CASE("with peers an own mark that the mesh has let go does not linger") {
  DepthTable table({});
  const DepthMarks none;
  for (int i = 0; i < 20; ++i) route(table, unique_below(0), &none, 0s);
  CHECK(table.depth_of(chain_of({0, 1}), &none, 1s) == 2);   // until the mesh has had time to hear
  CHECK(table.depth_of(chain_of({0, 1}), &none, 60s) == 1);  // the mesh decided otherwise
  CHECK(table.depth_of(chain_of({0, 1}), nullptr, 60s) == 2);  // alone it would still stand
}

TEST_CASE("proposals nobody takes are bounded, and made again later") {
  DepthTable table({1, 1, 0.5, 0.0, 100'000});
  for (std::uint64_t i = 0; i < DepthTable::kMaxProposals + 100; ++i) {
    table.observe(chain_of({++fresh, 0}), 1, nullptr, 0s);
  }
  const std::uint64_t last = fresh;
  std::vector<DepthProposal> out;
  table.take_proposals(out);
  CHECK(out.size() == DepthTable::kMaxProposals);
  out.clear();
  table.observe(chain_of({last, 0}), 1, nullptr, 0s);
  table.take_proposals(out);
  CHECK(out.size() == 1);
}
