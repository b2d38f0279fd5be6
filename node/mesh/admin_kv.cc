#include "node/mesh/admin_kv.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <string_view>
#include <tuple>

#include "crdt/state_digest.h"
#include "node/kv/kv_answers.h"
#include "node/mesh/admin_server.h"
#include "node/mesh/mesh_node.h"

namespace dualmesh::node {
namespace {

constexpr std::size_t kMaxRows = 20'000;

using Counts = std::vector<std::pair<const char*, std::uint64_t>>;

void write_counts(const Counts& counts, capnp::List<wire::Count>::Builder out) {
  for (unsigned i = 0; i < out.size(); ++i) {
    out[i].setName(counts[i].first);
    out[i].setCount(counts[i].second);
  }
}

// `wanted`: INSTANCE, INSTANCE/RANK or all.
bool is_asked_for(const StreamKey& stream, const std::string& wanted) {
  return wanted.empty() || wanted == stream.instance ||
         wanted == fmt::format("{}/{}", stream.instance, stream.rank);
}

// What is no matter of one rank's subscription: an instance whose engine has more ranks than it is
// declared with, or that does not tell the tokens of prompts.
std::vector<std::string> instance_remarks(MeshNode& node, const std::string& instance,
                                          std::size_t declared) {
  const auto& instances = node.view()->instances;
  const auto found = std::ranges::find(instances, instance, &policies::InstanceView::name);
  if (found == instances.end() || found->slot == policies::kNoSlot) return {};
  const InstanceFacts facts = node.admin_host().facts(found->slot);
  std::vector<std::string> remarks;
  if (facts.engine_ranks > declared) {
    remarks.push_back(fmt::format(
        "its metrics tell of {0} data-parallel ranks, and events of {1} are heard: ranks={0} is "
        "missing in its events=, so what the others cache is not known",
        facts.engine_ranks, declared));
  }
  if (!facts.tokens_lacking.empty()) {
    remarks.push_back(fmt::format("{}, unless another instance of the model tells their tokens",
                                  facts.tokens_lacking));
  }
  return remarks;
}

void write_stream(MeshNode& node, const StreamReport& report, std::size_t declared,
                  wire::KvStream::Builder out) {
  out.setInstance(report.stream.instance);
  out.setRank(report.stream.rank);
  out.setConfidence(to_string(report.confidence));
  out.setWhyNotExact(report.why_not_exact);
  out.setBlocks(report.present);
  out.setUnknownBlocks(report.position.unknown);
  out.setEpoch(report.position.epoch.value);
  out.setBase(report.position.base.value);
  out.setEnd(report.position.end.value);
  const crdt::Version away = report.position.away;
  out.setDigestCount(report.position.digest.count + (away.value != 0 ? 1 : 0));
  out.setDigestSum(report.position.digest.sum + away_hash(away));
  auto observers = out.initObservers(static_cast<unsigned>(report.observers.size()));
  for (unsigned i = 0; i < observers.size(); ++i) {
    observers.set(i, node.name_of(report.observers[i]));
  }
  out.setObserving(report.observing);
  out.setConnected(report.connected);
  out.setBlockTokens(report.facts.block_tokens);
  out.setEventsPerS(report.events_per_s);
  out.setBytesPerS(report.bytes_per_s);
  out.setChanges(report.changes);
  out.setLastRefusal(report.last_refusal);
  out.setEvents(report.events);
  out.setReplay(report.replay);
  out.setTopic(report.topic);
  std::vector<std::string> remarks = report.remarks;
  if (report.stream.rank == 0) {
    std::ranges::move(instance_remarks(node, report.stream.instance, declared),
                      std::back_inserter(remarks));
  }
  auto told = out.initRemarks(static_cast<unsigned>(remarks.size()));
  for (unsigned i = 0; i < told.size(); ++i) told.set(i, remarks[i]);
  out.setRatesKnown(report.rates_known);
  const StreamCounters& received = report.received;
  const Counts counts = {{"batches", received.batches},
                         {"live", received.live},
                         {"bytes", received.bytes},
                         {"duplicates", received.duplicates},
                         {"gaps", received.gaps},
                         {"lost", received.lost},
                         {"replays", received.replays},
                         {"replays_failed", received.replays_failed},
                         {"restarts", received.restarts},
                         {"reconnects", received.reconnects},
                         {"absurd", received.absurd},
                         {"refused_batches", report.refused_batches},
                         {"skipped_events", report.skipped_events}};
  write_counts(counts, out.initReceived(static_cast<unsigned>(counts.size())));
}

void write_exchange(const KvExchangeCounters& counters, wire::Kv::Builder out) {
  const Counts counts = {{"messages_sent", counters.messages_sent},
                         {"bytes_sent", counters.bytes_sent},
                         {"messages_received", counters.messages_received},
                         {"bytes_received", counters.bytes_received},
                         {"changes_sent", counters.changes_sent},
                         {"changes_received", counters.changes_received},
                         {"fetches", counters.fetches},
                         {"fetches_failed", counters.fetches_failed},
                         {"pieces_sent", counters.pieces_sent},
                         {"takeovers", counters.takeovers},
                         {"renamed", counters.renamed},
                         {"contradictions", counters.contradictions},
                         {"malformed", counters.malformed},
                         {"absurd", counters.absurd},
                         {"spoilt", counters.spoilt}};
  write_counts(counts, out.initExchange(static_cast<unsigned>(counts.size())));
}

std::uint64_t entry_hash(EngineHash key, const BlockMap::Entry& entry) {
  crdt::EntryHasher hasher;
  hasher.add(key).add(entry.added).add(entry.removed).add(entry.value.key);
  return hasher.finish();
}

const char* name_of(policies::Medium medium) {
  static constexpr std::array<const char*, policies::kMedia> kNames = {"gpu", "cpu", "disk",
                                                                       "shared"};
  return kNames[static_cast<std::size_t>(medium)];
}

// What another thread answers by calling `done` once.
template <class Answer, class Ask>
kj::Promise<Answer> answered_elsewhere(Ask&& ask) {
  auto pair = kj::newPromiseAndCrossThreadFulfiller<Answer>();
  // A std::function must be copyable.
  auto fulfiller = std::make_shared<decltype(pair.fulfiller)>(kj::mv(pair.fulfiller));
  ask([fulfiller](Answer answer) { (*fulfiller)->fulfill(std::move(answer)); });
  return kj::mv(pair.promise);
}

}  // namespace

void write_kv(MeshNode& node, const KvAnswers& answers, const std::string& instance,
              wire::Kv::Builder out) {
  const auto report = answers.kv_report();
  std::vector<const StreamReport*> streams;
  std::map<std::string_view, std::size_t> ranks;
  for (const StreamReport& stream : report->streams) ++ranks[stream.stream.instance];
  for (const StreamReport& stream : report->streams) {
    if (is_asked_for(stream.stream, instance)) streams.push_back(&stream);
  }
  auto list = out.initStreams(static_cast<unsigned>(streams.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    write_stream(node, *streams[i], ranks[streams[i]->stream.instance], list[i]);
  }
  out.setIndexBlocks(report->index_blocks);
  out.setIndexBytes(report->index_bytes);
  out.setDepthLimit(report->depth_limit);
  out.setMeshKnown(report->mesh_known);
  write_exchange(report->exchange, out);
  auto predictions = answers.kv_predictions();
  std::erase_if(predictions, [&](const KvPredictionReport& prediction) {
    const auto is_of_it = [&](const StreamReport* stream) {
      return stream->stream.instance == prediction.instance;
    };
    return !instance.empty() && std::ranges::none_of(streams, is_of_it);
  });
  auto told = out.initPredictions(static_cast<unsigned>(predictions.size()));
  for (unsigned i = 0; i < told.size(); ++i) {
    told[i].setInstance(predictions[i].instance);
    told[i].setRequests(predictions[i].requests);
    told[i].setMeanErrorTokens(predictions[i].mean_error_tokens);
    told[i].setMeanBiasTokens(predictions[i].mean_bias_tokens);
    told[i].setMismatch(predictions[i].mismatch);
  }
}

kj::Promise<std::shared_ptr<const StreamCut>> kv_cut(KvAnswers& answers,
                                                     const std::string& instance,
                                                     std::uint32_t rank) {
  return answered_elsewhere<std::shared_ptr<const StreamCut>>([&](auto done) {
    answers.kv_cut({instance, rank}, std::move(done));
  });
}

kj::Promise<std::vector<KvStepTime>> kv_step_times(KvAnswers& answers, const std::string& instance,
                                                   std::uint32_t rank) {
  return answered_elsewhere<std::vector<KvStepTime>>([&](auto done) {
    answers.kv_step_times({instance, rank}, std::move(done));
  });
}

void write_kv_steps(const std::vector<KvStepTime>& steps,
                    wire::Admin::KvStepsResults::Builder out) {
  auto list = out.initSteps(static_cast<unsigned>(steps.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    list[i].setEnd(steps[i].end.value);
    list[i].setAtNs(static_cast<std::uint64_t>(steps[i].at.count()));
  }
}

void write_kv_blocks(const StreamCut& cut, capnp::Data::Reader buckets,
                     wire::Admin::KvBlocksResults::Builder out) {
  std::array<std::uint64_t, 256> sums{};
  struct Found {
    EngineHash key;
    const BlockMap::Entry* entry;
  };
  std::vector<Found> found;
  const auto is_asked = [&](std::size_t bucket) {
    return bucket / 8 < buckets.size() && (buckets[bucket / 8] >> (bucket % 8) & 1) != 0;
  };
  for (const auto& [key, entry] : cut.entries) {
    const std::uint64_t hash = entry_hash(key, entry);
    const std::size_t bucket = crdt::bucket_of(hash);
    sums[bucket] += hash;
    if (is_asked(bucket)) found.push_back({key, &entry});
  }
  const std::size_t rows_told = std::min<std::size_t>(found.size(), kMaxRows);
  std::ranges::partial_sort(found, found.begin() + static_cast<std::ptrdiff_t>(rows_told), {},
                            &Found::key);
  found.resize(rows_told);
  const std::uint64_t away = away_hash(cut.position.away);
  const std::size_t away_bucket = crdt::bucket_of(away);
  sums[away_bucket] += away;
  const bool tells_away = away != 0 && is_asked(away_bucket);
  auto told = out.initSums(static_cast<unsigned>(sums.size()));
  for (unsigned i = 0; i < told.size(); ++i) told.set(i, sums[i]);
  auto rows = out.initRows(static_cast<unsigned>(found.size() + (tells_away ? 1 : 0)));
  for (unsigned i = 0; i < found.size(); ++i) {
    const BlockMap::Entry& entry = *found[i].entry;
    rows[i].setKey(hex(found[i].key));
    rows[i].setValue(
        fmt::format("key {} depth {} {} copies {}{}", hex(entry.value.key),
                    std::uint16_t{entry.value.depth}, name_of(entry.value.medium), entry.added,
                    entry.removed > 0 ? fmt::format(" removed {}", entry.removed) : ""));
  }
  if (tells_away) {
    auto row = rows[static_cast<unsigned>(found.size())];
    row.setKey("away");
    row.setValue(fmt::format("the instance was, after batch {}", cut.position.away.value));
  }
  out.setEnd(cut.position.end.value);
  out.setEpoch(cut.position.epoch.value);
}

}  // namespace dualmesh::node
