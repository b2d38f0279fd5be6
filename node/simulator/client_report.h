// ClientFigures: what a simulated run came to for each client.
//
// Service is input + 2 x output tokens, delivered until the last arrival, so that the drain makes
// nothing fair that was not. The fair share of a client is its max-min share, by weight, of all the
// service that was given: who asks for little gets it, the rest is split among the others. A
// client is well-behaved when it asks for no more than its even share, by weight, of all that is
// asked for; that depends on the workload alone, so it names the same clients under every policy.
//
// Threads: pure functions.
// Source: VTC (OSDI 2024) for the weights of service; Jain, Chiu and Hawe (1984) for the index.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "node/simulator/simulation.h"

namespace dualmesh::node {

struct ClientFigures {
  std::string client;
  double weight = 1;
  double requests = 0;
  double demand = 0;  // service asked for
  double service = 0;
  double computed = 0;  // service without what was found in a cache; dlpm and d2lpm share this out
  double fair_share = 0;
  double ttft_p50 = 0, ttft_p99 = 0;
  bool well_behaved = true;
};

// Of the counted requests, which are not none; by demand, the greatest first.
std::vector<ClientFigures> make_client_figures(std::span<const SimRequest> counted,
                                               std::span<const ReplayRequest> wanted,
                                               const policies::ClientWeights& weights);

// Jain's index of service / fair share: 1 with one client, and when all get what they ask.
double client_fairness(std::span<const ClientFigures> clients);
// Times to the first token of well-behaved clients' requests, or of the others', ascending.
std::vector<double> ttft_s_of(std::span<const ClientFigures> clients, bool well_behaved,
                              std::span<const SimRequest> counted,
                              std::span<const ReplayRequest> wanted);

// 1 when all values are equal, 1/n when one has everything.
double jain_index(std::span<const double> values);
// Shares `total` among demands so that the smallest by weight are met first and the rest is split
// by weight. No weights: all are 1.
std::vector<double> max_min_shares(std::span<const double> demands, double total,
                                   std::span<const double> weights = {});

}  // namespace dualmesh::node
