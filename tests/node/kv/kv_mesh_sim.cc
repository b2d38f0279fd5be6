#include "tests/node/kv/kv_mesh_sim.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <bit>

namespace dualmesh::node {

KvMeshSim::KvMeshSim(KvSimSettings settings) : settings_(settings), random_(settings.seed) {
  for (std::size_t i = 0; i < settings_.engines; ++i) {
    keys_.push_back({"engine-" + std::to_string(i), static_cast<std::uint32_t>(i % 2)});
    engines_.emplace_back(static_cast<std::uint32_t>(i + 1), 1'000'000'000 + i, settings_.habits);
  }
  nodes_.resize(settings_.nodes);
  blocked_.assign(settings_.nodes, std::vector<bool>(settings_.nodes, false));
  for (std::size_t i = 0; i < settings_.nodes; ++i) {
    nodes_[i].id = crdt::NodeId{1000 + i * 7919};
    nodes_[i].cut_off.assign(settings_.engines, false);
    start(i);
  }
  members();
}

KvMeshSim::~KvMeshSim() = default;

void KvMeshSim::start(std::size_t number) {
  Node& node = nodes_[number];
  ++node.life;
  node.state = std::make_unique<KvState>(settings_.limits);
  KvExchangeSettings exchange;
  exchange.observers = settings_.observers;
  exchange.max_message_bytes = settings_.max_message_bytes;
  node.exchange = std::make_unique<KvExchange>(*node.state, node.id, exchange);
  node.subscriptions.clear();
  node.subscriptions.resize(settings_.engines);
  node.peers.clear();
  node.state->set_streams(keys_);
}

void KvMeshSim::kill(std::size_t number) {
  nodes_[number].exchange.reset();
  nodes_[number].subscriptions.clear();
  nodes_[number].state.reset();
}

void KvMeshSim::isolate(std::size_t number) {
  for (std::size_t i = 0; i < nodes_.size(); ++i) blocked_[i][number] = blocked_[number][i] = true;
}

// Who is blocked both ways is taken for dead.
void KvMeshSim::members() {
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (!nodes_[i].state) continue;
    std::vector<KvPeer> peers;
    for (std::size_t j = 0; j < nodes_.size(); ++j) {
      if (i == j || !nodes_[j].state || (blocked_[i][j] && blocked_[j][i])) continue;
      peers.push_back({nodes_[j].id, crdt::Epoch{nodes_[j].life}});
    }
    if (peers == nodes_[i].peers) continue;
    nodes_[i].peers = peers;
    nodes_[i].exchange->set_peers(peers, now_);
  }
}

RawBatch KvMeshSim::raw(std::size_t engine, std::uint64_t step) const {
  const EngineTwin& twin = engines_[engine];
  const double stamp_s =
      static_cast<double>(twin.lives().back().epoch.value) / 1e6 + static_cast<double>(step) * 0.01;
  std::string payload = "\x92\xcb";
  const auto bits = std::bit_cast<std::uint64_t>(stamp_s);
  for (int shift = 56; shift >= 0; shift -= 8) payload.push_back(static_cast<char>(bits >> shift));
  payload.push_back(static_cast<char>(twin.lives().size()));
  return {step - 1, payload};
}

void KvMeshSim::subscribe(std::size_t number, std::size_t engine) {
  Node& node = nodes_[number];
  Node::Subscription& subscription = node.subscriptions[engine];
  const bool wanted = node.exchange->observes(keys_[engine]);
  if (wanted != (subscription.stream != nullptr)) {
    subscription = {};
    if (wanted) {
      StreamSettings settings;
      settings.has_replay = settings_.replay > 0;
      settings.quiet = std::chrono::seconds(2);
      subscription.stream = std::make_unique<KvStream>(settings);
    }
  }
  if (!subscription.stream) {
    node.exchange->reaches(keys_[engine], true, now_);
    return;
  }
  KvStream& stream = *subscription.stream;
  const bool reached = !node.cut_off[engine];
  if (!reached && stream.is_connected()) stream.disconnected(now_);
  StreamWants wants;
  if (reached && !stream.is_connected()) stream.connected(now_, wants);
  node.exchange->reaches(keys_[engine], reached, now_);
  const StreamPosition position = node.state->position(keys_[engine]);
  const bool is_empty = position.epoch.value == 0;  // said again: it may wait for just that
  if (is_empty ? node.exchange->mesh_known() : position != subscription.told) {
    subscription.told = position;
    stream.mesh_known(position, wants);
  }
  carry_out(number, engine, wants);
  wants = {};
  if (subscription.replay_at && *subscription.replay_at <= now_) {
    subscription.replay_at.reset();
    const std::uint64_t end = engines_[engine].life().end();
    const std::uint64_t kept = end - std::min<std::uint64_t>(end, settings_.replay);
    for (std::uint64_t step = std::max(kept, subscription.replay_from) + 1; step <= end; ++step) {
      if (reached) stream.replayed(raw(engine, step), now_, wants);
    }
    if (reached) stream.replay_over(now_, wants);
    carry_out(number, engine, wants);
    wants = {};
  }
  stream.tick(now_, wants);
  carry_out(number, engine, wants);
}

void KvMeshSim::carry_out(std::size_t number, std::size_t engine, StreamWants& wants) {
  Node& node = nodes_[number];
  Node::Subscription& subscription = node.subscriptions[engine];
  for (const StreamWants::Deliver& delivered : wants.deliver) {
    const auto life = static_cast<std::size_t>(delivered.batch.payload.back()) - 1;
    const EngineLife& lived = engines_[engine].lives()[life];
    const crdt::Version step{delivered.batch.sequence + 1};
    auto& lives = lives_of_[{engine, delivered.epoch.value}];
    if (lives.empty() || lives.back() != life) lives.push_back(life);
    const StreamPosition now = node.state->position(keys_[engine]);
    const bool joins_on = now.epoch == delivered.epoch && now.end == delivered.from;
    const auto changes = EngineTwin::translate(lived.batches[step.value - 1],
                                               joins_on ? node.state->map(keys_[engine]) : nullptr);
    node.state->observed(keys_[engine],
                         {delivered.epoch, delivered.from, step, changes, delivered.digest, {16}});
  }
  if (wants.begun) {
    node.state->begun(keys_[engine], *wants.begun);
    lives_of_[{engine, wants.begun->value}].push_back(engines_[engine].lives().size() - 1);
  }
  if (wants.replay_from) {
    subscription.replay_at = now_ + kTurn;
    subscription.replay_from = *wants.replay_from;
  }
  if (wants.reconnect) subscription.stream->disconnected(now_);
}

void KvMeshSim::engines_work() {
  for (std::size_t engine = 0; engine < engines_.size(); ++engine) {
    if (!chance(settings_.batches_per_turn)) continue;
    engines_[engine].produce(random_);
    for (std::size_t number = 0; number < nodes_.size(); ++number) {
      Node& node = nodes_[number];
      if (!node.state || !node.subscriptions[engine].stream || node.cut_off[engine]) continue;
      KvStream& stream = *node.subscriptions[engine].stream;
      if (!stream.is_connected() || chance(settings_.live_loss)) continue;
      StreamWants wants;
      stream.live(raw(engine, engines_[engine].life().end()), now_, wants);
      carry_out(number, engine, wants);
    }
  }
}

void KvMeshSim::fault() {
  const std::size_t node = random_() % nodes_.size(), other = random_() % nodes_.size();
  const std::size_t engine = random_() % engines_.size();
  switch (random_() % 9) {
    case 0:
      if (nodes_[node].state) kill(node);
      break;
    case 1:
      if (!nodes_[node].state) start(node);
      break;
    case 2:
      blocked_[node][other] = node != other;
      break;
    case 3:  // into two halves
      for (std::size_t i = 0; i < nodes_.size(); ++i) {
        for (std::size_t j = 0; j < nodes_.size(); ++j) blocked_[i][j] = (i < node) != (j < node);
      }
      break;
    case 4:
      for (auto& row : blocked_) std::fill(row.begin(), row.end(), false);
      break;
    case 5:
      // Without replay a late subscriber cannot always tell that it hears another life.
      if (settings_.replay == 0 || random_() % 3 > 0) break;
      engines_[engine].restart(engines_[engine].life().epoch.value + 3'600'000'000);
      if (random_() % 2 == 0) break;
      for (Node& each : nodes_) {
        if (each.state && each.subscriptions[engine].stream) {
          each.subscriptions[engine].stream->disconnected(now_);
        }
      }
      break;
    case 6:
      nodes_[node].cut_off[engine] = true;
      break;
    case 7:
      nodes_[node].cut_off[engine] = false;
      break;
    case 8:
      was_away(node, engine);
      break;
  }
}

void KvMeshSim::was_away(std::size_t number, std::size_t engine) {
  if (!nodes_[number].state) return;
  KvState& state = *nodes_[number].state;
  const StreamPosition at = state.position(keys_[engine]);
  state.doubt(keys_[engine], at.epoch, at.end);
}

void KvMeshSim::heal() {
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    nodes_[i].cut_off.assign(engines_.size(), false);
    blocked_[i].assign(nodes_.size(), false);
  }
  if (std::none_of(nodes_.begin(), nodes_.end(),
                   [](const Node& n) { return n.state != nullptr; })) {
    start(0);
  }
}

void KvMeshSim::send(std::size_t from, std::size_t to) {
  Node& node = nodes_[from];
  if (!node.state || !nodes_[to].state) return;
  if (!node.exchange->has_message(nodes_[to].id, now_)) return;
  std::string bytes = node.exchange->take(nodes_[to].id, now_);
  message_bytes_ += bytes.size();
  if (bytes.empty() || blocked_[from][to]) return;
  for (int copies = chance(settings_.duplication) ? 2 : 1; copies > 0; --copies) {
    if (chance(settings_.loss)) continue;
    const auto delay = kTurn * (1 + (settings_.loss > 0 ? random_() % 5 : 0));
    letters_.push_back(
        {now_ + delay, letters_sent_++, from, to, node.life, nodes_[to].life, bytes});
  }
}

void KvMeshSim::deliver() {
  std::vector<Letter> now;
  const auto later = std::partition(letters_.begin(), letters_.end(),
                                    [&](const Letter& letter) { return letter.at > now_; });
  now.assign(std::make_move_iterator(later), std::make_move_iterator(letters_.end()));
  letters_.erase(later, letters_.end());
  std::sort(now.begin(), now.end(),
            [](const Letter& a, const Letter& b) { return a.order < b.order; });
  for (const Letter& letter : now) {
    Node& to = nodes_[letter.to];
    if (!to.state || to.life != letter.to_life || nodes_[letter.from].life != letter.from_life) {
      continue;  // links end with a life
    }
    to.exchange->received(nodes_[letter.from].id, letter.bytes, now_);
  }
}

void KvMeshSim::turn(bool working, bool faulty) {
  now_ += kTurn;
  if (faulty && chance(settings_.faults)) fault();
  if (++turns_ % 10 == 0) members();
  if (working) engines_work();
  deliver();
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (!nodes_[i].state) continue;
    for (std::size_t engine = 0; engine < engines_.size(); ++engine) subscribe(i, engine);
    nodes_[i].exchange->tick(now_);
    nodes_[i].state->upkeep(1000);
  }
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    for (std::size_t j = 0; j < nodes_.size(); ++j) {
      if (i != j) send(i, j);
    }
  }
}

