#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>

#include "node/replay/generators.h"

namespace dualmesh::node {
namespace {

using policies::to_seconds;

TEST_CASE("every generator is a function of its size and seed, and keeps the rules of a workload") {
  for (const std::string& name : generator_names()) {
    CAPTURE(name);
    const GeneratedSize size{.requests = 800, .qps = 5, .seed = 4};
    const Workload a = generate(name, size);
    const Workload b = generate(name, size);
    REQUIRE(a.requests.size() == 800);
    bool same = true;
    bool ordered = true;
    bool whole = true;
    for (std::size_t i = 0; i < a.requests.size(); ++i) {
      const ReplayRequest& r = a.requests[i];
      same = same && r.blocks == b.requests[i].blocks && r.arrival == b.requests[i].arrival &&
             r.input_tokens == b.requests[i].input_tokens && r.user == b.requests[i].user;
      ordered = ordered && (i == 0 || r.arrival >= a.requests[i - 1].arrival);
      whole = whole && r.input_tokens > 0 && r.output_tokens > 0 &&
              r.blocks.size() == (r.input_tokens + kBlockTokens - 1) / kBlockTokens;
    }
    CHECK(same);
    CHECK(ordered);
    CHECK(whole);
    CHECK(mean_qps(a) > 3);  // few sessions make many requests
    CHECK(mean_qps(a) < 7.5);
    CHECK(generate(name, {.requests = 800, .qps = 5, .seed = 5}).requests[7].blocks !=
          a.requests[7].blocks);
    CHECK(a.notes.size() == 1);
  }
}

TEST_CASE("rag: popular documents follow the instruction, the question is of its own") {
  const Workload workload =
      generate("rag:documents=50,document_blocks=3,per_request=2,instruction_blocks=1,exponent=1",
               {.requests = 4000});
  std::map<std::uint64_t, int> first_documents;
  std::map<std::uint64_t, int> last_blocks;
  for (const ReplayRequest& request : workload.requests) {
    REQUIRE(request.blocks.size() >= 8);
    CHECK(request.blocks[0] == 0);
    CHECK(request.blocks[2] == request.blocks[1] + 1);
    ++first_documents[request.blocks[1]];
    ++last_blocks[request.blocks.back()];
  }
  CHECK(first_documents.size() == 50);
  CHECK(last_blocks.size() == 4000);
  // Of Zipf weights 1/1 ... 1/50 the first has 1/4.499: 889 of 4,000, give or take 28.
  CHECK(first_documents[1] > 889 - 5 * 28);
  CHECK(first_documents[1] < 889 + 5 * 28);
}

TEST_CASE("rag: a document behind another one is another prefix") {
  const Workload workload =
      generate("rag:documents=3,document_blocks=2,per_request=3,instruction_blocks=0,exponent=0",
               {.requests = 2000});
  std::map<std::uint64_t, std::uint64_t> before;  // by block
  std::set<std::vector<std::uint64_t>> prompts;
  for (const ReplayRequest& request : workload.requests) {
    REQUIRE(request.blocks.size() >= 7);
    for (std::size_t i = 1; i < 6; ++i) {
      const std::uint64_t expected = request.blocks[i - 1];
      CHECK(before.try_emplace(request.blocks[i], expected).first->second == expected);
    }
    prompts.emplace(request.blocks.begin(), request.blocks.begin() + 6);
  }
  CHECK(prompts.size() == 27);  // three documents, each as first, second and third
  CHECK(before.size() == 3 + 2 * 9 + 2 * 27);
}

TEST_CASE("zipf: the hot spot moves, and not at all when told so") {
  const auto hottest = [](const Workload& workload, double from_s, double to_s) {
    std::map<std::uint64_t, int> count;
    for (const ReplayRequest& request : workload.requests) {
      const double at_s = to_seconds(request.arrival);
      if (at_s >= from_s && at_s < to_s) ++count[request.blocks[0]];
    }
    return std::max_element(count.begin(), count.end(),
                            [](const auto& a, const auto& b) { return a.second < b.second; })
        ->first;
  };
  const GeneratedSize size{.requests = 3000, .qps = 10};
  const std::string knobs = "zipf:prefixes=100,prefix_blocks=2,exponent=1.2,shift_by=30,shift_s=";
  const Workload moving = generate(knobs + "100", size);
  CHECK(hottest(moving, 0, 100) == 0);
  CHECK(hottest(moving, 100, 200) == 2 * 30);
  CHECK(hottest(moving, 200, 280) == 2 * 60);
  const Workload still = generate(knobs + "0", size);
  CHECK(hottest(still, 0, 100) == 0);
  CHECK(hottest(still, 200, 280) == 0);
}

TEST_CASE("zipf: clients share their prefixes, or each has its own") {
  for (const bool own : {false, true}) {
    CAPTURE(own);
    const std::string knobs = "zipf:prefixes=20,prefix_blocks=2,clients=3,heavy=2,shift_s=0,own=";
    std::map<std::uint64_t, std::set<std::string>> users;  // by first block
    for (const ReplayRequest& request :
         generate(knobs + (own ? "1" : "0"), {.requests = 3000}).requests) {
      users[request.blocks[0]].insert(request.user);
      CHECK(request.blocks[1] == request.blocks[0] + 1);
    }
    CHECK(users.size() == (own ? 60 : 20));
    for (const auto& [block, names] : users) CHECK(names.size() == (own ? 1 : 3));
  }
}

TEST_CASE("uniform: nothing is shared; lengths are as asked") {
  const Workload workload = generate(
      "uniform:input_tokens=1000,output_tokens=50,spread=0,clients=4,heavy=3", {.requests = 3000});
  std::set<std::uint64_t> blocks;
  std::map<std::string, int> users;
  for (const ReplayRequest& request : workload.requests) {
    CHECK(request.input_tokens == 1000);
    CHECK(request.output_tokens == 50);
    blocks.insert(request.blocks.begin(), request.blocks.end());
    ++users[request.user];
  }
  CHECK(blocks.size() == 6000);
  // Client 0 sends three of six, the others one each; the standard deviation is below 28.
  REQUIRE(users.size() == 4);
  CHECK(std::abs(users["client-0"] - 1500) < 5 * 28);
  CHECK(std::abs(users["client-3"] - 500) < 5 * 28);
}

TEST_CASE("agents grow: each step of a session begins with the one before it") {
  const Workload workload = generate("agents", {.requests = 2000, .qps = 4});
  std::map<std::string, const ReplayRequest*> last;
  std::size_t steps = 0;
  for (const ReplayRequest& request : workload.requests) {
    const ReplayRequest*& before = last[request.user];
    if (before != nullptr) {
      ++steps;
      CHECK(request.input_tokens > before->input_tokens);
      CHECK(std::equal(before->blocks.begin(), before->blocks.end(), request.blocks.begin()));
    }
    before = &request;
  }
  CHECK(steps > 1500);
}

TEST_CASE("a wrong generator or knob: what is allowed") {
  CHECK(check_generator("zipf") == "");
  CHECK(check_generator("zipf:prefixes=10,shift_s=0") == "");
  CHECK(check_generator("chat") ==
        "there is no generator 'chat'; allowed: multi-turn agents rag zipf uniform");
  CHECK(check_generator("uniform:size=3") ==
        "uniform: there is no parameter 'size'; allowed: input_tokens output_tokens spread clients "
        "heavy");
  CHECK(check_generator("uniform:spread=2") ==
        "uniform: '2' is no value for spread (of both: 0 all equal, 1 exponential); allowed: 0 to "
        "1");
}

}  // namespace
}  // namespace dualmesh::node
