// Workload: the requests of a replay, in the order of their arrival, in model time.
//
// A prompt is named, not stored: each block id stands for 512 tokens of text, the same text for the
// same id, and the last block is cut to the tokens that remain. So prompts that begin with the same
// ids begin with the same text, and a growing conversation is a growing list.
//
// Invariant: arrivals never decrease; a prompt of n tokens has ceil(n / 512) blocks, n >= 1.
// Threads: values.
// Source: the block convention is that of the Mooncake traces (FAST'25).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "policies/time.h"

namespace dualmesh::node {

inline constexpr std::uint32_t kBlockTokens = 512;
inline constexpr std::uint32_t kBytesPerToken = 4;
inline constexpr std::uint32_t kBlockBytes = kBlockTokens * kBytesPerToken;

struct ReplayRequest {
  policies::Time arrival{};
  std::uint32_t input_tokens = 1;
  std::uint32_t output_tokens = 1;
  std::vector<std::uint64_t> blocks;
  std::string user;  // sent as the API's `user`; may be empty
};

struct Workload {
  std::vector<ReplayRequest> requests;
  std::vector<std::string> notes;  // what was done to the data, for people
  std::size_t left_out = 0;        // requests longer than the limit
};

// Sessions that arrive as a Poisson process, each with one of a few shared system prompts, turns
// with think time between them, and a context that grows by the answer and the next question.
struct ChatParameters {
  std::size_t requests = 2000;
  double qps = 6.0;
  std::uint64_t seed = 1;
  std::uint32_t system_prompts = 4;
  std::uint32_t system_blocks = 2;      // shared by the sessions of one system prompt
  double mean_turns = 6.0;              // geometric
  double mean_question_tokens = 900.0;  // exponential, at least 16
  double mean_answer_tokens = 180.0;    // exponential, at least 4
  double mean_think_s = 20.0;           // exponential
};
Workload generate_chat(const ChatParameters& parameters);

struct Selection {
  std::size_t requests = 0;         // 0: all
  std::uint32_t max_input = 20480;  // requests of so many tokens and more are left out; 0: no limit
  double qps = 0.0;                 // 0: as recorded
  std::size_t warmup = 0;           // first requests that are not counted
  double warmup_qps = 0.0;          // their own rate; 0: as the rest
};
// Leaves out, cuts and rescales in this order; the pattern of arrivals stays, its scale changes.
void select(Workload& workload, const Selection& selection);

double mean_qps(const Workload& workload);

// The prompt's text: exactly input_tokens x 4 bytes of ASCII that JSON does not escape.
std::string prompt_text(const ReplayRequest& request);

}  // namespace dualmesh::node
