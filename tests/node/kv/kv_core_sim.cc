#include "tests/node/kv/kv_core_sim.h"

#include <algorithm>

namespace dualmesh::node::test {

KvCoreSim::KvCoreSim(CoreSimSettings settings)
    : settings_(settings), random_(settings.seed), lossy_replay_(settings.replay_loss > 0) {
  published_.assign(settings_.instances, true);
  moves_.assign(settings_.instances, 0);
  for (const KvCore::Instance& instance : instances()) {
    for (std::uint32_t rank = 0; rank < instance.endpoints.ranks; ++rank) {
      const double clock_s = 1.7e9 + static_cast<double>(random_() % 1000);
      auto& engine =
          engines_.try_emplace({instance.name, rank}, random_(), settings_.replay, clock_s)
              .first->second;
      engine.same_hashes = settings_.seed % 2 == 0;
    }
  }
  nodes_.resize(settings_.nodes);
  blocked_.assign(settings_.nodes, std::vector<bool>(settings_.nodes, false));
  for (std::size_t i = 0; i < settings_.nodes; ++i) {
    nodes_[i].sim = this;
    nodes_[i].id = crdt::NodeId{1000 + i * 7919};
    for (const auto& [key, engine] : engines_)
      nodes_[i].never[key] = chance(settings_.never_reached);
    start(i);
  }
  members();
}

KvCoreSim::~KvCoreSim() = default;

std::vector<KvCore::Instance> KvCoreSim::instances() const {
  std::vector<KvCore::Instance> instances;
  for (std::size_t i = 0; i < published_.size(); ++i) {
    if (!published_[i]) continue;
    KvCore::Instance instance{"engine-" + std::to_string(i), {}};
    instance.endpoints.events = address(i);
    if (settings_.replay > 0) instance.endpoints.replay = "tcp://engine:9000";
    if (i == 0) instance.endpoints.ranks = settings_.ranks;
    instances.push_back(std::move(instance));
  }
  return instances;
}

std::string KvCoreSim::address(std::size_t instance) const {
  return "tcp://engine-" + std::to_string(instance) + ':' +
         std::to_string(5000 + 10 * moves_[instance]);
}

std::string KvCoreSim::address(const StreamKey& stream) const {
  return address(std::stoul(stream.instance.substr(stream.instance.find('-') + 1)));
}

void KvCoreSim::start(std::size_t number) {
  Node& node = nodes_[number];
  ++node.life;
  node.started = now_;
  node.wires.clear();
  node.peers.clear();
  KvCoreSettings settings;
  settings.self = node.id;
  settings.limits = settings_.limits;
  settings.exchange.observers = settings_.observers;
  settings.exchange.max_message_bytes = settings_.max_message_bytes;
  settings.retry_after = seconds(5);
  node.core = std::make_unique<KvCore>(settings, node);
  node.late_instances = true;
}

void KvCoreSim::kill(std::size_t number) {
  nodes_[number].core.reset();
  nodes_[number].wires.clear();
}

void KvCoreSim::Node::subscribe(const StreamKey& stream, const KvEndpoints& endpoints) {
  wires[stream] = {.address = endpoints.events};
  wires[stream].connect_at = sim->now_ + milliseconds(sim->random_() % 100);
}

void KvCoreSim::Node::unsubscribe(const StreamKey& stream) { wires.erase(stream); }

void KvCoreSim::Node::ask_replay(const StreamKey& stream, std::uint64_t from) {
  Wire& wire = wires.at(stream);
  wire.replies.clear();
  wire.serve_at.reset();
  if (!wire.connected || sim->chance(sim->settings_.replay_loss)) return;
  wire.serve_at = sim->now_ + milliseconds(sim->random_() % 100);
  wire.serve_from = from;
}

void KvCoreSim::Node::reconnect(const StreamKey& stream) {
  wires[stream] = {.address = wires[stream].address};
  wires[stream].connect_at = sim->now_ + milliseconds(100);
}

bool KvCoreSim::reaches(const Node& node, const StreamKey& stream) const {
  const auto cut = node.cut_off.find(stream);
  return !node.never.at(stream) && (cut == node.cut_off.end() || !cut->second);
}

void KvCoreSim::cut_off(std::size_t node, const StreamKey& stream) {
  nodes_[node].cut_off[stream] = true;
}

void KvCoreSim::restart_silently(const StreamKey& stream) {
  engines_.at(stream).restart();
  engines_.at(stream).silent = true;
  for (Node& each : nodes_) {
    if (each.core) disconnect(each, stream);
  }
}

void KvCoreSim::move_instance(std::size_t number) {
  ++moves_[number];
  for (auto& [key, engine] : engines_) {
    if (key.instance != "engine-" + std::to_string(number)) continue;
    engine.replace();
    for (Node& each : nodes_) {
      if (each.core) disconnect(each, key);
    }
  }
  for (Node& each : nodes_) each.late_instances = true;
}

void KvCoreSim::partition(std::size_t first_behind, bool one_way) {
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    for (std::size_t j = 0; j < nodes_.size(); ++j) {
      const bool apart = (i < first_behind) != (j < first_behind);
      blocked_[i][j] = apart && !(one_way && i < j);
    }
  }
}

