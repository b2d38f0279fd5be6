#include "node/simulator/client_report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "node/replay/statistics.h"

namespace dualmesh::node {
namespace {

using Counted = std::span<const SimRequest>;
using Wanted = std::span<const ReplayRequest>;

constexpr double kOutputWeight = 2.0;

// Output tokens that a request had got at that time, those between its first and its last evenly.
double produced_by(const SimRequest& request, double time_s) {
  const double first_s = request.arrival_s + request.ttft_s;
  const double last_s = request.arrival_s + request.e2e_s;
  if (time_s < first_s) return 0;
  if (time_s >= last_s) return request.output_tokens;
  return 1 + (request.output_tokens - 1) * (time_s - first_s) / (last_s - first_s);
}

void judge(std::vector<ClientFigures>& clients) {
  std::vector<double> demands, weights;
  double asked = 0, given = 0, weight = 0;
  for (const ClientFigures& one : clients) {
    demands.push_back(one.demand);
    weights.push_back(one.weight);
    asked += one.demand;
    given += one.service;
    weight += one.weight;
  }
  const std::vector<double> shares = max_min_shares(demands, given, weights);
  for (std::size_t i = 0; i < clients.size(); ++i) {
    clients[i].fair_share = shares[i];
    clients[i].well_behaved = clients[i].demand <= asked * clients[i].weight / weight;
  }
}

}  // namespace

std::vector<ClientFigures> make_client_figures(Counted counted, Wanted wanted,
                                               const policies::ClientWeights& weights) {
  struct Account {
    ClientFigures figures;
    std::vector<double> ttft_s;
  };
  std::map<std::string_view, Account> accounts;
  const double end_s = counted.back().arrival_s;
  for (std::size_t i = 0; i < counted.size(); ++i) {
    const SimRequest& request = counted[i];
    Account& account = accounts[wanted[i].user];
    account.ttft_s.push_back(request.ttft_s);
    account.figures.demand += request.input_tokens + kOutputWeight * request.output_tokens;
    if (request.arrival_s + request.ttft_s > end_s) continue;
    const double service = request.input_tokens + kOutputWeight * produced_by(request, end_s);
    account.figures.service += service;
    account.figures.computed += service - request.cached_tokens;
  }
  std::vector<ClientFigures> clients;
  for (auto& [client, account] : accounts) {
    std::sort(account.ttft_s.begin(), account.ttft_s.end());
    ClientFigures& one = clients.emplace_back(std::move(account.figures));
    one.client = client;
    one.weight = weights.of(policies::client_key(client));
    one.requests = static_cast<double>(account.ttft_s.size());
    one.ttft_p50 = percentile(account.ttft_s, 50);
    one.ttft_p99 = percentile(account.ttft_s, 99);
  }
  std::stable_sort(clients.begin(), clients.end(),
                   [](const auto& a, const auto& b) { return a.demand > b.demand; });
  judge(clients);
  return clients;
}

double client_fairness(std::span<const ClientFigures> clients) {
  std::vector<double> ratios;
  for (const ClientFigures& one : clients) {
    ratios.push_back(one.fair_share > 0 ? one.service / one.fair_share : 0);
  }
  return jain_index(ratios);
}

std::vector<double> ttft_s_of(std::span<const ClientFigures> clients, bool well_behaved,
                              Counted counted, Wanted wanted) {
  std::set<std::string_view> names;
  for (const ClientFigures& one : clients) {
    if (one.well_behaved == well_behaved) names.insert(one.client);
  }
  std::vector<double> times;
  for (std::size_t i = 0; i < counted.size(); ++i) {
    if (names.contains(wanted[i].user)) times.push_back(counted[i].ttft_s);
  }
  std::sort(times.begin(), times.end());
  return times;
}

double jain_index(std::span<const double> values) {
  double sum = 0;
  double squares = 0;
  for (const double value : values) {
    sum += value;
    squares += value * value;
  }
  return squares > 0 ? sum * sum / (static_cast<double>(values.size()) * squares) : NAN;
}

std::vector<double> max_min_shares(std::span<const double> demands, double total,
                                   std::span<const double> weights) {
  const auto weight = [&](std::size_t i) { return weights.empty() ? 1.0 : weights[i]; };
  std::vector<std::size_t> order(demands.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return demands[a] / weight(a) < demands[b] / weight(b);
  });
  double weights_left = 0;
  for (const std::size_t i : order) weights_left += weight(i);
  std::vector<double> shares(demands.size());
  for (const std::size_t i : order) {
    const double even = total * weight(i) / weights_left;
    shares[i] = std::min(demands[i], even);
    total -= shares[i];
    weights_left -= weight(i);
  }
  return shares;
}

}  // namespace dualmesh::node
