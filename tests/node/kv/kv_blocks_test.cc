// A cache as comparisons between nodes see it.
#include <capnp/message.h>
#include <doctest/doctest.h>

#include <vector>

#include "net/admin.capnp.h"
#include "node/kv/kv_state.h"
#include "node/mesh/admin_kv.h"

using namespace dualmesh;
using namespace dualmesh::node;

namespace {

struct Told {
  Told(const StreamCut& cut, std::vector<std::uint8_t> buckets) {
    write_kv_blocks(cut, {buckets.data(), buckets.size()}, results);
    for (const std::uint64_t sum : results.getSums()) all += sum;
  }
  capnp::MallocMessageBuilder message;
  wire::Admin::KvBlocksResults::Builder results = message.initRoot<wire::Admin::KvBlocksResults>();
  std::uint64_t all = 0;
};

}  // namespace

TEST_CASE("nodes of which one knows that the instance was away differ, in a row that says so") {
  StreamCut cut;
  cut.position = {.epoch = {5}, .end = {3}};
  for (std::uint64_t key = 1; key <= 40; ++key) {
    cut.entries.emplace_back(key, BlockMap::Entry{.value = {key, 0, {}}, .added = 1});
  }
  const std::vector<std::uint8_t> every(32, 0xff), none;
  Told before(cut, every);
  CHECK(before.results.getRows().size() == 40);
  cut.position.away = {3};
  Told after(cut, every);
  CHECK(after.all == before.all + away_hash({3}));
  CHECK(away_hash({3}) != away_hash({4}));
  REQUIRE(after.results.getRows().size() == 41);
  CHECK(after.results.getRows()[40].getKey() == "away");
  CHECK(Told(cut, none).all == after.all);
  CHECK(Told(cut, none).results.getRows().size() == 0);
}
