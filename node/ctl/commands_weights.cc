// weights: whose service counts how much, for the orders that share it out.
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "node/ctl/answers.h"
#include "node/ctl/commands.h"
#include "node/ctl/json.h"
#include "node/ctl/tables.h"
#include "policies/client_weights.h"

namespace dualmesh::node::ctl {
namespace {

net::Result<std::vector<std::string>> lines_of(const std::string& file) {
  std::ifstream in(file);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) lines.push_back(std::move(line));
  }
  if (!in.eof()) return net::Error{file + ": cannot be read"};
  return lines;
}

// "#KEY=WEIGHT,..." as pairs of texts.
std::vector<std::pair<std::string, std::string>> pairs_of(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> pairs;
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    const std::size_t at = item.find('=');
    pairs.emplace_back(item.substr(0, at), item.substr(at + 1));
  }
  return pairs;
}

}  // namespace

int run_weights(Session& session) {
  AdminClient& node = session.node();
  auto answer = node.call(node.admin().clientWeightsRequest(), "read the weights");
  if (!answer) return failed(answer.error());
  const auto pairs = pairs_of(text(answer->getWeights()));
  if (session.json()) {
    auto weights = nlohmann::ordered_json::object();
    for (const auto& [key, weight] : pairs) weights[key] = std::stod(weight);
    print_json({{"weights", weights}});
    return kExitDone;
  }
  if (pairs.empty()) {
    std::puts("every client has weight 1");
    return kExitDone;
  }
  TextTable table({{.title = "client", .shrink = 1}, {"weight"}});
  for (const auto& [key, weight] : pairs) table.add({key, weight});
  std::fputs(table.render().c_str(), stdout);
  return kExitDone;
}

int run_weights_set(Session& session, std::vector<std::string> items, const std::string& file) {
  if (!file.empty()) {
    auto lines = lines_of(file);
    if (!lines) return failed(lines.error());
    items.insert(items.end(), lines->begin(), lines->end());
  }
  policies::ClientWeights weights;
  if (const std::string problem = weights.read(items); !problem.empty()) {
    return failed(net::Error{problem});
  }
  AdminClient& node = session.node();
  auto request = node.admin().setClientWeightsRequest();
  request.setWeights(weights.text().c_str());
  auto answer = node.call(kj::mv(request), "set the weights");
  if (!answer) return failed(answer.error());
  if (session.json()) {
    print_json({{"set", items.size()}});
  } else {
    std::puts(fmt::format("weights of {} clients set, all others have 1", items.size()).c_str());
  }
  return kExitDone;
}

}  // namespace dualmesh::node::ctl
