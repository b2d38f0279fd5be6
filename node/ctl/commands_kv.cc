// kv: what a node knows of the instances' caches, who told it, and whether it holds.
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "node/ctl/answers.h"
#include "node/ctl/commands.h"
#include "node/ctl/json.h"
#include "node/ctl/tables.h"

namespace dualmesh::node::ctl {
namespace {

using Names = std::set<std::string, std::less<>>;

Names with_ranks(wire::Kv::Reader kv) {
  Names names;
  for (auto stream : kv.getStreams()) {
    if (stream.getRank() > 0) names.insert(stream.getInstance().cStr());
  }
  return names;
}

// As all of dualmeshctl: with the rank where the instance has several.
std::string name_of(wire::KvStream::Reader stream, const Names& ranked) {
  const std::string instance = stream.getInstance().cStr();
  return ranked.contains(instance) ? fmt::format("{}/{}", instance, stream.getRank()) : instance;
}

std::string observers_text(wire::KvStream::Reader stream) {
  const std::vector<std::string> names = texts(stream.getObservers());
  constexpr std::size_t kShown = 2;
  if (names.size() <= kShown) return names.empty() ? "-" : joined(names, ",");
  return fmt::format("{},{} +{}", names[0], names[1], names.size() - kShown);
}

std::string subscribed_text(wire::KvStream::Reader stream) {
  if (!stream.getObserving()) return "no";
  return stream.getConnected() ? "yes" : "NOT CONNECTED";
}

std::string error_text(const wire::KvPrediction::Reader* prediction) {
  if (prediction == nullptr || prediction->getRequests() == 0) return "-";
  return fmt::format("{:.0f}", prediction->getMeanErrorTokens());
}

using Predictions = std::map<std::string, wire::KvPrediction::Reader>;

Predictions by_instance(capnp::List<wire::KvPrediction>::Reader list) {
  Predictions predictions;
  for (auto prediction : list) predictions.emplace(text(prediction.getInstance()), prediction);
  return predictions;
}

void print_table(wire::Kv::Reader kv, const Predictions& predictions) {
  TextTable table({{.title = "instance", .shrink = 2},
                   {"known"},
                   {"blocks", Align::right},
                   {"of tokens", Align::right},
                   {"batch", Align::right},
                   {.title = "observers", .shrink = 1},
                   {"subscribed"},
                   {"changes/s", Align::right},
                   {"from it", Align::right},
                   {"error", Align::right}});
  const Names ranked = with_ranks(kv);
  for (auto stream : kv.getStreams()) {
    const auto found = predictions.find(text(stream.getInstance()));
    table.add({name_of(stream, ranked), stream.getConfidence().cStr(),
               count_text(stream.getBlocks()),
               stream.getBlockTokens() == 0 ? "-" : std::to_string(stream.getBlockTokens()),
               count_text(stream.getEnd()), observers_text(stream), subscribed_text(stream),
               stream.getRatesKnown() ? fmt::format("{:.0f}", stream.getEventsPerS()) : "-",
               stream.getRatesKnown() && stream.getObserving()
                   ? bytes_text(static_cast<std::uint64_t>(stream.getBytesPerS())) + "/s"
                   : "-",
               error_text(found == predictions.end() ? nullptr : &found->second)});
  }
  std::fputs(table.render().c_str(), stdout);
}

// What looks wrong, as far as this node can tell. Why it is not exact is known where it is heard.
std::vector<std::string> remarks_of(wire::KvStream::Reader stream) {
  std::vector<std::string> remarks;
  if (stream.getWhyNotExact().size() > 0 && !stream.getObserving() &&
      stream.getObservers().size() > 0) {
    remarks.push_back(
        fmt::format("{} subscribes, and may say more of it", stream.getObservers()[0].cStr()));
  }
  std::ranges::move(texts(stream.getRemarks()), std::back_inserter(remarks));
  return remarks;
}

void print_remarks(wire::Kv::Reader kv, const Predictions& predictions) {
  const Names ranked = with_ranks(kv);
  for (auto stream : kv.getStreams()) {
    if (stream.getWhyNotExact().size() > 0) {
      std::puts(wrapped(fmt::format("{} is {}: {}", name_of(stream, ranked),
                                    stream.getConfidence().cStr(), stream.getWhyNotExact().cStr()),
                        2)
                    .c_str());
    }
    for (const std::string& remark : remarks_of(stream)) {
      std::puts(wrapped(fmt::format("{}: {}", name_of(stream, ranked), remark), 2).c_str());
    }
    if (stream.getLastRefusal().size() > 0) {
      std::puts(wrapped(fmt::format("{} sent what cannot be used, last: {}",
                                    name_of(stream, ranked), stream.getLastRefusal().cStr()),
                        2)
                    .c_str());
    }
  }
  for (const auto& [instance, prediction] : predictions) {
    if (prediction.getMismatch().size() == 0) continue;
    std::puts(wrapped(fmt::format("{}: {}", instance, prediction.getMismatch().cStr()), 2).c_str());
  }
}

std::uint64_t count_of(capnp::List<wire::Count>::Reader counts, std::string_view name) {
  for (auto count : counts) {
    if (name == count.getName().cStr()) return count.getCount();
  }
  return 0;
}

void print_totals(wire::Kv::Reader kv) {
  const auto exchange = kv.getExchange();
  std::puts(wrapped(fmt::format("index: {} blocks in {}{}; from other nodes {} changes in {}, to "
                                "them {} in {}; {} caches fetched whole",
                                count_text(kv.getIndexBlocks()), bytes_text(kv.getIndexBytes()),
                                kv.getDepthLimit() == UINT32_MAX
                                    ? ""
                                    : fmt::format(", without those from the {}th of a prompt on",
                                                  kv.getDepthLimit() + 1),
                                count_text(count_of(exchange, "changes_received")),
                                bytes_text(count_of(exchange, "bytes_received")),
                                count_text(count_of(exchange, "changes_sent")),
                                bytes_text(count_of(exchange, "bytes_sent")),
                                count_text(count_of(exchange, "fetches"))),
                    2)
                .c_str());
  if (const std::uint64_t found = count_of(exchange, "contradictions")) {
    std::puts(wrapped(fmt::format("ALARM: {} times one batch was known with two contents",
                                  count_text(found)),
                      2)
                  .c_str());
  }
}

std::string life_text(wire::KvStream::Reader stream) {
  if (stream.getEpoch() == 0) return "nothing known yet";
  const auto began = static_cast<std::time_t>(stream.getEpoch() / 1'000'000);
  std::tm utc{};
  char date[32] = "";
  if (gmtime_r(&began, &utc)) std::strftime(date, sizeof date, "%F %T UTC", &utc);
  const std::string from = stream.getBase() == 0
                               ? "from its beginning"
                               : fmt::format("from batch {} on", count_text(stream.getBase()));
  return fmt::format("{} ({}), known {} to batch {}", stream.getEpoch(), date, from,
                     count_text(stream.getEnd()));
}

// One instance, everything.
void print_stream(wire::KvStream::Reader stream) {
  const auto line = [](const char* name, const std::string& value) {
    std::puts(wrapped(fmt::format("  {:<12}{}", name, value), 14).c_str());
  };
  std::puts(fmt::format("{}, rank {}: {}", stream.getInstance().cStr(), stream.getRank(),
                        stream.getConfidence().cStr())
                .c_str());
  if (stream.getWhyNotExact().size() > 0) line("because", text(stream.getWhyNotExact()));
  for (const std::string& remark : remarks_of(stream)) line("look", remark);
  line("events", text(stream.getEvents()));
  line("replay", stream.getReplay().size() > 0 ? text(stream.getReplay()) : "no endpoint given");
  line("topic", stream.getTopic().size() > 0 ? text(stream.getTopic()) : "any");
  line("blocks",
       fmt::format("{} of {} tokens{}", count_text(stream.getBlocks()), stream.getBlockTokens(),
                   stream.getUnknownBlocks() == 0
                       ? ""
                       : fmt::format(", {} of them of unknown content",
                                     count_text(stream.getUnknownBlocks()))));
  line("life", life_text(stream));
  line("digest", fmt::format("{:016x}", stream.getDigestSum()));
  line("observers", joined(texts(stream.getObservers())));
  line("subscribed", subscribed_text(stream));
  const std::string rate =
      stream.getRatesKnown() ? fmt::format(", {:.0f}/s", stream.getEventsPerS()) : "";
  line("changes", count_text(stream.getChanges()) + rate);
  if (!stream.getObserving()) return;
  std::vector<std::string> counts;
  for (auto count : stream.getReceived()) {
    if (count.getCount() == 0) continue;
    const bool bytes = std::string_view(count.getName().cStr()) == "bytes";
    std::string name = count.getName().cStr();
    std::ranges::replace(name, '_', ' ');
    counts.push_back(bytes ? bytes_text(count.getCount())
                           : fmt::format("{} {}", count_text(count.getCount()), name));
  }
  line("received", counts.empty() ? "nothing" : joined(counts));
  if (stream.getLastRefusal().size() > 0) line("refused", text(stream.getLastRefusal()));
}

void print_prediction(wire::KvPrediction::Reader prediction) {
  if (prediction.getRequests() == 0) return;
  std::puts(
      wrapped(fmt::format("cached tokens as {} reported them in {} answers, beside those "
                          "expected: {:.0f} tokens apart, {:+.0f} on average",
                          prediction.getInstance().cStr(), count_text(prediction.getRequests()),
                          prediction.getMeanErrorTokens(), prediction.getMeanBiasTokens()),
              2)
          .c_str());
  if (prediction.getMismatch().size() > 0) {
    std::puts(wrapped(prediction.getMismatch().cStr(), 2).c_str());
  }
}

// What to say of INSTANCE/RANK where there is the instance, and no such rank.
std::optional<net::Error> ranks_of(Session& session, const std::string& name) {
  const std::size_t slash = name.rfind('/');
  if (slash == std::string::npos) return {};
  const std::string instance = name.substr(0, slash);
  auto request = session.node().admin().kvRequest();
  request.setInstance(instance.c_str());
  auto answer = session.node().call(kj::mv(request), "read what it knows of caches");
  if (!answer) return answer.error();
  const auto ranks = answer->getKv().getStreams().size();
  if (ranks == 0) return {};
  const std::string those = ranks == 1 ? "rank 0 alone" : fmt::format("ranks 0 to {}", ranks - 1);
  return net::Error{
      fmt::format("{} has {}, and no rank {}", instance, those, name.substr(slash + 1))};
}

}  // namespace

int run_kv(Session& session, const std::string& instance) {
  AdminClient& node = session.node();
  auto request = node.admin().kvRequest();
  request.setInstance(instance.c_str());
  auto answer = node.call(kj::mv(request), "read what it knows of caches");
  if (!answer) return failed(answer.error());
  const auto kv = answer->getKv();
  if (!instance.empty() && kv.getStreams().size() == 0) {
    if (const auto ranks = ranks_of(session, instance)) return failed(*ranks);
    return failed(
        {fmt::format("{} is no instance with an address for KV events; give it one: "
                     "dualmeshctl instance add {} HOST:PORT --kv-events tcp://HOST:PORT",
                     instance, instance)});
  }
  if (session.json()) {
    print_json(to_json(kv));
  } else if (!instance.empty()) {
    for (auto stream : kv.getStreams()) print_stream(stream);
    for (auto prediction : kv.getPredictions()) print_prediction(prediction);
  } else if (kv.getStreams().size() == 0) {
    std::puts(
        "no instance has an address for KV events, so caches are predicted; give one:\n"
        "  dualmeshctl instance add NAME HOST:PORT --kv-events tcp://HOST:PORT");
  } else {
    const Predictions predictions = by_instance(kv.getPredictions());
    print_table(kv, predictions);
    print_remarks(kv, predictions);
    print_totals(kv);
  }
  return kExitDone;
}

}  // namespace dualmesh::node::ctl
