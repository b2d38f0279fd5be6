#include "node/engine/engine_model.h"

#include <algorithm>

#include "net/error.h"

namespace dualmesh::node {

using policies::Time;

EngineCounters& EngineCounters::operator+=(const EngineCounters& more) {
  iterations += more.iterations;
  admitted += more.admitted;
  finished += more.finished;
  cancelled += more.cancelled;
  prompt_tokens += more.prompt_tokens;
  cached_tokens += more.cached_tokens;
  prefill_tokens_computed += more.prefill_tokens_computed;
  generated_tokens += more.generated_tokens;
  preemptions += more.preemptions;
  recomputed_tokens += more.recomputed_tokens;
  busy += more.busy;
  return *this;
}

EngineModel::EngineModel(const EngineParameters& parameters)
    : parameters_(parameters), cache_(parameters.cache_tokens / parameters.block_tokens) {
  DUALMESH_CHECK(parameters.token_budget > 0 && parameters.max_running > 0, "empty iterations");
}

std::size_t EngineModel::blocks_for(std::uint64_t tokens) const {
  return (tokens + parameters_.block_tokens - 1) / parameters_.block_tokens;
}

bool EngineModel::enqueue(EngineRequest request) {
  DUALMESH_CHECK(request.prompt_tokens > 0, "request {} has no prompt", request.id);
  DUALMESH_CHECK(request.blocks.size() <= request.prompt_tokens / parameters_.block_tokens,
                 "{} blocks for {} tokens", request.blocks.size(), request.prompt_tokens);
  const std::uint64_t tokens = std::uint64_t{request.prompt_tokens} + request.output_tokens;
  if (blocks_for(tokens) > cache_.capacity()) return false;
  waiting_.emplace_back().request = std::move(request);
  return true;
}

bool EngineModel::cancel(RequestId id) {
  const auto wanted = [id](const Sequence& sequence) { return sequence.request.id == id; };
  auto queued = std::find_if(waiting_.begin(), waiting_.end(), wanted);
  if (queued != waiting_.end()) {
    waiting_.erase(queued);
    ++counters_.cancelled;
    return true;
  }
  auto active = std::find_if(running_.begin(), running_.end(), wanted);
  if (active == running_.end()) return false;
  release(*active);
  running_.erase(active);
  ++counters_.cancelled;
  return true;
}

bool EngineModel::admit(Sequence& sequence) {
  const EngineRequest& request = sequence.request;
  // The last token is always computed, so the block that holds it is never a hit.
  const std::size_t usable = std::min<std::size_t>(
      request.blocks.size(), (sequence.tokens() - 1) / parameters_.block_tokens);
  const std::span<const policies::BlockKey> keys(request.blocks.data(), usable);
  const std::size_t hits = cache_.match(keys);
  const std::size_t more = blocks_for(sequence.tokens()) - hits;
  if (!cache_.acquire(keys.first(hits), more)) return false;
  const bool first_time = sequence.prefill == 0;
  sequence.computed = static_cast<std::uint32_t>(hits) * parameters_.block_tokens;
  sequence.prefill = sequence.tokens();
  sequence.shared = hits;
  sequence.private_blocks = more;
  if (first_time) {
    sequence.cached = sequence.computed;
    ++counters_.admitted;
    counters_.prompt_tokens += request.prompt_tokens;
    counters_.cached_tokens += sequence.cached;
  } else {
    counters_.recomputed_tokens += sequence.lost - std::min(sequence.lost, sequence.computed);
  }
  running_.push_back(std::move(sequence));
  return true;
}

std::uint32_t EngineModel::plan_prefill(Sequence& sequence, std::uint32_t budget) {
  const EngineRequest& request = sequence.request;
  sequence.planned = std::min(budget, sequence.prefill - sequence.computed);
  sequence.computed += sequence.planned;
  const std::size_t whole = sequence.computed / parameters_.block_tokens;
  for (; sequence.shared < std::min(whole, request.blocks.size()); ++sequence.shared) {
    storing_ = {&request, sequence.shared};
    cache_.publish(request.blocks[sequence.shared]);
    --sequence.private_blocks;
  }
  return sequence.planned;
}

// A token for each sequence that is past its prefill, the first admitted first; how many there are.
std::uint32_t EngineModel::plan_decoding() {
  std::uint32_t count = 0;
  for (std::size_t at = 0; at < running_.size(); ++at) {
    running_[at].decoding = false;
    if (!running_[at].prefilled()) continue;
    if (!make_room(at)) break;  // it was the last, and has been preempted itself
    running_[at].decoding = true;
    ++count;
  }
  return count;
}

// A KV slot for the next token of a decoding sequence; false when it was preempted to find one.
bool EngineModel::make_room(std::size_t at) {
  const std::size_t held = running_[at].shared + running_[at].private_blocks;
  if (running_[at].tokens() <= held * parameters_.block_tokens) return true;
  while (!cache_.acquire({}, 1)) {
    preempt_last();
    if (at == running_.size()) return false;
  }
  ++running_[at].private_blocks;
  return true;
}

void EngineModel::preempt_last() {
  Sequence& sequence = waiting_.emplace_front(std::move(running_.back()));
  running_.pop_back();
  release(sequence);
  sequence.lost = sequence.prefilled() ? sequence.tokens() - 1 : sequence.computed;
  sequence.computed = 0;
  sequence.decoding = false;
  ++counters_.preemptions;
}

std::optional<Iteration> EngineModel::start_iteration(Time now) {
  DUALMESH_CHECK(!current_, "an iteration is running");
  if (running_.empty() && waiting_.empty()) return std::nullopt;
  Iteration iteration;
  iteration.start = now;
  iteration.decoding = plan_decoding();
  // Nothing is admitted without a token for it, so as many run at most.
  DUALMESH_CHECK(iteration.decoding <= parameters_.token_budget, "{} decode", iteration.decoding);
  std::uint32_t budget = parameters_.token_budget - iteration.decoding;
  for (Sequence& sequence : running_) {
    if (!sequence.prefilled()) budget -= plan_prefill(sequence, budget);
  }
  // Who was preempted just now needs more than it gave, so nobody is admitted after a preemption.
  while (budget > 0 && !waiting_.empty() && running_.size() < parameters_.max_running) {
    if (!admit(waiting_.front())) break;
    waiting_.pop_front();
    budget -= plan_prefill(running_.back(), budget);
  }
  for (const Sequence& sequence : running_) iteration.prefill_tokens += sequence.planned;
  iteration.end = now +
                  std::max(parameters_.min_iteration,
                           parameters_.prefill_per_token * iteration.prefill_tokens) +
                  parameters_.decode_per_sequence * iteration.decoding;
  ++counters_.iterations;
  counters_.prefill_tokens_computed += iteration.prefill_tokens;
  counters_.busy += iteration.end - iteration.start;
  current_ = iteration;
  return iteration;
}

void EngineModel::finish_iteration(std::vector<Emission>& out) {
  DUALMESH_CHECK(current_, "no iteration is running");
  current_.reset();
  std::size_t kept = 0;
  for (Sequence& sequence : running_) {
    const EngineRequest& request = sequence.request;
    // A prefill that did not get budget, or not its end, emits nothing yet.
    const bool prefilled = sequence.planned > 0 && sequence.prefilled();
    sequence.planned = 0;
    bool finished = false;
    if (prefilled || sequence.decoding) {
      Emission emission{.id = request.id, .cached_tokens = sequence.cached};
      if (request.output_tokens > 0) {
        emission.emitted = true;
        emission.token = sequence.emitted++;
        ++counters_.generated_tokens;
      }
      finished = emission.finished = sequence.emitted == request.output_tokens;
      out.push_back(emission);
    }
    if (finished) {
      ++counters_.finished;
      release(sequence);
    } else {
      if (&running_[kept] != &sequence) running_[kept] = std::move(sequence);
      ++kept;
    }
  }
  running_.resize(kept);
}

void EngineModel::release(const Sequence& sequence) {
  cache_.release(std::span(sequence.request.blocks).first(sequence.shared),
                 sequence.private_blocks);
}

}  // namespace dualmesh::node