void KvCoreSim::disconnect(Node& node, const StreamKey& stream) {
  const auto wire = node.wires.find(stream);
  if (wire == node.wires.end() || !wire->second.connected) return;
  wire->second = {.address = wire->second.address};
  wire->second.connect_at = now_ + milliseconds(random_() % 500);
  node.core->disconnected(stream, now_);
}

void KvCoreSim::move_wire(Node& node, const StreamKey& stream) {
  const auto at = node.wires.find(stream);
  if (at == node.wires.end()) return;
  Wire& wire = at->second;
  if (!reaches(node, stream) || wire.address != address(stream)) return disconnect(node, stream);
  if (!wire.connected && wire.connect_at && now_ >= *wire.connect_at) {
    wire.connect_at.reset();
    wire.connected = true;
    node.core->connected(stream, now_);
  }
  if (wire.serve_at && now_ >= *wire.serve_at) {
    wire.serve_at.reset();
    KvModelEngine& engine = engines_.at(stream);
    for (std::uint64_t i = std::max(wire.serve_from, engine.oldest()); i < engine.end(); ++i) {
      if (!chance(settings_.replay_loss / 20)) wire.replies.push_back(engine.life().batches[i]);
    }
    if (!chance(settings_.replay_loss)) wire.replies.push_back({kNoSequence, {}});
  }
  read_wire(node, stream);
}

// Either socket's messages in order, the two in any mixture.
void KvCoreSim::read_wire(Node& node, const StreamKey& stream) {
  for (std::uint64_t left = random_() % 40; left > 0; --left) {
    const auto at = node.wires.find(stream);
    if (at == node.wires.end()) return;
    Wire& wire = at->second;
    if (wire.live.empty() && wire.replies.empty()) return;
    const bool from_live = wire.replies.empty() || (!wire.live.empty() && chance(0.5));
    auto& queue = from_live ? wire.live : wire.replies;
    RawBatch batch = std::move(queue.front());
    queue.pop_front();
    if (from_live) {
      node.core->live(stream, std::move(batch), now_);
    } else if (batch.sequence == kNoSequence) {
      node.core->replay_over(stream, now_);
    } else {
      node.core->replayed(stream, std::move(batch), now_);
    }
  }
}

void KvCoreSim::engines_work() {
  for (auto& [key, engine] : engines_) {
    if (!chance(settings_.batches_per_turn) || engine.silent) continue;
    const RawBatch& batch = engine.publish();
    for (Node& node : nodes_) {
      const auto wire = node.wires.find(key);
      if (!node.core || wire == node.wires.end() || !wire->second.connected) continue;
      if (!reaches(node, key) || chance(settings_.live_loss)) continue;
      wire->second.live.push_back(batch);
      if (chance(settings_.live_duplication)) wire->second.live.push_back(batch);
    }
  }
}

// Who is blocked both ways is taken for dead. Instances come a little later to who is new.
void KvCoreSim::members() {
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    Node& node = nodes_[i];
    if (!node.core) continue;
    std::vector<KvPeerLife> peers;
    for (std::size_t j = 0; j < nodes_.size(); ++j) {
      if (i == j || !nodes_[j].core || (blocked_[i][j] && blocked_[j][i])) continue;
      peers.push_back({nodes_[j].id, crdt::Epoch{nodes_[j].life}, "node"});
    }
    if (peers != node.peers) node.core->set_peers(peers, now_);
    node.peers = std::move(peers);
    node.core->mesh_met();
    if (!node.late_instances || (settings_.moving_instances && chance(0.5))) continue;
    node.late_instances = false;
    node.core->set_instances(instances(), now_);
  }
}

