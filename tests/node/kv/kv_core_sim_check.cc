// What must hold of a mesh of KvCores, by the engines' own books.
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <set>

#include "tests/node/kv/kv_core_sim.h"

namespace dualmesh::node::test {
namespace {

const PromptTree& tree() {
  static const PromptTree tree;
  return tree;
}

std::string text(const StreamPosition& at) {
  return fmt::format("({}: {}, {}] unknown {} digest {:x}", at.epoch.value, at.base.value,
                     at.end.value, at.unknown, at.digest.sum);
}

}  // namespace

// Nothing claimed that was not held, and all of it where the position says so.
std::string KvCoreSim::untrue(Node& node, const StreamKey& stream, const KvModelEngine& engine) {
  const KvState& state = node.core->state();
  const StreamPosition at = state.position(stream);
  if (at.epoch.value == 0) return {};
  if (at.end.value == 0 && engine.lives.size() == 1) return "an empty life that never began";
  auto life = life_of_.find({stream, at.epoch.value});
  if (const auto* place = engine.find(at.last_batch)) {
    if (place->second != at.end.value) return "a batch under another number";
    if (life == life_of_.end()) {
      life = life_of_.emplace(std::pair(stream, at.epoch.value), place->first).first;
    }
    if (life->second != place->first) return "two lives under one epoch";
  } else if (at.last_batch != 0) {
    return "a batch that the engine never sent";
  }
  if (life == life_of_.end()) return {};
  const ModelLife& lived = engine.lives[life->second];
  if (at.end.value >= lived.held.size()) return "beyond the engine's end";
  const EngineCache& held = lived.held[at.end.value];
  std::map<EngineHash, std::pair<policies::BlockKey, int>> expected;
  for (const auto& [place, copies] : held) {
    expected[in_medium(lived.hash(place.first), place.second)] = {tree().key(place.first), copies};
  }
  std::size_t present = 0, invented = 0, misnamed = 0;
  state.map(stream)->for_each([&](EngineHash hash, const BlockMap::Entry& entry) {
    if (!entry.present()) return;
    ++present;
    const auto found = expected.find(hash);
    if (found == expected.end() || entry.added > found->second.second) {
      ++invented;
    } else if (entry.value.known() && entry.value.key != found->second.first) {
      ++misnamed;
    }
  });
  if (invented > 0) return fmt::format("{} blocks that were never there", invented);
  if (misnamed > 0) return fmt::format("{} blocks under another key", misnamed);
  const bool whole = at.base.value == 0 && !state.flooded(stream);
  if (whole && present != held.size()) {
    return fmt::format("complete with {} blocks of {}", present, held.size());
  }
  return badly_indexed(node, stream, held);
}

// As decisions ask: by the keys of prompts.
std::string KvCoreSim::badly_indexed(Node& node, const StreamKey& stream, const EngineCache& held) {
  const KvState& state = node.core->state();
  const auto cache = state.cache_of(stream);
  const bool whole = state.position(stream).complete() && state.indexed_whole(stream);
  const auto is_held = [&](std::uint32_t block) {
    const auto at = held.lower_bound({block, policies::Medium::gpu});
    return at != held.end() && at->first.first == block;
  };
  std::vector<policies::CacheMatch> matches;
  for (std::uint32_t block = 0; block < kTreeBlocks; ++block) {
    const auto& keys = tree().keys[block];
    std::vector<std::uint32_t> path{block};
    while (!PromptTree::is_root(path.back())) path.push_back(PromptTree::parent(path.back()));
    std::uint32_t truth = 0;
    while (truth < keys.size() && is_held(path[keys.size() - 1 - truth])) ++truth;
    state.index().longest_prefix(keys, policies::kMediumWeights, matches);
    std::uint32_t claimed = 0;
    for (const policies::CacheMatch& match : matches) {
      if (match.cache == cache) claimed = match.blocks;
    }
    if (claimed > truth) return fmt::format("{} blocks claimed of {}", claimed, truth);
    if (whole && claimed < truth) return fmt::format("{} blocks found of {}", claimed, truth);
  }
  return {};
}

// Ready while somebody has said more, and without naming it.
std::string KvCoreSim::too_ready(Node& node) {
  const KvCore::Readiness readiness = node.core->readiness(now_);
  const bool late = now_ - node.started > seconds(11);
  if (!readiness.ready) return late ? "not ready when the time is up" : std::string();
  const KvState& state = node.core->state();
  for (const StreamKey& stream : state.streams()) {
    const auto& without = readiness.without;
    if (std::find(without.begin(), without.end(), stream) != without.end()) continue;
    const StreamPosition ours = state.position(stream);
    if (state.flooded(stream)) continue;
    for (const KvPeerLife& peer : node.peers) {
      const auto said = node.core->exchange().said_by(peer.node, stream);
      if (!said || said->epoch < ours.epoch) continue;
      if (said->epoch > ours.epoch && said->digest.count > 0) return "ready without a life";
      if (said->epoch == ours.epoch && said->complete() && ours.base.value != 0 &&
          said->end >= ours.base && said->digest.count > 0) {
        return fmt::format("ready with {} instead of {}", text(ours), text(*said));
      }
    }
  }
  return {};
}

std::string KvCoreSim::violation() {
  if (!wrong_.empty()) return wrong_;
  for (Node& node : nodes_) {
    if (!node.core) continue;
    const KvState& state = node.core->state();
    if (state.blocks() > settings_.limits.max_blocks) return "more blocks than allowed";
    if (state.index().size() > settings_.limits.max_blocks) return "a larger index than allowed";
    if (node.core->exchange().counters().malformed > 0) return "a malformed message";
    bool mixed = false;
    for (const auto& [stream, engine] : engines_) {
      mixed = mixed || engine.may_mix;
      if (engine.may_mix || state.map(stream) == nullptr) continue;
      const std::string wrong = untrue(node, stream, engine);
      if (!wrong.empty()) {
        return fmt::format("{} {} on node {} at {}: {}", stream.instance, stream.rank,
                           node.id.value, text(state.position(stream)), wrong);
      }
    }
    if (!mixed && node.core->exchange().counters().contradictions > 0) return "a contradiction";
    if (settings_.limits.max_blocks >= 1000) {
      if (const std::string wrong = too_ready(node); !wrong.empty()) return wrong;
    }
  }
  return {};
}

// Those who heard the last batches may have given the stream up with them, and who observes in
// their place has come too late: without replay it hears so with the next.
bool KvCoreSim::missed(const StreamKey& stream) const {
  return settings_.replay == 0 && std::any_of(nodes_.begin(), nodes_.end(), [&](const Node& node) {
           return node.core && node.core->state().flooded(stream);
         });
}

std::string KvCoreSim::difference() {
  for (const auto& [stream, engine] : engines_) {
    std::optional<StreamPosition> first;
    bool heard = false;
    for (const Node& node : nodes_) {
      if (!node.core || node.core->state().flooded(stream)) continue;
      heard = heard || reaches(node, stream);
      const StreamPosition at = node.core->state().position(stream);
      if (!first) first = at;
      const bool alike = at.epoch == first->epoch && at.base == first->base &&
                         at.end == first->end && at.unknown == first->unknown &&
                         at.digest == first->digest && at.away == first->away;
      if (!alike) {
        return fmt::format("{} {}: {} and {}", stream.instance, stream.rank, text(*first),
                           text(at));
      }
    }
    if (!first || !heard || engine.end() == 0 || missed(stream)) continue;
    if (first->end.value != engine.end()) {
      return fmt::format("{} {}: {}, the engine is at {}", stream.instance, stream.rank,
                         text(*first), engine.end());
    }
    const auto* place = engine.find(first->last_batch);
    if (place == nullptr || place->first + 1 != engine.lives.size()) return "an old life";
  }
  return {};
}

std::string KvCoreSim::untrue_report() {
  for (Node& node : nodes_) {
    if (!node.core) continue;
    if (!node.core->readiness(now_).ready) return "not ready";
    const auto made = node.core->report(now_);
    for (const StreamReport& report : made->streams) {
      const KvModelEngine& engine = engines_.at(report.stream);
      const bool heard = std::any_of(nodes_.begin(), nodes_.end(), [&](const Node& each) {
        return each.core && reaches(each, report.stream) &&
               !each.core->state().flooded(report.stream);
      });
      const bool exact = report.confidence == KvConfidence::exact;
      if (exact != report.why_not_exact.empty()) return "a reason too many or too few";
      if (exact && !heard) return "exact, and no node reaches the engine";
      if (exact && !report.position.complete()) return "exact, and not complete";
      const auto* place = engine.find(report.position.last_batch);
      const bool is_end = place != nullptr ? place->first + 1 == engine.lives.size() &&
                                                 place->second == engine.end()
                                           : report.position.end.value == 0 && engine.end() == 0;
      if (exact && !is_end && !missed(report.stream)) return "exact, and not at the engine's end";
      const bool doubted = report.position.away.value != 0;
      if (exact && doubted) return "exact, though the instance was away";
      const bool should = heard && is_end && report.position.complete() && !doubted &&
                          node.core->state().indexed_whole(report.stream) &&
                          (report.facts.block_tokens > 0 || engine.end() == 0);
      if (should && !exact) {
        return fmt::format("{} {} on {} should be exact: {}", report.stream.instance,
                           report.stream.rank, node.id.value, report.why_not_exact);
      }
    }
  }
  return {};
}

std::vector<StreamKey> KvCoreSim::completable() {
  std::vector<StreamKey> keys;
  for (const auto& [stream, engine] : engines_) {
    bool any = false;
    for (const Node& node : nodes_) {
      if (!node.core) continue;
      any =
          any || (!lossy_replay_ && reaches(node, stream) && engine.end() <= engine.buffer_batches);
      const StreamPosition at = node.core->state().position(stream);
      const auto* place = engine.find(at.last_batch);
      if (!at.complete() || place == nullptr || place->first + 1 != engine.lives.size()) continue;
      const std::uint64_t replayed = lossy_replay_ ? 0 : engine.buffer_batches;
      any = any || at.end.value + replayed >= engine.end();
    }
    if (any && engine.end() > 0) keys.push_back(stream);
  }
  return keys;
}

bool KvCoreSim::all_complete(const StreamKey& stream) {
  const bool heard = std::any_of(nodes_.begin(), nodes_.end(), [&](const Node& node) {
    return node.core && reaches(node, stream) && !node.core->state().flooded(stream);
  });
  return !heard || std::all_of(nodes_.begin(), nodes_.end(), [&](const Node& node) {
    return !node.core || node.core->state().flooded(stream) ||
           node.core->state().position(stream).complete();
  });
}

}  // namespace dualmesh::node::test
