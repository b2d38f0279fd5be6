#include "node/replay/generators.h"

#include <algorithm>
#include <array>
#include <map>

#include "net/error.h"
#include "node/replay/random.h"

namespace dualmesh::node {
namespace {

using policies::Parameter;
using policies::ParameterValues;

// Ids of shared blocks are small; those of one request alone begin here.
constexpr std::uint64_t kOwnBlocks = std::uint64_t{1} << 40;

std::uint32_t tokens(Random& random, double mean, double at_least) {
  return static_cast<std::uint32_t>(std::max(at_least, random.exponential(mean)));
}

// Ranks from 0, of weight 1 / (rank + 1)^exponent.
class Zipf {
 public:
  Zipf(std::size_t ranks, double exponent) {
    double sum = 0;
    for (std::size_t i = 0; i < ranks; ++i) {
      cumulative_.push_back(sum += std::pow(static_cast<double>(i + 1), -exponent));
    }
  }
  std::size_t draw(Random& random) const {
    const double at = random.uniform() * cumulative_.back();
    const auto found = std::lower_bound(cumulative_.begin(), cumulative_.end(), at);
    return static_cast<std::size_t>(found - cumulative_.begin());
  }

 private:
  std::vector<double> cumulative_;
};

// Client 0 sends `heavy` times as much as each other.
std::uint32_t client(Random& random, double clients, double heavy) {
  const double at = random.uniform() * (clients - 1 + heavy);
  const double number = at <= heavy ? 0 : std::min(clients - 1, std::ceil(at - heavy));
  return static_cast<std::uint32_t>(number);
}

std::string name_of(std::uint32_t client) { return fmt::format("client-{}", client); }

// Poisson arrivals; `prompt` writes the leading blocks of each, a question of its own is appended.
template <class Prompt>
Workload poisson(const GeneratedSize& size, Random& random, Prompt&& prompt) {
  Workload workload;
  double at_s = 0;
  std::uint64_t own = kOwnBlocks;
  for (std::size_t i = 0; i < size.requests; ++i) {
    ReplayRequest request;
    request.arrival = policies::from_seconds(at_s);
    const std::uint32_t question = prompt(request);
    request.input_tokens =
        static_cast<std::uint32_t>(request.blocks.size()) * kBlockTokens + question;
    while (request.blocks.size() * kBlockTokens < request.input_tokens) {
      request.blocks.push_back(own++);
    }
    workload.requests.push_back(std::move(request));
    at_s += random.exponential(1.0 / size.qps);
  }
  return workload;
}

void append_run(std::vector<std::uint64_t>& blocks, std::uint64_t first, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) blocks.push_back(first + i);
}

constexpr std::array kChatKnobs{
    Parameter{"system_prompts", 4, 1, 100'000, "different system prompts"},
    Parameter{"system_blocks", 2, 1, 64, "512-token blocks of each"},
    Parameter{"turns", 6, 1, 1000, "mean turns of a session, geometric"},
    Parameter{"question_tokens", 900, 16, 100'000, "mean, exponential"},
    Parameter{"answer_tokens", 180, 4, 100'000, "mean, exponential"},
    Parameter{"think_s", 20, 0, 3600, "mean seconds between turns, exponential"},
};
constexpr std::array kAgentKnobs{
    Parameter{"system_prompts", 8, 1, 100'000, "different sets of tools"},
    Parameter{"system_blocks", 6, 1, 64, "512-token blocks of each"},
    Parameter{"turns", 12, 1, 1000, "mean steps of an agent, geometric"},
    Parameter{"question_tokens", 600, 16, 100'000, "mean of a tool's answer, exponential"},
    Parameter{"answer_tokens", 120, 4, 100'000, "mean, exponential"},
    Parameter{"think_s", 3, 0, 3600, "mean seconds that a tool takes, exponential"},
};

Workload make_chat(const ParameterValues& knobs, const GeneratedSize& size) {
  ChatParameters chat;
  chat.requests = size.requests;
  chat.qps = size.qps;
  chat.seed = size.seed;
  chat.system_prompts = static_cast<std::uint32_t>(knobs[0]);
  chat.system_blocks = static_cast<std::uint32_t>(knobs[1]);
  chat.mean_turns = knobs[2];
  chat.mean_question_tokens = knobs[3];
  chat.mean_answer_tokens = knobs[4];
  chat.mean_think_s = knobs[5];
  return generate_chat(chat);
}

constexpr std::array kRagKnobs{
    Parameter{"documents", 300, 1, 1'000'000, "documents in the store"},
    Parameter{"document_blocks", 6, 1, 64, "512-token blocks of each"},
    Parameter{"per_request", 2, 1, 16, "documents in one prompt, in the order of retrieval"},
    Parameter{"exponent", 0.9, 0, 4, "of their Zipf popularity"},
    Parameter{"instruction_blocks", 1, 0, 64, "shared blocks before the documents"},
    Parameter{"question_tokens", 150, 1, 100'000, "mean, exponential"},
    Parameter{"answer_tokens", 200, 1, 100'000, "mean, exponential"},
    Parameter{"clients", 1, 1, 10'000, "who send"},
    Parameter{"heavy", 1, 1, 1000, "client 0 sends so many times as much as each other"},
};

Workload make_rag(const ParameterValues& knobs, const GeneratedSize& size) {
  Random random(size.seed);
  const Zipf popularity(static_cast<std::size_t>(knobs[0]), knobs[3]);
  const auto document_blocks = static_cast<std::uint64_t>(knobs[1]);
  const auto instruction = static_cast<std::uint64_t>(knobs[4]);
  // What is computed for a block holds all before it, so a document behind another one is another
  // prefix: by the last block before it and the document, the first block.
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> behind;
  std::uint64_t next = instruction + static_cast<std::uint64_t>(knobs[0]) * document_blocks;
  return poisson(size, random, [&](ReplayRequest& request) {
    append_run(request.blocks, 0, instruction);
    for (double i = 0; i < std::floor(knobs[2]); ++i) {
      const std::uint64_t document = popularity.draw(random);
      std::uint64_t first = instruction + document * document_blocks;
      if (i > 0) {
        const auto [found, fresh] = behind.try_emplace({request.blocks.back(), document}, next);
        if (fresh) next += document_blocks;
        first = found->second;
      }
      append_run(request.blocks, first, document_blocks);
    }
    request.output_tokens = tokens(random, knobs[6], 1);
    request.user = name_of(client(random, std::floor(knobs[7]), knobs[8]));
    return tokens(random, knobs[5], 1);
  });
}

constexpr std::array kZipfKnobs{
    Parameter{"prefixes", 400, 1, 1'000'000, "different prefixes"},
    Parameter{"prefix_blocks", 6, 1, 64, "512-token blocks of each"},
    Parameter{"exponent", 1.1, 0, 4, "of their Zipf popularity"},
    Parameter{"shift_s", 120, 0, 1'000'000, "seconds after which the ranks move on; 0: never"},
    Parameter{"shift_by", 37, 1, 1'000'000, "prefixes by which they move"},
    Parameter{"question_tokens", 400, 1, 100'000, "mean, exponential"},
    Parameter{"answer_tokens", 200, 1, 100'000, "mean, exponential"},
    Parameter{"clients", 1, 1, 10'000, "who send"},
    Parameter{"heavy", 1, 1, 1000, "client 0 sends so many times as much as each other"},
    Parameter{"own", 0, 0, 1, "1: the prefixes of each client are its own"},
};

Workload make_zipf(const ParameterValues& knobs, const GeneratedSize& size) {
  Random random(size.seed);
  const auto prefixes = static_cast<std::size_t>(knobs[0]);
  const auto prefix_blocks = static_cast<std::uint64_t>(knobs[1]);
  const Zipf popularity(prefixes, knobs[2]);
  return poisson(size, random, [&](ReplayRequest& request) {
    const double at_s = policies::to_seconds(request.arrival);
    const auto shifts = static_cast<std::size_t>(knobs[3] > 0 ? at_s / knobs[3] : 0);
    const std::size_t moved = shifts * static_cast<std::size_t>(knobs[4]);
    std::size_t prefix = (popularity.draw(random) + moved) % prefixes;
    request.output_tokens = tokens(random, knobs[6], 1);
    const std::uint32_t number = client(random, std::floor(knobs[7]), knobs[8]);
    request.user = name_of(number);
    if (knobs[9] > 0) prefix += number * prefixes;
    append_run(request.blocks, prefix * prefix_blocks, prefix_blocks);
    return tokens(random, knobs[5], 1);
  });
}

constexpr std::array kUniformKnobs{
    Parameter{"input_tokens", 2000, 1, 1'000'000, "mean"},
    Parameter{"output_tokens", 200, 1, 100'000, "mean"},
    Parameter{"spread", 1, 0, 1, "of both: 0 all equal, 1 exponential"},
    Parameter{"clients", 1, 1, 10'000, "who send"},
    Parameter{"heavy", 1, 1, 1000, "client 0 sends so many times as much as each other"},
};

Workload make_uniform(const ParameterValues& knobs, const GeneratedSize& size) {
  Random random(size.seed);
  const auto drawn = [&](double mean) {
    const double spread = knobs[2];
    const double value = (1 - spread) * mean + spread * random.exponential(mean);
    return static_cast<std::uint32_t>(std::max(1.0, std::round(value)));
  };
  return poisson(size, random, [&](ReplayRequest& request) {
    request.output_tokens = drawn(knobs[1]);
    request.user = name_of(client(random, std::floor(knobs[3]), knobs[4]));
    return drawn(knobs[0]);
  });
}

struct Generator {
  std::string_view name;
  std::span<const Parameter> knobs;
  Workload (*make)(const ParameterValues&, const GeneratedSize&);
};
constexpr std::array kGenerators{
    Generator{"multi-turn", kChatKnobs, make_chat},
    Generator{"agents", kAgentKnobs, make_chat},
    Generator{"rag", kRagKnobs, make_rag},
    Generator{"zipf", kZipfKnobs, make_zipf},
    Generator{"uniform", kUniformKnobs, make_uniform},
};

const Generator* find(std::string_view name) {
  const auto found = std::find_if(kGenerators.begin(), kGenerators.end(),
                                  [name](const Generator& one) { return one.name == name; });
  return found == kGenerators.end() ? nullptr : &*found;
}

}  // namespace

std::vector<std::string> generator_names() {
  std::vector<std::string> names;
  for (const Generator& one : kGenerators) names.emplace_back(one.name);
  return names;
}

std::span<const Parameter> generator_parameters(std::string_view name) {
  const Generator* known = find(name);
  return known != nullptr ? known->knobs : std::span<const Parameter>{};
}

std::string check_generator(std::string_view spec) {
  const auto [name, text] = policies::split_spec(spec);
  if (const Generator* known = find(name)) {
    const std::string problem = ParameterValues(known->knobs).read(text);
    return problem.empty() ? "" : fmt::format("{}: {}", name, problem);
  }
  return fmt::format("there is no generator '{}'; allowed: {}", name,
                     fmt::join(generator_names(), " "));
}

Workload generate(std::string_view spec, const GeneratedSize& size) {
  const auto [name, text] = policies::split_spec(spec);
  const Generator* known = find(name);
  DUALMESH_CHECK(known != nullptr, "no generator {}", name);
  ParameterValues knobs(known->knobs);
  const std::string problem = knobs.read(text);
  DUALMESH_CHECK(problem.empty(), "{}: {}", spec, problem);
  Workload workload = known->make(knobs, size);
  if (workload.notes.empty()) {
    workload.notes.push_back(fmt::format("generated: {}, seed {}", spec, size.seed));
  }
  return workload;
}

}  // namespace dualmesh::node
