// PredictionCheck: how far off, and in words; HitAudit: what an engine has lost is not predicted.
#include "node/router/prediction_check.h"

#include <doctest/doctest.h>

#include "node/router/hit_audit.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace std::chrono_literals;
using policies::HitSource;

namespace {

constexpr CachePrediction kPromised{HitSource::exact, 640, 16};

std::string after(std::size_t samples, const CachePrediction& prediction, std::uint32_t reported) {
  PredictionCheck check;
  for (std::size_t i = 0; i < samples; ++i) check.ended("e", prediction, reported);
  return check.mismatch("e");
}

bool has(const std::string& text, std::string_view words) {
  return text.find(words) != std::string::npos;
}

}  // namespace

TEST_CASE("errors add up, by source") {
  PredictionCheck check;
  CHECK(check.ended("e", kPromised, 624) == 624);
  CHECK(check.ended("e", kPromised, 700) == 700);
  CHECK(check.ended("e", {HitSource::predicted, 0, 0}, 0) == 0);
  const PredictionReport report = check.reports().at(0);
  const auto& exact = report.by_source[static_cast<std::size_t>(HitSource::exact)];
  CHECK(exact.samples == 2);
  CHECK(exact.absolute_error == 16 + 60);
  CHECK(exact.bias == 60 - 16);
  CHECK(exact.by_error[1] == 1);  // at most 16
  CHECK(exact.by_error[2] == 1);  // at most 64
  const auto& predicted = report.by_source[static_cast<std::size_t>(HitSource::predicted)];
  CHECK(predicted.samples == 1);
  CHECK(predicted.by_error[0] == 1);
  MetricsText out;
  check.append_to(out);
  const std::string text = out.take();
  CHECK(has(text, R"(dualmesh_kv_prediction_samples_total{instance="e",source="exact"} 2)"));
  CHECK(has(text, R"(dualmesh_kv_prediction_error_tokens_total{instance="e",source="exact"} 76)"));
  CHECK(has(text, R"(dualmesh_kv_prediction_bias_tokens{instance="e",source="exact"} 22)"));
  CHECK(has(text, R"(dualmesh_kv_prediction_mismatch{instance="e"} 0)"));
}

TEST_CASE("not said is nothing until it has been said once, and then none") {
  PredictionCheck check;
  for (int i = 0; i < 30; ++i) CHECK_FALSE(check.ended("e", kPromised, {}));
  CHECK(check.reports().at(0).unsaid == 30);
  CHECK(check.mismatch("e").empty());
  CHECK(check.ended("e", kPromised, 640) == 640);
  CHECK(check.ended("e", kPromised, {}) == 0);
  CHECK(check.reports().at(0).unsaid == 30);
}

TEST_CASE("what does not fit is said in words, and only after enough answers") {
  const std::size_t enough = PredictionCheck::kEnough;
  CHECK(after(enough - 1, kPromised, 0).empty());
  CHECK(has(after(enough, kPromised, 0), "0 cached tokens in 20 of 20 requests where 640"));
  CHECK(has(after(enough, kPromised, 624), "a block of 16 tokens short"));
  CHECK(has(after(enough, {HitSource::exact, 0, 16}, 320), "says 320 cached tokens on average"));
  CHECK(after(enough, kPromised, 640).empty());
  CHECK(after(enough, kPromised, 100).empty());  // wrong, but no sign of what
  CHECK(after(enough, {HitSource::exact, 0, 16}, 0).empty());
  // Guesses may be wrong.
  for (const HitSource source : {HitSource::unknown, HitSource::predicted, HitSource::degraded}) {
    CHECK(after(enough, {source, 640, 16}, 0).empty());
  }
  // One hit proves that keys meet.
  PredictionCheck check;
  check.ended("e", kPromised, 640);
  for (std::size_t i = 0; i < 40; ++i) check.ended("e", kPromised, 0);
  CHECK(check.mismatch("e").empty());
  // And what was long ago counts no more.
  for (std::size_t i = 0; i < PredictionCheck::kWindow; ++i) check.ended("e", kPromised, 0);
  CHECK_FALSE(check.mismatch("e").empty());
  for (std::size_t i = 0; i < PredictionCheck::kWindow; ++i) check.ended("e", kPromised, 640);
  CHECK(check.mismatch("e").empty());
  check.forget("e");
  CHECK(check.reports().empty());
}

TEST_CASE("instances are bounded") {
  PredictionCheck check;
  for (std::size_t i = 0; i < PredictionCheck::kMaxInstances + 10; ++i) {
    check.ended(std::to_string(i), kPromised, 1);
  }
  CHECK(check.reports().size() == PredictionCheck::kMaxInstances);
}

TEST_CASE("an engine that has lost what was placed there has lost what is older") {
  for (const std::uint32_t reported : {0U, 100U, 900U, 1'024U}) {
    CAPTURE(reported);
    SharedResidency residency{{}};
    CacheKnowledge knowledge(residency);
    PredictionCheck check;
    const std::vector<policies::BlockKey> older{11, 12}, same{1, 2}, newer{21, 22};
    residency.placed_here(0, older, 100s);
    residency.placed_here(0, same, 200s);
    residency.placed_here(0, newer, 300s);
    residency.placed_here(1, older, 100s);
    policies::Arrival arrival;
    arrival.chain.blocks = {1, 2, 3};
    arrival.block_tokens = 512;
    arrival.input_tokens = 1'600;
    RankChoices ranks;
    knowledge.look_up(arrival, {}, ranks);
    REQUIRE(arrival.hit_tokens[0] == 1'024);
    HitAudit audit;
    audit.expect(arrival);
    audit.placed(0, residency.placed_here(0, arrival.chain.blocks, 400s).age, 400s);
    net::AnswerWatcher answer(false);
    answer.feed(R"({"usage":{"prompt_tokens":1600,"prompt_tokens_details":{"cached_tokens":)" +
                std::to_string(reported) + "}}}");
    audit.finished(0, "e", answer, knowledge, check, residency, 405s);
    const auto held = [&](policies::Slot slot, const std::vector<policies::BlockKey>& blocks) {
      std::vector<std::uint32_t> hits;
      residency.longest_prefix(blocks, hits);
      return hits[slot];
    };
    CHECK(held(0, older) == (reported < 500 ? 0 : 2));
    CHECK(held(0, newer) == 2);
    CHECK(held(0, arrival.chain.blocks) == 3);  // it has been computed there since
    CHECK(held(1, older) == 2);
    CHECK(check.reports().at(0).by_source[1].samples == 1);
  }
}
