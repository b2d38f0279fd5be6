#include "node/replay/workload.h"

#include <algorithm>

#include "net/error.h"
#include "node/replay/random.h"

namespace dualmesh::node {

using policies::from_seconds;
using policies::Time;
using policies::to_seconds;

namespace {

struct Session {
  std::vector<std::uint64_t> blocks;
  std::uint64_t next_block;
  std::string user;

  void grow_to(std::uint32_t tokens) {
    while (blocks.size() * kBlockTokens < tokens) blocks.push_back(next_block++);
  }
};

std::uint32_t tokens(Random& random, double mean, double at_least) {
  return static_cast<std::uint32_t>(std::max(at_least, random.exponential(mean)));
}

// All turns of one session; sessions have block ids of their own, apart from the system prompt's.
void add_session(const ChatParameters& parameters, std::uint64_t number, double start_s,
                 Random& random, std::vector<ReplayRequest>& out) {
  const std::uint64_t system = random.next() % parameters.system_prompts;
  Session session{{}, (number + 1) << 20, "user-" + std::to_string(number)};
  for (std::uint32_t i = 0; i < parameters.system_blocks; ++i) {
    session.blocks.push_back(system * parameters.system_blocks + i);
  }
  std::uint32_t context = parameters.system_blocks * kBlockTokens;
  double at_s = start_s;
  do {
    context += tokens(random, parameters.mean_question_tokens, 16.0);
    session.grow_to(context);
    ReplayRequest request;
    request.arrival = from_seconds(at_s);
    request.input_tokens = context;
    request.output_tokens = tokens(random, parameters.mean_answer_tokens, 4.0);
    request.blocks = session.blocks;
    request.user = session.user;
    context += request.output_tokens;
    out.push_back(std::move(request));
    at_s += random.exponential(parameters.mean_think_s);
  } while (random.uniform() > 1.0 / parameters.mean_turns);
}

}  // namespace

Workload generate_chat(const ChatParameters& parameters) {
  Workload workload;
  Random random(parameters.seed);
  const double sessions_per_s = parameters.qps / parameters.mean_turns;
  double start_s = 0.0;
  // The first sessions meet an empty system, so the rate would climb for a while: what comes before
  // `settled_s` is not used. Sessions also end at different times, so a bare cut would thin out the
  // end: they are made until the newest starts behind the wanted number of requests.
  const double settled_s = 3.0 * parameters.mean_turns * parameters.mean_think_s;
  auto usable = [&](double until_s) {
    return std::count_if(workload.requests.begin(), workload.requests.end(),
                         [=](const ReplayRequest& r) {
                           const double at_s = to_seconds(r.arrival);
                           return at_s >= settled_s && at_s <= until_s;
                         });
  };
  for (std::uint64_t number = 0;; ++number) {
    if (start_s > settled_s && number % 16 == 0 &&
        static_cast<std::size_t>(usable(start_s)) >= parameters.requests) {
      break;
    }
    add_session(parameters, number, start_s, random, workload.requests);
    start_s += random.exponential(1.0 / sessions_per_s);
  }
  std::stable_sort(
      workload.requests.begin(), workload.requests.end(),
      [](const ReplayRequest& a, const ReplayRequest& b) { return a.arrival < b.arrival; });
  std::erase_if(workload.requests,
                [settled_s](const ReplayRequest& r) { return to_seconds(r.arrival) < settled_s; });
  workload.requests.resize(parameters.requests);
  const Time origin = workload.requests.front().arrival;
  for (ReplayRequest& request : workload.requests) request.arrival -= origin;
  workload.notes.push_back(
      fmt::format("generated multi-turn chat: {} system prompts of {} tokens, {:.0f} turns a "
                  "session on average, "
                  "seed {}",
                  parameters.system_prompts, parameters.system_blocks * kBlockTokens,
                  parameters.mean_turns, parameters.seed));
  return workload;
}

double mean_qps(const Workload& workload) {
  if (workload.requests.size() < 2) return 0.0;
  const Time span = workload.requests.back().arrival - workload.requests.front().arrival;
  return span > Time{} ? static_cast<double>(workload.requests.size() - 1) / to_seconds(span) : 0.0;
}

namespace {

// Scales the gaps between requests [first, last) so that their mean rate becomes `qps`; what
// follows keeps its distance to them.
void rescale(std::vector<ReplayRequest>& requests, std::size_t first, std::size_t last,
             double qps) {
  if (last - first < 2) return;
  const double span_s = to_seconds(requests[last - 1].arrival - requests[first].arrival);
  if (span_s <= 0.0) return;
  const double factor = static_cast<double>(last - 1 - first) / qps / span_s;
  const Time origin = requests[first].arrival;
  const Time old_end = requests[last - 1].arrival;
  for (std::size_t i = first; i < last; ++i) {
    requests[i].arrival = origin + from_seconds(to_seconds(requests[i].arrival - origin) * factor);
  }
  const Time moved = requests[last - 1].arrival - old_end;
  for (std::size_t i = last; i < requests.size(); ++i) requests[i].arrival += moved;
}

}  // namespace

void select(Workload& workload, const Selection& selection) {
  auto& requests = workload.requests;
  if (selection.max_input > 0) {
    const auto too_long = [&](const ReplayRequest& r) {
      return r.input_tokens >= selection.max_input;
    };
    workload.left_out = std::erase_if(requests, too_long);
    if (workload.left_out > 0) {
      workload.notes.push_back(fmt::format("{} requests of {} input tokens or more left out",
                                           workload.left_out, selection.max_input));
    }
  }
  if (selection.requests > 0 && requests.size() > selection.requests) {
    requests.resize(selection.requests);
  }
  if (requests.empty()) return;
  const Time origin = requests.front().arrival;
  for (ReplayRequest& request : requests) request.arrival -= origin;
  const std::size_t warmup = std::min(selection.warmup, requests.size());
  if (selection.qps > 0.0) rescale(requests, 0, requests.size(), selection.qps);
  if (selection.warmup_qps <= 0.0 || warmup == 0) return;
  rescale(requests, 0, warmup, selection.warmup_qps);
  // What is counted has the wanted rate exactly, however its pattern differs from the warm-up's.
  if (selection.qps > 0.0) rescale(requests, warmup, requests.size(), selection.qps);
}

namespace {

// 2,048 bytes from an id: lower-case letters with a space after every seventh, so it looks like
// text.
void append_block(std::uint64_t id, std::size_t bytes, std::string& out) {
  static constexpr char kLetters[] = "etaoinshrdlucmfwypvbgkjqxzetaoin";
  Random random(id * 0xD1342543DE82EF95 + 1);
  char buffer[8];
  for (std::size_t done = 0; done < bytes; done += sizeof buffer) {
    std::uint64_t bits = random.next();
    for (std::size_t i = 0; i < 7; ++i, bits >>= 5) buffer[i] = kLetters[bits & 31];
    buffer[7] = ' ';
    out.append(buffer, std::min(sizeof buffer, bytes - done));
  }
}

}  // namespace

std::string prompt_text(const ReplayRequest& request) {
  std::size_t left = std::size_t{request.input_tokens} * kBytesPerToken;
  DUALMESH_CHECK(request.blocks.size() == (request.input_tokens + kBlockTokens - 1) / kBlockTokens,
                 "{} blocks for {} tokens", request.blocks.size(), request.input_tokens);
  std::string text;
  text.reserve(left);
  for (std::uint64_t id : request.blocks) {
    const std::size_t bytes = std::min<std::size_t>(left, kBlockBytes);
    append_block(id, bytes, text);
    left -= bytes;
  }
  return text;
}

}  // namespace dualmesh::node
