// Bucket sums: what the three versioned maps carry beside their digests, and how a comparison of
// two holders finds every key in which they differ.
#include <doctest/doctest.h>

#include <map>
#include <numeric>
#include <tuple>
#include <vector>

#include "crdt/feed.h"
#include "crdt/registers.h"
#include "crdt/table.h"
#include "crdt/window_feed.h"
#include "tests/crdt/laws.h"

namespace dualmesh::crdt {
namespace {

using Marks = Table<std::uint64_t, Max<std::uint64_t>>;
using Gauges = Feed<std::uint64_t, std::uint64_t>;
using Touched = WindowFeed<std::uint64_t>;

// Entries as text-free tuples, so that states of the three types compare alike.
using Contents = std::map<std::uint64_t, std::vector<std::uint64_t>>;

Contents in_buckets(const Marks& marks, const Buckets& buckets) {
  Contents found;
  marks.for_each_in(buckets, [&](std::uint64_t key, const auto& max) { found[key] = {max.value}; });
  return found;
}

Contents in_buckets(const Gauges& gauges, const Buckets& buckets) {
  Contents found;
  gauges.for_each_in(buckets, [&](std::uint64_t key, Version version, std::uint64_t value) {
    found[key] = {version.value, value};
  });
  return found;
}

Contents in_buckets(const Touched& touched, const Buckets& buckets) {
  Contents found;
  touched.for_each_in(buckets,
                      [&](std::uint64_t key, Version version) { found[key] = {version.value}; });
  return found;
}

template <class State>
Contents contents(const State& state) {
  return in_buckets(state, Buckets{}.set());
}

template <class State>
void assert_bucket_laws(const State& a, const State& b) {
  const Contents all_a = contents(a), all_b = contents(b);
  RC_ASSERT(all_a.size() == a.size());
  const auto sum = [](const State& state) {
    return std::accumulate(state.bucket_sums().begin(), state.bucket_sums().end(),
                           std::uint64_t{0});
  };
  RC_ASSERT(sum(a) == a.digest().sum);
  RC_ASSERT((a.bucket_sums() == b.bucket_sums()) == (all_a == all_b));

  const Buckets differing = differing_buckets(a.bucket_sums(), b.bucket_sums());
  RC_ASSERT(differing == differing_buckets(b.bucket_sums(), a.bucket_sums()));
  const Contents listed_a = in_buckets(a, differing), listed_b = in_buckets(b, differing);
  for (const auto& [all, listed, others] :
       {std::tie(all_a, listed_a, all_b), std::tie(all_b, listed_b, all_a)}) {
    for (const auto& [key, entry] : all) {
      const auto other = others.find(key);
      const bool differs = other == others.end() || other->second != entry;
      if (differs) RC_ASSERT(listed.contains(key));
    }
  }
  // What only the bucket brought along is listed by both sides, so it does not show as different.
  for (const auto& [key, entry] : listed_a) {
    const auto other = all_b.find(key);
    if (other != all_b.end() && other->second == entry) RC_ASSERT(listed_b.contains(key));
  }
}

TEST_CASE("bucket sums of tables are equal exactly when the states are, and find what differs") {
  CHECK(rc::check([](const Steps& steps, std::uint8_t drop) {
    Marks a, b;
    for (const auto& bytes : steps) {
      Marks& one = bytes[0] % 2 == 0 ? a : b;
      one.join(bytes[1] % 32, {std::uint64_t{bytes[2]} % 4});
      if (bytes[3] % 4 == 0) (&one == &a ? b : a).apply(one.delta_since({}, 100), [](auto&&...) {});
    }
    assert_bucket_laws(a, b);
    a.forget_if([&](std::uint64_t key, const auto&) { return key < drop % 32; });
    assert_bucket_laws(a, b);
  }));
}

TEST_CASE("bucket sums of feeds are equal exactly when the states are, and find what differs") {
  CHECK(rc::check([](const Steps& steps, std::uint8_t at) {
    Gauges writer, replica;
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const auto& bytes = steps[i];
      bytes[0] % 4 == 0 ? writer.erase(bytes[1] % 32) : writer.put(bytes[1] % 32, bytes[2] % 4);
      if (bytes[3] % 8 == 0) writer.collect(replica.version());
      if (i % 8 == at % 8) replica.apply(writer.delta_since(replica.version(), 5));
    }
    assert_bucket_laws(writer, replica);
    replica.apply(writer.delta_since(replica.version(), 1'000));
    RC_ASSERT(replica.bucket_sums() == writer.bucket_sums());
  }));
}

TEST_CASE(
    "bucket sums of window feeds are equal exactly when the states are, and find what differs") {
  CHECK(rc::check([](const Steps& steps, std::uint8_t at) {
    const auto ignore = [](std::uint64_t) {};
    Touched writer, replica;
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const auto& bytes = steps[i];
      writer.touch(bytes[1] % 32);
      if (bytes[3] % 4 == 0) writer.expire(Version{writer.version().value - bytes[2] % 8});
      if (i % 8 == at % 8) {
        replica.apply(writer.delta_since(replica.version(), 5), ignore, ignore);
      }
    }
    assert_bucket_laws(writer, replica);
    replica.apply(writer.delta_since(replica.version(), 1'000), ignore, ignore);
    RC_ASSERT(replica.bucket_sums() == writer.bucket_sums());
  }));
}

TEST_CASE("a handful of differences among many entries lists a handful of buckets") {
  Marks a, b;
  for (std::uint64_t key = 0; key < 10'000; ++key) {
    a.join(key, {1});
    b.join(key, {1});
  }
  b.join(77, {2});
  const Buckets differing = differing_buckets(a.bucket_sums(), b.bucket_sums());
  CHECK(differing.count() == 2);  // of the old form and of the new
  const Contents listed = in_buckets(a, differing);
  CHECK(listed.contains(77));
  CHECK(listed.size() < 200);  // about 10,000 / 256 a bucket
}

}  // namespace
}  // namespace dualmesh::crdt
