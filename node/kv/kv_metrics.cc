// A KvReport as Prometheus text.
#include "node/kv/kv_report.h"
#include "node/metrics/metrics_text.h"

namespace dualmesh::node {
namespace {

double number(auto value) { return static_cast<double>(value); }

// One sample per stream: `value(report)`.
template <class Value>
void append_streams(MetricsText& out, const KvReport& report, MetricType type,
                    std::string_view name, std::string_view help, Value value) {
  out.family(name, type, help);
  for (const StreamReport& stream : report.streams) {
    out.sample({{"instance", stream.stream.instance}, {"rank", std::to_string(stream.stream.rank)}},
               number(value(stream)));
  }
}

void append_states(MetricsText& out, const KvReport& report) {
  const auto gauge = [&](std::string_view name, std::string_view help, auto value) {
    append_streams(out, report, MetricType::gauge, name, help, value);
  };
  gauge("dualmesh_kv_blocks", "Blocks known to be in the cache.",
        [](const StreamReport& s) { return s.present; });
  gauge("dualmesh_kv_unknown_blocks", "Of them, those whose tokens are not known.",
        [](const StreamReport& s) { return s.position.unknown; });
  gauge("dualmesh_kv_confidence", "0 unknown, 1 degraded, 2 exact.",
        [](const StreamReport& s) { return static_cast<int>(s.confidence); });
  gauge("dualmesh_kv_batch", "Number of the engine's last batch known here.",
        [](const StreamReport& s) { return s.position.end.value; });
  gauge("dualmesh_kv_observing", "1 when this node subscribes to the engine's events.",
        [](const StreamReport& s) { return s.observing ? 1 : 0; });
  gauge("dualmesh_kv_connected", "1 when it is connected, too.",
        [](const StreamReport& s) { return s.connected ? 1 : 0; });
}

void append_subscriptions(MetricsText& out, const KvReport& report) {
  const auto counter = [&](std::string_view name, std::string_view help, auto value) {
    append_streams(out, report, MetricType::counter, name, help, value);
  };
  counter("dualmesh_kv_changes_total", "Block changes applied, whoever brought them.",
          [](const StreamReport& s) { return s.changes; });
  counter("dualmesh_kv_batches_total", "Batches received from the engine.",
          [](const StreamReport& s) { return s.received.batches; });
  counter("dualmesh_kv_live_batches_total", "Of them, those by subscription, not by replay.",
          [](const StreamReport& s) { return s.received.live; });
  counter("dualmesh_kv_event_bytes_total", "Bytes received from the engine.",
          [](const StreamReport& s) { return s.received.bytes; });
  counter("dualmesh_kv_duplicates_total", "Batches that came twice.",
          [](const StreamReport& s) { return s.received.duplicates; });
  counter("dualmesh_kv_gaps_total", "Batches missing when the next came.",
          [](const StreamReport& s) { return s.received.gaps; });
  counter("dualmesh_kv_lost_total", "Of them, those that no replay brought back.",
          [](const StreamReport& s) { return s.received.lost; });
  counter("dualmesh_kv_replays_total", "Replays asked for.",
          [](const StreamReport& s) { return s.received.replays; });
  counter("dualmesh_kv_replays_failed_total", "Replays that timed out or broke off.",
          [](const StreamReport& s) { return s.received.replays_failed; });
  counter("dualmesh_kv_engine_restarts_total", "Lives of the engine after the first.",
          [](const StreamReport& s) { return s.received.restarts; });
  counter("dualmesh_kv_refused_batches_total", "Batches that could not be read.",
          [](const StreamReport& s) { return s.refused_batches; });
  counter("dualmesh_kv_skipped_events_total", "Events that could not be used.",
          [](const StreamReport& s) { return s.skipped_events; });
  counter("dualmesh_kv_absurd_total", "Sequence numbers and frames that no engine sends.",
          [](const StreamReport& s) { return s.received.absurd; });
}

void append_exchange(MetricsText& out, const KvExchangeCounters& counters) {
  const auto count = [&](std::string_view name, std::string_view help, std::uint64_t value) {
    out.counter(name, help, number(value));
  };
  count("dualmesh_kv_messages_sent_total", "Messages to other nodes.", counters.messages_sent);
  count("dualmesh_kv_messages_received_total", "Messages from other nodes.",
        counters.messages_received);
  count("dualmesh_kv_message_bytes_sent_total", "Their bytes.", counters.bytes_sent);
  count("dualmesh_kv_message_bytes_received_total", "Their bytes.", counters.bytes_received);
  count("dualmesh_kv_changes_sent_total", "Block changes told to other nodes.",
        counters.changes_sent);
  count("dualmesh_kv_changes_received_total", "Block changes told by other nodes.",
        counters.changes_received);
  count("dualmesh_kv_fetches_total", "Whole caches asked of other nodes.", counters.fetches);
  count("dualmesh_kv_fetches_failed_total", "Of them, those that broke off.",
        counters.fetches_failed);
  count("dualmesh_kv_pieces_sent_total", "Pieces of whole caches that other nodes asked for.",
        counters.pieces_sent);
  count("dualmesh_kv_takeovers_total", "Streams pushed in place of a node that stood still.",
        counters.takeovers);
  count("dualmesh_kv_renamed_total", "Lives of engines found to be one.", counters.renamed);
  count("dualmesh_kv_contradictions_total", "One batch known with two contents: never normal.",
        counters.contradictions);
  count("dualmesh_kv_malformed_messages_total", "Messages that no node sends.", counters.malformed);
  count("dualmesh_kv_absurd_entries_total",
        "Entries of messages that were left out, with positions no engine comes to.",
        counters.absurd);
  count("dualmesh_kv_spoilt_states_total", "Whole caches that came otherwise than announced.",
        counters.spoilt);
}

}  // namespace

std::string kv_metrics(const KvReport& report) {
  MetricsText out;
  out.gauge("dualmesh_kv_index_blocks", "Blocks in the index, by cache.",
            number(report.index_blocks));
  out.gauge("dualmesh_kv_index_bytes", "Memory of the index.", number(report.index_bytes));
  append_states(out, report);
  append_subscriptions(out, report);
  append_exchange(out, report.exchange);
  return out.take();
}

}  // namespace dualmesh::node