void KvCoreSim::fault() {
  const std::size_t node = random_() % nodes_.size(), other = random_() % nodes_.size();
  auto& [key, engine] =
      *std::next(engines_.begin(), static_cast<long>(random_() % engines_.size()));
  switch (random_() % 11) {
    case 0:
      if (nodes_[node].core) kill(node);
      break;
    case 1:
      if (!nodes_[node].core) start(node);
      break;
    case 2:
      blocked_[node][other] = node != other;
      break;
    case 3:
      partition(node, random_() % 2 == 0);
      break;
    case 4:
    case 5:
      for (auto& row : blocked_) std::fill(row.begin(), row.end(), false);
      break;
    case 6:
      if (!settings_.restarts || random_() % 3 > 0) break;
      engine.restart();
      engine.silent = settings_.silent_restarts && random_() % 2 == 0;
      engine.may_mix = engine.may_mix || settings_.replay < 1000 || lossy_replay_;
      if (random_() % 2 == 0) break;
      for (Node& each : nodes_) {
        if (each.core) disconnect(each, key);
      }
      break;
    case 7:
      cut_off(node, key);
      break;
    case 8:
      nodes_[node].cut_off[key] = false;
      break;
    case 9:
      if (settings_.moving_instances && random_() % 2 == 0) {
        move_instance(random_() % published_.size());
        break;
      }
      if (!settings_.changing_instances) break;
      published_[random_() % published_.size()].flip();
      for (Node& each : nodes_) each.late_instances = true;
      break;
    case 10:
      if (!nodes_[node].core) break;
      if (random_() % 2 == 0) nodes_[node].core->missed(key.instance, now_);
      if (random_() % 2 == 0) nodes_[node].core->was_away(key.instance);
      break;
  }
}

void KvCoreSim::heal() {
  settings_.loss = settings_.duplication = settings_.live_loss = settings_.replay_loss = 0.0;
  for (auto& [key, engine] : engines_) engine.silent = false;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    nodes_[i].cut_off.clear();
    nodes_[i].late_instances = true;
    blocked_[i].assign(nodes_.size(), false);
  }
  published_.assign(published_.size(), true);
  if (std::none_of(nodes_.begin(), nodes_.end(), [](const Node& n) { return n.core != nullptr; })) {
    start(0);
  }
}

void KvCoreSim::send(std::size_t from, std::size_t to) {
  Node& node = nodes_[from];
  if (!node.core || !nodes_[to].core) return;
  const auto& peers = node.peers;
  if (std::none_of(peers.begin(), peers.end(),
                   [&](const KvPeerLife& peer) { return peer.node == nodes_[to].id; })) {
    return;
  }
  const std::string bytes = node.core->take(nodes_[to].id, now_);
  if (bytes.empty() || blocked_[from][to]) return;
  for (int copies = chance(settings_.duplication) ? 2 : 1; copies > 0; --copies) {
    if (chance(settings_.loss)) continue;
    const auto delay = kTurn * (1 + (settings_.loss > 0 ? random_() % 5 : 0));
    letters_.push_back(
        {now_ + delay, letters_sent_++, from, to, node.life, nodes_[to].life, bytes});
  }
}

void KvCoreSim::deliver() {
  const auto later = std::stable_partition(letters_.begin(), letters_.end(),
                                           [&](const Letter& letter) { return letter.at > now_; });
  std::vector<Letter> due(std::make_move_iterator(later), std::make_move_iterator(letters_.end()));
  letters_.erase(later, letters_.end());
  for (const Letter& letter : due) {
    Node& to = nodes_[letter.to];
    if (!to.core || to.life != letter.to_life || nodes_[letter.from].life != letter.from_life) {
      continue;  // links end with a life
    }
    to.core->received(nodes_[letter.from].id, letter.bytes, now_);
  }
}

void KvCoreSim::turn(bool working, bool faulty) {
  now_ += kTurn;
  if (faulty && chance(settings_.faults)) fault();
  if (++turns_ % 10 == 0) members();
  if (working) engines_work();
  deliver();
  for (Node& node : nodes_) {
    if (!node.core) continue;
    for (const auto& [key, engine] : engines_) move_wire(node, key);
    node.core->tick(now_);
    node.core->upkeep(1000);
  }
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    for (std::size_t j = 0; j < nodes_.size(); ++j) {
      if (i != j) send(i, j);
    }
  }
}

void KvCoreSim::run(Duration time, bool working, bool faulty) {
  for (const Time until = now_ + time; now_ < until && wrong_.empty();) {
    turn(working, faulty);
    if (turns_ % 25 == 0) wrong_ = violation();
  }
}

}  // namespace dualmesh::node::test
