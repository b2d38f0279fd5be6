// explain and decisions: why a request goes, or went, where it does.
#include <spdlog/fmt/fmt.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "node/ctl/commands.h"
#include "node/ctl/json.h"
#include "node/ctl/tables.h"

namespace dualmesh::node::ctl {
namespace {

// Said outright, because a string alone could be a value or an Error.
net::Result<std::string> text_value(std::string text) {
  return net::Result<std::string>(boost::system::in_place_value, std::move(text));
}

net::Result<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return net::Error{fmt::format("cannot read the prompt file {}", path)};
  return text_value(std::string(std::istreambuf_iterator<char>(file), {}));
}

net::Result<std::string> only_model(Session& session) {
  AdminClient& node = session.node();
  auto answer = node.call(node.admin().ringsRequest(), "read the models");
  if (!answer) return answer.error();
  std::vector<std::string> models;
  for (auto model : answer->getRings().getModels()) models.emplace_back(model.getModel().cStr());
  if (models.size() == 1) return text_value(models.front());
  if (models.empty()) return net::Error{"no instance serves any model yet; see `instances`"};
  return net::Error{fmt::format("name one of the models with --model: {}", joined(models))};
}

// A text file becomes what the endpoint calls its input; a .json file is posted as it is.
net::Result<std::string> body_of(Session& session, const ExplainQuery& query) {
  auto content = read_file(query.prompt_file);
  if (!content) return content.error();
  if (query.prompt_file.ends_with(".json")) {
    if (!query.model.empty()) {
      return net::Error{"a .json file names its own model: leave --model out"};
    }
    return text_value(*content);
  }
  nlohmann::json body;
  body["model"] = query.model;
  if (query.model.empty()) {
    auto model = only_model(session);
    if (!model) return model.error();
    body["model"] = *model;
  }
  if (query.path.ends_with("/chat/completions")) {
    body["messages"] = {{{"role", "user"}, {"content", *content}}};
  } else if (query.path.ends_with("/completions")) {
    body["prompt"] = *content;
  } else {
    body["input"] = *content;
  }
  return text_value(body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

std::string or_dash(capnp::Text::Reader text) { return text.size() == 0 ? "-" : text.cStr(); }

// What the node says of an instance beside the estimates of its candidates.
struct Other {
  std::uint32_t hit_tokens = 0;
  std::string unavailable;
  std::uint32_t hit_blocks = 0;
  std::string source;
  std::int32_t rank = -1;
  std::uint32_t ranks = 0;
};

using Others = std::map<std::string, Other>;

// e1; e1/3 where it would be sent to that rank.
std::string with_rank(const std::string& name, const Others& others) {
  const auto found = others.find(name);
  if (found == others.end() || found->second.rank < 0) return name;
  return fmt::format("{}/{}", name, found->second.rank);
}

void print_estimates(wire::Decision::Reader decision, const Others& others) {
  TextTable table({{.title = "instance", .shrink = 2},
                   {"ring"},
                   {"cached tokens", Align::right},
                   {"blocks", Align::right},
                   {"known"},
                   {"pending", Align::right},
                   {"first token", Align::right},
                   {"takes requests"}});
  const auto takes = [](const std::string& unavailable) {
    return std::string(unavailable.empty() ? "yes" : "NO");
  };
  std::set<std::string> shown;
  for (auto candidate : decision.getCandidates()) {
    const std::string name = candidate.getInstance().cStr();
    if (name.empty()) continue;  // fewer than two can be chosen from
    shown.insert(name);
    const auto found = others.find(name);
    const Other other = found == others.end() ? Other{} : found->second;
    table.add({with_rank(name, others), or_dash(candidate.getRing()),
               count_text(candidate.getHitTokens()), count_text(other.hit_blocks),
               or_dash(candidate.getSource()), count_text(candidate.getPendingTokens()),
               ms_text(candidate.getTtftMs()), takes(other.unavailable)});
  }
  for (const auto& [name, other] : others) {
    if (shown.contains(name)) continue;
    table.add({with_rank(name, others), "-", count_text(other.hit_tokens),
               count_text(other.hit_blocks), other.source.empty() ? "-" : other.source, "-", "-",
               takes(other.unavailable)});
  }
  std::fputs(table.render().c_str(), stdout);
  for (const auto& [name, other] : others) {
    if (other.unavailable.empty()) continue;
    std::puts(wrapped(fmt::format("{} takes none: {}", name, other.unavailable), 2).c_str());
  }
}

std::string destination_text(wire::Decision::Reader decision, const Others& others) {
  if (decision.getHandedTo().size() > 0) {
    return fmt::format(" would be handed to node {}, which reaches an instance with room",
                       decision.getHandedTo().cStr());
  }
  if (decision.getChosen().size() > 0) {
    return fmt::format(" would go to {}: {}", with_rank(decision.getChosen().cStr(), others),
                       decision.getReason().cStr());
  }
  if (decision.getReason() == "waits") {
    return " would wait at this node: no instance has room";
  }
  return " would go nowhere: no instance takes requests of it";
}

void print_explanation(wire::Admin::ExplainResults::Reader answer) {
  const auto decision = answer.getDecision();
  Others others;
  for (auto hit : answer.getHits()) {
    others[hit.getInstance().cStr()] = {hit.getHitTokens(), hit.getUnavailable().cStr(),
                                        hit.getHitBlocks(), hit.getSource().cStr(),
                                        hit.getRank(),      hit.getRanks()};
  }
  const std::string chosen = decision.getChosen().cStr();
  std::puts((std::string(decision.getModel().cStr()) + destination_text(decision, others)).c_str());
  if (const auto it = others.find(chosen); it != others.end() && !it->second.unavailable.empty()) {
    std::puts("PANIC: more than half of this model's instances look dead, so health is ignored");
  }
  const std::string key =
      fmt::format("{} tokens, ring key of {} block{} {}, policy {}, ring of the model {} ({})",
                  count_text(decision.getInputTokens()), decision.getDepth(),
                  decision.getDepth() == 1 ? "" : "s", decision.getRingKey().cStr(),
                  decision.getPolicy().cStr(), decision.getRingDigest().cStr(),
                  decision.getRingsAgreed() ? "agreed" : "NOT agreed");
  std::puts(wrapped(key, 2).c_str());
  print_estimates(decision, others);
  if (const auto it = others.find(chosen); it != others.end() && it->second.ranks > 1) {
    const std::string where =
        it->second.rank >= 0 ? fmt::format("rank {}, as long as that has room", it->second.rank)
                             : std::string("whichever rank its engine likes");
    std::puts(wrapped(fmt::format("{} has {} ranks with events: it would go to {}", chosen,
                                  it->second.ranks, where),
                      2)
                  .c_str());
  }
}

std::string candidates_text(wire::Decision::Reader decision) {
  std::vector<std::string> parts;
  for (auto candidate : decision.getCandidates()) {
    parts.push_back(
        fmt::format("{}:{}", candidate.getInstance().cStr(), count_text(candidate.getHitTokens())));
  }
  return joined(parts, " ");
}

std::string chosen_text(wire::Decision::Reader decision) {
  if (decision.getHandedTo().size() == 0) return or_dash(decision.getChosen());
  return fmt::format("node {}", decision.getHandedTo().cStr());
}

void print_decisions(capnp::List<wire::Decision>::Reader decisions) {
  TextTable table({{"number", Align::right},
                   {"ago", Align::right},
                   {.title = "model", .shrink = 1},
                   {"tokens", Align::right},
                   {"depth", Align::right},
                   {.title = "candidates:hit", .shrink = 1},
                   {.title = "chosen", .shrink = 1},
                   {"reason"},
                   {"moved", Align::right},
                   {"queued", Align::right},
                   {"ttft", Align::right},
                   {"outcome"}});
  for (auto decision : decisions) {
    table.add({std::to_string(decision.getId()), ms_text(decision.getAgoMs()),
               decision.getModel().cStr(),
               count_text(decision.getInputTokens()), std::to_string(decision.getDepth()),
               candidates_text(decision), chosen_text(decision), decision.getReason().cStr(),
               std::to_string(decision.getMigrations() + decision.getRetries()),
               ms_text(decision.getQueuedMs()),
               decision.getTtftMs() > 0.0 ? ms_text(decision.getTtftMs()) : "-",
               decision.getOutcome().cStr()});
  }
  std::fputs(table.render().c_str(), stdout);
}

}  // namespace

int run_explain(Session& session, const ExplainQuery& query) {
  auto body = body_of(session, query);
  if (!body) return failed(body.error());
  AdminClient& node = session.node();
  auto request = node.admin().explainRequest();
  request.setPath(query.path.c_str());
  request.setBody(kj::arrayPtr(reinterpret_cast<const kj::byte*>(body->data()), body->size()));
  auto answer = node.call(kj::mv(request), "explain the request");
  if (!answer) return failed(answer.error());
  if (session.json()) {
    print_json(
        {{"decision", to_json(answer->getDecision())}, {"hits", to_json(answer->getHits())}});
  } else {
    print_explanation(*answer);
  }
  return kExitDone;
}

int run_decisions(Session& session, std::uint32_t last, std::uint64_t id) {
  AdminClient& node = session.node();
  auto request = node.admin().decisionsRequest();
  request.setLast(id == 0 ? last : std::numeric_limits<std::uint32_t>::max());
  request.setId(id);
  auto answer = node.call(kj::mv(request), "read the decisions");
  if (!answer) return failed(answer.error());
  if (id != 0 && answer->getDecisions().size() == 0) {
    return failed(net::Error{fmt::format(
        "this node has no decision {}: made by another, too long ago, or before its last start",
        id)});
  }
  if (session.json()) {
    print_json(to_json(answer->getDecisions()));
  } else if (answer->getDecisions().size() == 0) {
    std::puts("this node has routed nothing yet");
  } else {
    print_decisions(answer->getDecisions());
  }
  return kExitDone;
}

}  // namespace dualmesh::node::ctl
