// What a KvCore says of itself: per stream, with the reason where something is missing.
// kv_core_remarks.cc has what may be wrong with its endpoints.
#include <spdlog/fmt/fmt.h>

#include <utility>

#include "node/kv/kv_core.h"

namespace dualmesh::node {
namespace {

constexpr policies::Duration kRateInterval = std::chrono::seconds(1);

// A subscription that begins asks for a replay first; one that takes longer may never settle.
constexpr policies::Duration kSettleWithin = std::chrono::seconds(2);

}  // namespace

// Empty: all is known and current.
std::string KvCore::what_is_missing(const StreamReport& report, const Stream& stream,
                                    policies::Time now) const {
  const StreamPosition& position = report.position;
  const bool reached = exchange_.reached(report.stream);
  if (state_.flooded(report.stream)) {
    return "given up: it holds more blocks than kv.max_stream_blocks or kv.max_blocks allow";
  }
  if (position.epoch.value == 0) {
    return reached ? "nothing heard from the engine yet" : "no node reaches the engine's events";
  }
  if (position.base.value != 0) {
    return fmt::format("history before batch {} is lost", position.base.value);
  }
  if (position.unknown != 0) {
    return fmt::format("{} blocks came without what precedes them", position.unknown);
  }
  if (!state_.indexed_whole(report.stream)) {
    return "the deepest blocks are left out (kv.max_blocks)";
  }
  if (!reached) return "as it was: no node reaches the engine's events now";
  if (stream.unsettled_at && now - *stream.unsettled_at > kSettleWithin) {
    return "as it was: what the engine says now has not been matched with it yet";
  }
  if (!exchange_.heard(report.stream)) {
    return "late: the subscription brings nothing, and replay alone finds what the engine says";
  }
  const bool is_empty = position.end.value == 0;  // a life that has just begun
  if (report.facts.block_tokens == 0 && !is_empty) return "no block stored yet";
  return {};
}

const char* to_string(KvConfidence confidence) {
  switch (confidence) {
    case KvConfidence::unknown:
      return "unknown";
    case KvConfidence::degraded:
      return "degraded";
    case KvConfidence::exact:
      return "exact";
  }
  return "?";
}

void KvCore::measure_rates(policies::Time now) {
  if (!rates_at_) rates_at_ = now;
  const policies::Duration passed = now - *rates_at_;
  if (passed < kRateInterval) return;
  rates_at_ = now;
  const double seconds = std::chrono::duration<double>(passed).count();
  for (auto& [key, stream] : streams_) {
    const std::uint64_t changes = state_.changes(key);
    const std::uint64_t bytes =
        stream.observation ? stream.observation->machine().counters().bytes : 0;
    if (!std::exchange(stream.counted, true)) {  // what came before is of no known time
      stream.changes_before = changes;
      stream.bytes_before = bytes;
      continue;
    }
    stream.rates_known = true;
    stream.events_per_s =
        static_cast<double>(changes - std::min(changes, stream.changes_before)) / seconds;
    stream.bytes_per_s =
        static_cast<double>(bytes - std::min(bytes, stream.bytes_before)) / seconds;
    stream.changes_before = changes;
    stream.bytes_before = bytes;
  }
}

StreamReport KvCore::report_of(const StreamKey& key, Stream& stream, policies::Time now) {
  StreamReport report;
  report.stream = key;
  report.cache = state_.cache_of(key).value_or(policies::kSharedCache);
  report.position = state_.position(key);
  report.facts = state_.facts(key);
  report.present = state_.present(key);
  report.shares = state_.shares(key);
  report.observers = exchange_.observers(key);
  report.observing = stream.observation != nullptr;
  report.changes = state_.changes(key);
  report.events = endpoint_of_rank(stream.endpoints.events, key.rank);
  if (!stream.endpoints.replay.empty()) {
    report.replay = endpoint_of_rank(stream.endpoints.replay, key.rank);
  }
  report.topic = stream.endpoints.topic;
  report.rates_known = stream.rates_known;
  if (stream.rates_known) {
    report.events_per_s = stream.events_per_s;
    report.bytes_per_s = stream.bytes_per_s;
  }
  if (stream.observation) {
    const KvObservation& observation = *stream.observation;
    report.connected = observation.machine().is_connected();
    report.received = observation.machine().counters();
    report.refused_batches = observation.refused_batches();
    report.skipped_events = observation.translator().counters().skipped_events();
    report.last_refusal = observation.last_refusal();
  }
  report.why_not_exact = what_is_missing(report, stream, now);
  report.confidence = report.why_not_exact.empty()       ? KvConfidence::exact
                      : report.position.epoch.value == 0 ? KvConfidence::unknown
                                                         : KvConfidence::degraded;
  report.remarks = remarks(report, stream, now);
  if (report.position.away.value != 0) {
    report.confidence = KvConfidence::unknown;
    report.why_not_exact = "the instance was away, and its engine has said nothing since";
  }
  return report;
}

std::shared_ptr<KvReport> KvCore::report(policies::Time now) {
  auto report = std::make_shared<KvReport>();
  report->streams.reserve(streams_.size());
  bool changed = decided_by_.size() != streams_.size();
  for (auto& [key, stream] : streams_) {
    report->streams.push_back(report_of(key, stream, now));
    const StreamReport& made = report->streams.back();
    changed |= decided_by_[key] != Decided{made.cache, made.confidence, made.facts, made.shares};
  }
  if (changed) {
    ++generation_;
    decided_by_.clear();
    for (const StreamReport& made : report->streams) {
      decided_by_[made.stream] = {made.cache, made.confidence, made.facts, made.shares};
    }
  }
  report->exchange = exchange_.counters();
  report->blocks = state_.blocks();
  report->index_blocks = state_.index().size();
  report->index_bytes = state_.index().memory_bytes();
  report->depth_limit = state_.index().depth_limit();
  report->mesh_known = exchange_.mesh_known();
  report->generation = generation_;
  return report;
}

}  // namespace dualmesh::node
