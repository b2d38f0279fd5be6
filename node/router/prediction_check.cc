#include "node/router/prediction_check.h"

#include <spdlog/fmt/fmt.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdlib>
#include <span>

namespace dualmesh::node {

using policies::HitSource;

std::optional<std::uint32_t> PredictionCheck::ended(const std::string& instance,
                                                    const CachePrediction& prediction,
                                                    std::optional<std::uint32_t> cached_tokens) {
  const std::lock_guard lock(mutex_);
  auto known = instances_.find(instance);
  if (known == instances_.end()) {
    if (instances_.size() >= kMaxInstances) return cached_tokens;
    known = instances_.emplace(instance, std::make_unique<Instance>()).first;
    known->second->report.instance = instance;
  }
  Instance& of = *known->second;
  of.has_said |= cached_tokens.has_value();
  if (!of.has_said) {
    ++of.report.unsaid;
    return {};
  }
  const std::uint32_t reported = cached_tokens.value_or(0);
  const std::int64_t error = std::int64_t{reported} - prediction.expected_tokens;
  const auto size = static_cast<std::uint64_t>(std::abs(error));
  auto& totals = of.report.by_source[static_cast<std::size_t>(prediction.source)];
  ++totals.samples;
  totals.absolute_error += size;
  totals.bias += error;
  const auto& bounds = PredictionReport::kBounds;
  ++totals.by_error[std::lower_bound(bounds.begin(), bounds.end(), size) - bounds.begin()];
  of.last[of.samples++ % kWindow] = {prediction, reported};
  std::string said = words(of);
  if (said != of.report.mismatch && of.report.mismatch.empty()) {
    spdlog::warn("instance {}: {}", instance, said);
  }
  of.report.mismatch = std::move(said);
  return reported;
}

// Predictions are guesses: only what events promise can be at odds with what the engine says.
std::string PredictionCheck::words(const Instance& instance) {
  std::size_t promised = 0, none_of_it = 0, a_block_short = 0;
  std::size_t unexpected = 0, unpromised = 0;
  std::uint64_t promised_tokens = 0, unexpected_tokens = 0;
  std::uint32_t block_tokens = 0;
  const std::size_t kept = std::min(instance.samples, kWindow);
  for (const Sample& sample : std::span(instance.last).first(kept)) {
    const auto& [source, expected, block] = sample.prediction;
    if (source != HitSource::exact) continue;
    if (expected == 0) {
      ++unpromised;
      unexpected += sample.reported > 0;
      unexpected_tokens += sample.reported;
      continue;
    }
    ++promised;
    promised_tokens += expected;
    none_of_it += sample.reported == 0;
    if (block > 0 && expected == std::uint64_t{sample.reported} + block) {
      ++a_block_short;
      block_tokens = block;
    }
  }
  if (promised >= kEnough && none_of_it == promised) {
    return fmt::format(
        "the engine says 0 cached tokens in {} of {} requests where {} were expected on average: "
        "its "
        "block size, salt, adapter or tokenizer is not what was taken, or its cache is off",
        none_of_it, promised, promised_tokens / promised);
  }
  if (promised >= kEnough && a_block_short * 10 >= promised * 9) {
    return fmt::format("the engine's hits are a block of {} tokens short in {} of {} requests",
                       block_tokens, a_block_short, promised);
  }
  if (promised == 0 && unpromised >= kEnough && unexpected * 10 >= unpromised * 9) {
    return fmt::format(
        "no hit was expected in {} requests, and the engine says {} cached tokens on average: its "
        "events name other blocks than its requests use; salt, adapter or tokenizer differ",
        unpromised, unexpected_tokens / unpromised);
  }
  return {};
}

void PredictionCheck::forget(const std::string& instance) {
  const std::lock_guard lock(mutex_);
  instances_.erase(instance);
}

std::vector<PredictionReport> PredictionCheck::reports() const {
  const std::lock_guard lock(mutex_);
  std::vector<PredictionReport> reports;
  for (const auto& [name, instance] : instances_) reports.push_back(instance->report);
  std::ranges::sort(reports, {}, &PredictionReport::instance);
  return reports;
}

std::string PredictionCheck::mismatch(const std::string& instance) const {
  const std::lock_guard lock(mutex_);
  const auto found = instances_.find(instance);
  return found == instances_.end() ? std::string() : found->second->report.mismatch;
}

void PredictionCheck::append_to(MetricsText& out) const {
  const std::vector<PredictionReport> all = reports();
  const auto each = [&](std::string_view name, MetricType type, std::string_view help, auto value) {
    out.family(name, type, help);
    for (const PredictionReport& report : all) {
      for (std::size_t source = 0; source < report.by_source.size(); ++source) {
        const auto& totals = report.by_source[source];
        if (totals.samples == 0) continue;
        out.sample({{"instance", report.instance},
                    {"source", policies::to_string(static_cast<HitSource>(source))}},
                   value(totals));
      }
    }
  };
  using OfSource = PredictionReport::OfSource;
  each("dualmesh_kv_prediction_samples_total", MetricType::counter,
       "Answers that said what was cached.",
       [](const OfSource& t) { return static_cast<double>(t.samples); });
  each("dualmesh_kv_prediction_error_tokens_total", MetricType::counter,
       "Cached tokens expected and not said, or said and not expected, added up.",
       [](const OfSource& t) { return static_cast<double>(t.absolute_error); });
  each("dualmesh_kv_prediction_bias_tokens", MetricType::gauge,
       "Cached tokens the engine said less those expected, on average: below 0 where too many were "
       "expected.",
       [](const OfSource& t) {
         return static_cast<double>(t.bias) / static_cast<double>(t.samples);
       });
  out.family("dualmesh_kv_prediction_by_error_total", MetricType::counter,
             "Answers by how far off the expectation was, in tokens at most.");
  for (const PredictionReport& report : all) {
    for (std::size_t i = 0; i <= PredictionReport::kBounds.size(); ++i) {
      std::uint64_t count = 0;
      for (const OfSource& totals : report.by_source) count += totals.by_error[i];
      const bool last = i == PredictionReport::kBounds.size();
      const std::string bound = last ? "more" : std::to_string(PredictionReport::kBounds[i]);
      out.sample({{"instance", report.instance}, {"tokens", bound}}, static_cast<double>(count));
    }
  }
  out.family("dualmesh_kv_prediction_unsaid_total", MetricType::counter,
             "Answers with usage of instances that never say what was cached.");
  for (const PredictionReport& report : all) {
    out.sample({{"instance", report.instance}}, static_cast<double>(report.unsaid));
  }
  out.family("dualmesh_kv_prediction_mismatch", MetricType::gauge,
             "1 when what an engine says and what its events promise do not fit at all.");
  for (const PredictionReport& report : all) {
    out.sample({{"instance", report.instance}}, report.mismatch.empty() ? 0 : 1);
  }
}

}  // namespace dualmesh::node