void KvMeshSim::run(policies::Duration time, bool working, bool faulty) {
  for (const policies::Time until = now_ + time; now_ < until;) {
    turn(working, faulty);
    if (turns_ % 25 == 0 && wrong_.empty()) wrong_ = violation();
    if (!wrong_.empty()) return;
  }
}

std::string KvMeshSim::violation() {
  if (!wrong_.empty()) return wrong_;
  for (const Node& node : nodes_) {
    if (!node.state) continue;
    if (node.state->blocks() > settings_.limits.max_blocks) return "more blocks than allowed";
    if (node.exchange->counters().malformed > 0) return "a malformed message";
    if (node.exchange->counters().contradictions > 0) return "a contradiction";
    for (std::size_t engine = 0; engine < engines_.size(); ++engine) {
      const StreamPosition position = node.state->position(keys_[engine]);
      if (position.epoch.value == 0) continue;
      const auto lives = lives_of_.find({engine, position.epoch.value});
      if (lives == lives_of_.end()) return "an epoch that no observer began";
      std::string wrong;
      for (const std::size_t life : lives->second) {
        wrong = untrue(node, engine, engines_[engine].lives()[life]);
        if (wrong.empty()) break;
      }
      if (!wrong.empty()) return wrong;
    }
  }
  return {};
}

