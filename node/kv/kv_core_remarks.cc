// What may be wrong with the endpoints of a stream, in words, as this node's own subscription shows
// it.
#include <spdlog/fmt/fmt.h>

#include "node/kv/kv_core.h"

namespace dualmesh::node {
namespace {

// What takes no longer is on its way.
constexpr policies::Duration kPatience = std::chrono::seconds(2);
// An engine with a topic of its own of which nobody has heard anything for so long is doubted.
constexpr policies::Duration kSilence = std::chrono::seconds(5);

std::string lasting(policies::Duration time) {
  const auto s = std::chrono::duration_cast<std::chrono::seconds>(time).count();
  if (s < 120) return fmt::format("{} s", s);
  return s < 7'200 ? fmt::format("{} min", s / 60) : fmt::format("{} h", s / 3'600);
}

std::string apart(const StreamReport& report, const std::string& trouble,
                  policies::Duration since) {
  if (trouble.empty()) {
    return fmt::format(
        "nothing connected at {} for {}: is the port of events= right, and does the engine "
        "publish there?",
        report.events, lasting(since));
  }
  return fmt::format("not connected to {} for {}, {}: {}", report.events, lasting(since), trouble,
                     report.replay.empty() ? "is the port of events= right?"
                                           : "are events= and replay= swapped, or a port wrong?");
}

// It brings nothing that is of use. An engine that is known may be idle: only what replay finds in
// its place speaks against the subscription.
std::string unheard(const StreamReport& report, const KvStream& machine,
                    policies::Duration joined) {
  const StreamCounters& received = report.received;
  const std::string doubt = report.topic.empty()
                                ? "does it publish there, or is replay= another engine's?"
                                : fmt::format("is topic={} right?", report.topic);
  if (machine.unheard() > 0) {
    return fmt::format(
        "{} {}, {}no batch comes by subscription, while the replay has brought {} since: {}",
        machine.is_connected() ? "connected to" : "connecting anew to", report.events,
        machine.is_connected() ? "but " : "as ", machine.unheard(), doubt);
  }
  if (!machine.is_connected()) return {};
  if (received.live == 0 && received.absurd > 0) {
    return fmt::format("{} sends what is no batch of KV events: is it the port of events=?",
                       report.events);
  }
  const bool is_known = received.live > 0 || report.position.epoch.value != 0;
  if (is_known || !report.replay.empty() || report.topic.empty() || joined < kSilence) return {};
  return fmt::format("connected to {} for {}, and no batch of its topic has come: {}",
                     report.events, lasting(joined), doubt);
}

std::string replay_trouble(const StreamReport& report, const KvStream& machine,
                           policies::Time now) {
  const policies::Duration silent = machine.replay_silent(now);
  if (machine.replay_answers() && silent < kPatience) return {};
  return fmt::format(
      "no answer of the replay endpoint {}{}: a gap cannot be filled; is the port of replay= "
      "right?",
      report.replay,
      silent < kPatience ? fmt::format(" ({} of {} questions)", report.received.replays_failed,
                                       report.received.replays)
                         : " for " + lasting(silent));
}

// One of several engines, each an instance of its own, says its own rank, too: so it is no error.
std::string rank_trouble(const StreamReport& report, std::int64_t said, std::uint32_t ranks) {
  if (said < 0 || said == report.stream.rank) return {};
  if (ranks > 1) {
    return fmt::format(
        "the batches of {} are of data-parallel rank {}, not {}: are the ports right?",
        report.events, said, report.stream.rank);
  }
  return fmt::format(
      "the batches of {} are of data-parallel rank {}, and the instance is declared with one rank: "
      "unless it serves that rank alone, events= must be the port of rank 0, with ranks=N",
      report.events, said);
}

}  // namespace

std::vector<std::string> KvCore::remarks(const StreamReport& report, const Stream& stream,
                                         policies::Time now) const {
  std::vector<std::string> all;
  const auto add = [&](std::string remark) {
    if (!remark.empty()) all.push_back(std::move(remark));
  };
  const bool tries = stream.observation || !stream.said_reached;
  if (tries && stream.apart_since && now - *stream.apart_since >= kPatience) {
    add(apart(report, stream.trouble, now - *stream.apart_since));
  }
  if (!stream.observation) return all;
  const KvStream& machine = stream.observation->machine();
  const bool connected = machine.is_connected();
  add(unheard(report, machine, now - stream.joined_at));
  if (connected && !report.replay.empty()) add(replay_trouble(report, machine, now));
  add(rank_trouble(report, stream.observation->said_rank(), stream.endpoints.ranks));
  return all;
}

}  // namespace dualmesh::node
