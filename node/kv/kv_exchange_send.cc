// What is said to a peer, made when it is to go.
#include <xxhash.h>

#include <algorithm>
#include <utility>

#include "node/kv/kv_exchange_state.h"
#include "node/kv/kv_runs.h"

namespace dualmesh::node {
namespace {

// Room that the small sections at a message's end need.
constexpr std::size_t kReserveBytes = 256;
// Changes that are sent in bulk are few enough for a message, and named in full from here on.
constexpr std::size_t kMaxShortened = 512;

std::uint64_t hash_of(std::initializer_list<std::uint64_t> words) {
  return XXH3_64bits(words.begin(), words.size() * sizeof(std::uint64_t));
}

// Removals of one step that follow each other may go in any order; ascending names are short.
void sort_removals(KvChanges& changes) {
  auto next = changes.changes.begin();
  for (const LoggedStep& step : changes.steps) {
    const auto end = next + static_cast<std::ptrdiff_t>(step.changes);
    while (next != end) {
      const bool removes = next->kind == BlockMap::Kind::remove;
      const auto last = std::find_if(next, end, [&](const BlockChange& change) {
        return (change.kind == BlockMap::Kind::remove) != removes;
      });
      if (removes)
        std::ranges::sort(next, last, {}, [](const BlockChange& change) {
          return std::pair(is_short(change), EngineHash{change.key});
        });
      next = last;
    }
  }
}

}  // namespace

bool KvExchange::has_message(crdt::NodeId to, policies::Time now) const {
  state_->sync(now);
  const auto found = state_->peers.find(to);
  if (found == state_->peers.end()) return false;
  const Peer& peer = found->second;
  if (peer.summary_due || peer.all_due || !peer.due.empty() || !peer.asked_of_us.empty()) {
    return true;
  }
  return std::any_of(state_->streams.begin(), state_->streams.end(), [&](const auto& stream) {
    return stream.fetch && stream.fetch->ask_due && stream.fetch->from() == to;
  });
}

std::string KvExchange::take(crdt::NodeId to, policies::Time now) {
  State& state = *state_;
  state.sync(now);
  const auto found = state.peers.find(to);
  std::string message;
  if (found == state.peers.end()) return message;
  Peer& peer = found->second;
  if (std::exchange(peer.summary_due, false)) write_section(KvSummary{state.summary(now)}, message);
  for (StreamHere& stream : state.streams) {
    if (!stream.fetch || !stream.fetch->ask_due || stream.fetch->from() != to) continue;
    if (message.size() + kReserveBytes > state.settings.max_message_bytes) break;
    stream.fetch->ask_due = false;
    stream.fetch->asked_at = now;
    write_section(stream.fetch->request(), message);
  }
  if (peer.all_due) state.write_all(peer, message, now);
  state.write_due(peer, message, now);
  state.write_piece_for(peer, message, now);
  if (message.empty()) return message;
  ++state.counters.messages_sent;
  state.counters.bytes_sent += message.size();
  return message;
}

// Of what should be alike everywhere while an engine works; of streams at rest, of all.
std::uint64_t KvExchange::State::summary(Time now) const {
  std::uint64_t sum = 0;
  for (const StreamHere& stream : streams) {
    const StreamPosition& at = stream.position;
    if (at.epoch.value == 0) continue;
    sum += hash_of({stream.name, at.epoch.value, at.base.value});
    if (at.away.value != 0) sum += hash_of({stream.name, at.epoch.value, at.away.value, 0});
    if (now - stream.moved_at < 2 * settings.compare_interval) continue;
    sum += hash_of({stream.name, at.end.value, at.unknown, at.digest.sum});
  }
  return sum;
}

KvHead KvExchange::State::head_of(std::size_t slot) const {
  const StreamHere& stream = streams[slot];
  return {stream.name, stream.position, stream.reaches, stream.flooded, false, stream.unheard};
}

void KvExchange::State::write_all(Peer& to, std::string& message, Time now) {
  if (to.all_next == 0) {
    to.all_round = ++rounds;
    to.all_part = 0;
  }
  KvHeads heads;
  heads.answer = true;
  heads.say_all = to.ask_all;
  heads.all = true;
  heads.round = to.all_round;
  heads.part = to.all_part++;
  const std::size_t left = settings.max_message_bytes -
                           std::min(settings.max_message_bytes, message.size() + kReserveBytes);
  const std::size_t most = std::max<std::size_t>(1, left / kMaxHeadBytes);
  for (; to.all_next < streams.size() && heads.heads.size() < most; ++to.all_next) {
    const StreamHere& stream = streams[to.all_next];
    if (stream.position.epoch.value == 0 && stream.reaches) continue;
    heads.heads.push_back(head_of(to.all_next));
    to.said[to.all_next].head_due = false;
  }
  if (to.ask_all) to.ask_all_at = now;
  if (to.all_next >= streams.size()) {
    heads.last = true;
    to.all_due = false;
    to.all_next = 0;
    to.all_at = now;
  }
  write_section(heads, message);
}

void KvExchange::State::write_due(Peer& to, std::string& message, Time now) {
  Saying saying;
  std::size_t taken = 0;
  while (taken < to.due.size()) {
    const std::size_t heads = saying.heads.heads.size() + saying.asking_heads.heads.size();
    const std::size_t ends = saying.ends.ends.size() + saying.asking_ends.ends.size();
    const std::size_t size = message.size() + heads * kMaxHeadBytes + ends * 14 + kReserveBytes;
    if (size > settings.max_message_bytes && !message.empty()) break;
    const std::size_t slot = to.due[taken++];
    to.said[slot].listed = false;
    say(to, slot, saying, message, now);  // may list it again, at the end
    if (size > settings.max_message_bytes) break;
  }
  to.due.erase(to.due.begin(), to.due.begin() + static_cast<std::ptrdiff_t>(taken));
  for (const KvHeads* said : {&saying.heads, &saying.asking_heads}) {
    if (!said->heads.empty()) write_section(*said, message);
  }
  for (const KvEnds* said : {&saying.ends, &saying.asking_ends}) {
    if (!said->ends.empty()) write_section(*said, message);
  }
}

void KvExchange::State::say(Peer& to, std::size_t slot, Saying& saying, std::string& message,
                            Time now) {
  Said& said = to.said[slot];
  const StreamHere& stream = streams[slot];
  const KvEnd end{stream.life, stream.position.end};
  if (said.head_due) {
    said.head_due = said.ack_due = said.ack_wanted = false;
    said.ack_at = now;
    saying.heads.heads.push_back(head_of(slot));
  } else if (said.ack_due) {
    said.ack_due = said.ack_wanted = false;
    said.ack_at = now;
    if (is_life_known(slot, said)) {
      saying.ends.ends.push_back(end);
    } else {
      saying.heads.heads.push_back(head_of(slot));
    }
  }
  if (std::exchange(said.ask_due, false) && stream.position.epoch.value != 0) {
    said.asked_at = now;
    if (is_life_known(slot, said)) {
      saying.asking_ends.ends.push_back(end);
    } else {
      saying.asking_heads.heads.push_back(head_of(slot));
    }
  }
  if (pushes(slot, said)) push(to, slot, saying, message, now);
}

void KvExchange::State::say_head(Said& said, std::size_t slot, bool fetch_me, Saying& saying,
                                 Time now) {
  if (now - said.head_at < kAskEvery) return;  // a tick comes back to it
  said.head_at = now;
  KvHead head = head_of(slot);
  head.fetch_me = fetch_me;
  saying.asking_heads.heads.push_back(head);
}

// Whoever observes as well tells where it is when it asks how far others are.
bool KvExchange::State::hears_itself(Peer& peer, std::size_t slot, Time now) const {
  Said& said = peer.said[slot];
  const auto observers_told = std::min(settings.observers, kMaxWatchers);
  const bool observes = rank_of(streams[slot], peer.life.node) < observers_told && said.reaches;
  if (!observes || now < said.helped_until) return false;
  if (!said.behind_since || now - *said.behind_since < kObserverStill * settings.takeover_after) {
    return true;
  }
  said.helped_until = now + kTakeoverLasts * settings.takeover_after;
  return false;
}

void KvExchange::State::push(Peer& to, std::size_t slot, Saying& saying, std::string& message,
                             Time now) {
  const StreamHere& stream = streams[slot];
  const StreamPosition& ours = stream.position;
  Said& said = to.said[slot];
  if (ours.epoch.value == 0 || stream.flooded || (!said.known && !to.heard)) return;
  const StreamPosition& theirs = said.position;
  const bool same = theirs.epoch == ours.epoch;
  if (theirs.epoch > ours.epoch || (same && (said.flooded || theirs.end >= ours.end))) return;
  if (same && hears_itself(to, slot, now)) return;
  if (!said.fresh) return say_head(said, slot, false, saying, now);
  if (!same && theirs.epoch.value != 0 && theirs.last_batch != 0 &&
      kv.batch_at(stream.key, theirs.end) == theirs.last_batch) {
    write_section(KvSameLife{stream.name, theirs.epoch, ours.epoch, theirs.end, theirs.last_batch},
                  message);
    said.fresh = false;  // it answers by which it goes on
    said.head_at = now;
    return;
  }
  if (ours.end.value == 0) return say_head(said, slot, false, saying, now);  // that says it all
  crdt::Version from = same ? theirs.end : crdt::Version{};
  if (said.sent_epoch == ours.epoch) from = std::max(from, said.sent);
  if (from >= ours.end) return;  // under way
  const std::size_t room = settings.max_message_bytes -
                           std::min(settings.max_message_bytes, message.size() + kReserveBytes);
  const auto since = kv.changes_since(stream.key, from, std::max<std::size_t>(1, room / 24));
  if (!since) return say_head(said, slot, true, saying, now);
  KvChanges changes;
  if (!is_life_known(slot, said)) changes.stream.emplace(stream.name, ours.epoch);
  changes.life = stream.life;
  changes.from = from;
  const StreamFacts facts = kv.facts(stream.key);
  changes.block_tokens = facts.block_tokens;
  changes.main_group = facts.main_group;
  changes.steps = since->steps;
  changes.changes = since->changes;
  if (since->to == ours.end && ours.base.value == 0) {
    changes.check = static_cast<std::uint16_t>(ours.digest.sum);
    // What it holds of another life names nothing here.
    const bool holds_all = same ? theirs.base.value == 0 : theirs.epoch.value == 0;
    if (holds_all) shorten(slot, changes);
  }
  counters.changes_sent += changes.changes.size();
  write_section(changes, message);
  said.sent_epoch = ours.epoch;
  said.sent = since->to;
  said.sent_at = now;
  if (since->to < ours.end) due(to, slot);
}

// The receiver holds at `from` what we held there. Whatever it has there or is told here is in our
// map now or among these changes: a name that only one of them has is enough.
void KvExchange::State::shorten(std::size_t slot, KvChanges& changes) const {
  if (changes.changes.size() > kMaxShortened) return;
  const BlockMap& map = *kv.map(streams[slot].key);
  const unsigned bits = name_bits_for(map.size());
  boost::unordered_flat_map<ShortName, EngineHash> named;
  boost::unordered_flat_map<ShortName, bool> ambiguous;
  bool cleared = false;
  for (const BlockChange& change : changes.changes) {
    if (change.kind == BlockMap::Kind::clear) cleared = true;
    if (change.kind != BlockMap::Kind::remove) map.prefetch(change.key);
    const auto [place, first] = named.emplace(short_name(change.key, bits), change.key);
    if (!first && place->second != change.key) ambiguous[place->first] = true;
  }
  if (cleared) return;  // what it took away is in neither
  for (BlockChange& change : changes.changes) {
    if (change.kind != BlockMap::Kind::remove) continue;
    const ShortName name = short_name(change.key, bits);
    bool only = !ambiguous.contains(name);
    for_each_named(map, name, bits, [&](EngineHash hash) { only = only && hash == change.key; });
    if (!only) continue;
    change = short_removal(name);
    changes.name_bits = static_cast<std::uint8_t>(bits);
  }
  sort_removals(changes);
}

void KvExchange::State::write_piece_for(Peer& to, std::string& message, Time now) {
  if (to.asked_of_us.empty()) return;
  const std::size_t room = settings.max_message_bytes -
                           std::min(settings.max_message_bytes, message.size() + kReserveBytes);
  if (room < settings.max_message_bytes / 2 && !message.empty()) return;  // the next one
  const KvFetch asked = to.asked_of_us.begin()->second;
  to.asked_of_us.erase(to.asked_of_us.begin());
  const auto slot = by_name.find(asked.stream);
  if (slot == by_name.end()) return;
  const KvCuts::Cut* const cut = cuts.find(streams[slot->second].key, asked, now);
  KvPiece piece;
  piece.stream = asked.stream;
  ++counters.pieces_sent;
  if (cut == nullptr || asked.offset > cut->cut->entries.size()) {
    write_piece(piece, {}, message);
    return;
  }
  piece.position = cut->cut->position;
  piece.block_tokens = cut->cut->facts.block_tokens;
  piece.main_group = cut->cut->facts.main_group;
  piece.cut = cut->id;
  piece.offset = asked.offset;
  piece.total = cut->cut->entries.size();
  const std::span entries(cut->cut->entries);
  const std::size_t most = std::max<std::size_t>(1, room / kMaxEntryBytes);
  const auto part = entries.subspan(asked.offset, std::min(most, entries.size() - asked.offset));
  write_piece(piece, part, message);
  if (asked.offset + part.size() == entries.size()) cuts.told(cut->id);
}

}  // namespace dualmesh::node