std::string KvMeshSim::untrue(const Node& node, std::size_t engine, const EngineLife& lived) const {
  const StreamPosition position = node.state->position(keys_[engine]);
  std::size_t present = 0, invented = 0, not_indexed = 0;
  node.state->map(keys_[engine])->for_each([&](EngineHash key, const BlockMap::Entry& entry) {
    if (!entry.present()) return;
    ++present;
    invented += !lived.held(key, position.end.value);
    not_indexed += entry.visible() && !node.state->index().holds(entry.value.key);
  });
  if (invented > 0) return fmt::format("{} blocks that were never there", invented);
  if (not_indexed > 0 && node.state->indexed_whole(keys_[engine])) return "not in the index";
  if (position.base.value != 0 || node.state->flooded(keys_[engine])) return {};
  std::size_t held = 0;
  for (const auto& [key, copies] : lived.copies) held += lived.held(key, position.end.value);
  return held == present ? "" : fmt::format("complete with {} blocks of {}", present, held);
}

std::string KvMeshSim::difference() {
  for (std::size_t engine = 0; engine < engines_.size(); ++engine) {
    const StreamKey& key = keys_[engine];
    std::optional<StreamPosition> first;
    for (const Node& node : nodes_) {
      if (!node.state || node.state->flooded(key)) continue;
      const StreamPosition at = node.state->position(key);
      const auto text = [&](const StreamPosition& p) {
        return fmt::format("({}: {}, {}] unknown {} digest {:x} away {}", p.epoch.value,
                           p.base.value, p.end.value, p.unknown, p.digest.sum, p.away.value);
      };
      if (!first) first = at;
      const bool alike = at.epoch == first->epoch && at.base == first->base &&
                         at.end == first->end && at.unknown == first->unknown &&
                         at.digest == first->digest && at.away == first->away;
      if (!alike) return fmt::format("engine {}: {} and {}", engine, text(*first), text(at));
    }
    const auto life = first ? lives_of_.find({engine, first->epoch.value}) : lives_of_.end();
    const EngineTwin& twin = engines_[engine];
    if (life == lives_of_.end() || twin.lives().back().end() == 0) continue;
    if (settings_.replay > 0 && life->second.back() + 1 != twin.lives().size())
      return "an old life";
    if (settings_.replay > 0 && first->end.value != twin.lives().back().end()) return "behind";
  }
  return {};
}

std::vector<StreamKey> KvMeshSim::completable() {
  std::vector<StreamKey> keys;
  for (std::size_t engine = 0; engine < engines_.size(); ++engine) {
    const std::size_t lives = engines_[engine].lives().size();
    const std::uint64_t end = engines_[engine].life().end();
    bool is_begun = false, any = false;
    for (const Node& node : nodes_) {
      if (!node.state) continue;
      const StreamPosition at = node.state->position(keys_[engine]);
      const auto life = lives_of_.find({engine, at.epoch.value});
      if (life == lives_of_.end() || life->second.back() + 1 != lives) continue;
      is_begun = true;
      any = any || (at.complete() && at.end.value + settings_.replay >= end);
    }
    const bool replayed = settings_.replay > 0 && end <= settings_.replay && end > 0;
    if (any || (replayed && !is_begun)) keys.push_back(keys_[engine]);
  }
  return keys;
}

bool KvMeshSim::all_complete(const StreamKey& stream) {
  return std::all_of(nodes_.begin(), nodes_.end(), [&](const Node& node) {
    return !node.state || node.state->flooded(stream) || node.state->position(stream).complete();
  });
}

}  // namespace dualmesh::node
