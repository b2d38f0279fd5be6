#include "tests/sim/lag_watch.h"

#include <algorithm>

namespace dualmesh::sim {
namespace {

constexpr std::size_t kAll = 1'000'000;
constexpr double kReadAgainMs = 1'000;

}  // namespace

template <class Table, class Key>
bool TableWatch<Table, Key>::lacks(const Table& table, const Key& key) const {
  const auto* held = table.find(key);
  if (held == nullptr) return true;
  auto joined = *held;
  return joined.join(*truth_.find(key));
}

template <class Table, class Key>
void TableWatch<Table, Key>::look(const Held& held, const std::vector<bool>& fresh,
                                  double before_ms) {
  nodes_.resize(held.size());
  std::vector<Key> grown;
  for (std::size_t i = 0; i < held.size(); ++i) {
    if (fresh[i] || held[i] == nullptr) nodes_[i] = Node{};
    if (held[i] == nullptr || held[i]->version() == nodes_[i].read) continue;
    for (const auto& row : held[i]->delta_since(nodes_[i].read, kAll).entries) {
      if (truth_.join(row.key, row.value)) grown.push_back(row.key);
    }
    nodes_[i].read = held[i]->version();
  }
  for (std::size_t i = 0; i < held.size(); ++i) {
    if (held[i] == nullptr) continue;
    auto& missing = nodes_[i].missing;
    const auto miss = [&](const Key& key) {
      if (lacks(*held[i], key)) missing.try_emplace(key, before_ms);
    };
    for (const Key& key : grown) miss(key);
    if (fresh[i]) truth_.for_each([&](const Key& key, const auto&) { miss(key); });
    if (held[i]->version() == nodes_[i].checked) continue;
    std::erase_if(missing, [&](const auto& row) { return !lacks(*held[i], row.first); });
    nodes_[i].checked = held[i]->version();
  }
}

template <class Table, class Key>
void TableWatch<Table, Key>::read_again(const Held& held) {
  truth_ = Table{};
  for (const Table* table : held) {
    if (table != nullptr) truth_.apply(table->delta_since({}, kAll), [](const auto&...) {});
  }
  for (std::size_t i = 0; i < held.size(); ++i) {
    if (held[i] == nullptr) continue;
    std::erase_if(nodes_[i].missing, [&](const auto& row) {
      return truth_.find(row.first) == nullptr || !lacks(*held[i], row.first);
    });
  }
}

LagWatch::Versions LagWatch::versions(const node::SharedState& state, crdt::Origin writer) {
  const net::FeedPositions at = state.feed_positions(writer);
  return {at.load, at.health, at.status, at.residency};
}

void LagWatch::look() {
  before_ms_ = now_ms_;
  now_ms_ = cluster_.now_ms();
  begin_lives();
  behind_.assign(cluster_.size(), {});
  for (std::size_t i = 0; i < cluster_.size(); ++i) {
    if (cluster_.node(i).up()) read_writer(i);
  }
  for (std::size_t reader = 0; reader < cluster_.size(); ++reader) {
    if (!cluster_.node(reader).up()) continue;
    for (std::size_t writer = 0; writer < cluster_.size(); ++writer) {
      if (writer != reader && cluster_.node(writer).up()) read_feeds(reader, writer);
    }
  }
  const bool again = now_ms_ - read_again_ms_ >= kReadAgainMs;
  if (again) read_again_ms_ = now_ms_;
  look_at_tables(again);
}

void LagWatch::begin_lives() {
  if (lives_.empty()) before_ms_ = now_ms_;
  lives_.resize(cluster_.size());
  fresh_.assign(cluster_.size(), false);
  written_.resize(cluster_.size());
  reached_.resize(cluster_.size(), std::vector<std::array<Reached, kFeeds>>(cluster_.size()));
  for (std::size_t i = 0; i < cluster_.size(); ++i) {
    if (!cluster_.node(i).up() || lives_[i] == cluster_.node(i).lives) continue;
    lives_[i] = cluster_.node(i).lives;
    fresh_[i] = true;
    for (auto& feeds : reached_[i]) feeds = {};
  }
}

void LagWatch::read_writer(std::size_t writer) {
  const node::SharedState& state = cluster_.node(writer).mesh->state();
  const Versions now = versions(state, state.self());
  for (std::size_t kind = 0; kind < kFeeds; ++kind) {
    Written& written = written_[writer][kind];
    if (written.epoch != state.self().epoch) written = Written{state.self().epoch, {}};
    const crdt::Version last = written.log.empty() ? crdt::Version{} : written.log.back().first;
    if (now[kind] != last) written.log.emplace_back(now[kind], before_ms_);
  }
}

void LagWatch::read_feeds(std::size_t reader, std::size_t writer) {
  const crdt::Origin origin = cluster_.node(writer).mesh->state().self();
  const Versions held = versions(cluster_.node(reader).mesh->state(), origin);
  for (std::size_t kind = 0; kind < kFeeds; ++kind) {
    Reached& reached = reached_[reader][writer][kind];
    if (reached.epoch != origin.epoch) reached = Reached{origin.epoch, {}, before_ms_, {}};
    const auto& log = written_[writer][kind].log;
    if (log.empty() || held[kind] >= log.back().first) {
      reached.version = held[kind];
      reached.lost_ms.reset();
      continue;
    }
    if (held[kind] < reached.version && !reached.lost_ms) reached.lost_ms = before_ms_;
    reached.version = std::max(reached.version, held[kind]);
    const auto next = std::upper_bound(
        log.begin(), log.end(), reached.version,
        [](crdt::Version version, const auto& entry) { return version < entry.first; });
    double since = reached.lost_ms.value_or(now_ms_);
    if (next != log.end()) since = std::min(since, std::max(next->second, reached.begun_ms));
    Behind& behind = behind_[reader];
    ++behind.streams;
    behind.changes += log.back().first.value - held[kind].value;
    behind.since_ms = std::min(behind.since_ms.value_or(since), since);
  }
}

template <class Watch>
void LagWatch::add_table(std::size_t node, const Watch& watch) {
  const auto& missing = watch.missing(node);
  if (missing.empty()) return;
  Behind& behind = behind_[node];
  ++behind.streams;
  behind.changes += missing.size();
  for (const auto& [key, since] : missing) {
    behind.since_ms = std::min(behind.since_ms.value_or(since), since);
  }
}

void LagWatch::look_at_tables(bool again) {
  const auto each = [&](auto& watch, auto&& table_of) {
    std::vector<decltype(table_of(std::declval<const node::SharedState&>()))> held;
    for (std::size_t i = 0; i < cluster_.size(); ++i) {
      const SimNode& node = cluster_.node(i);
      held.push_back(node.up() ? table_of(node.mesh->state()) : nullptr);
    }
    watch.look(held, fresh_, before_ms_);
    if (again) watch.read_again(held);
    for (std::size_t i = 0; i < cluster_.size(); ++i) {
      if (cluster_.node(i).up()) add_table(i, watch);
    }
  };
  each(members_, [](const node::SharedState& state) { return &state.members(); });
  each(registry_, [](const node::SharedState& state) { return &state.registry(); });
  each(settings_, [](const node::SharedState& state) { return &state.settings(); });
  each(depth_, [](const node::SharedState& state) { return &state.depth(); });
}

}  // namespace dualmesh::sim
