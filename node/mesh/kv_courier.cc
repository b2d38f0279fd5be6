#include "node/mesh/kv_courier.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "node/mesh/repeat.h"

namespace dualmesh::node {
namespace {

constexpr auto kPause = std::chrono::milliseconds(250);  // after a call that failed

}  // namespace

KvMessages read_kv_messages(capnp::List<capnp::Data>::Reader in) {
  KvMessages messages;
  messages.reserve(in.size());
  for (const auto message : in) {
    messages.emplace_back(reinterpret_cast<const char*>(message.begin()), message.size());
  }
  return messages;
}

void write_kv_messages(const KvMessages& messages, capnp::List<capnp::Data>::Builder out) {
  for (unsigned i = 0; i < out.size(); ++i) {
    const std::string& message = messages[i];
    out.set(i, kj::arrayPtr(reinterpret_cast<const kj::byte*>(message.data()), message.size()));
  }
}

KvCourier::KvCourier(MeshContext& context, const MeshPeers& peers, crdt::NodeId self, KvPort* port)
    : context_(context),
      peers_(peers),
      self_(self),
      port_(port),
      interval_(std::chrono::milliseconds(context.config.kv_flush_interval_ms)),
      tasks_(*this) {}

void KvCourier::start() {
  if (port_ == nullptr) return;
  tasks_.add(repeat(context_.timer, context_.config.node_name + ": messages about caches", [this] {
    return context_.after(kPoll).then([this] {
      for (auto& [node, peer] : known_) {
        if (peers_.relays().hears(node, context_.now())) continue;
        peer.poll = true;
        schedule(node, peer);
      }
    });
  }));
}

void KvCourier::living(std::vector<KvPeerLife> nodes) {
  if (port_ == nullptr || living_ == nodes) return;
  living_ = nodes;
  for (auto& [node, peer] : known_) peer.living = false;
  for (const KvPeerLife& life : nodes) {
    Peer& peer = known_[life.node];
    peer.living = true;
    peer.epoch = life.epoch;
  }
  std::erase_if(known_, [](const auto& entry) { return !entry.second.living; });
  share_pairs();
  port_->kv_peers(std::move(nodes));
  links_changed();
  waiting();
}

void KvCourier::waiting() {
  for (auto& [node, peer] : known_) {
    if (!peer.waiting_since) peer.waiting_since = context_.now();
    schedule(node, peer);
  }
}

void KvCourier::links_changed() {
  for (auto& [node, peer] : known_) {
    const MeshPeer* there = peers_.find(node);
    if (there == nullptr || there->link == nullptr || there->links_up == peer.link) continue;
    peer.link = there->links_up;
    peer.silent = peer.under_way = peer.more = false;
    peer.not_before = {};
    if (!peer.waiting_since) peer.waiting_since = context_.now();
    schedule(node, peer);
  }
}

// By the places of both among all: the first of two that are an odd way apart, else the second. So
// everybody leads half of its pairs: who is called receives more than who calls.
void KvCourier::share_pairs() {
  const auto own =
      static_cast<std::size_t>(std::distance(known_.begin(), known_.lower_bound(self_)));
  std::size_t place = 0;
  for (auto& [node, peer] : known_) {
    if (place == own) ++place;  // not among them
    const bool is_odd = (place > own ? place - own : own - place) % 2 != 0;
    peer.ours = is_odd == (self_ < node);
    ++place;
  }
}

bool KvCourier::leads(crdt::NodeId node, const Peer& peer) const {
  return peer.ours || !peers_.relays().hears(node, context_.now());
}

// When it is to be called next, as far as is known now.
std::optional<policies::Time> KvCourier::due(crdt::NodeId node, const Peer& peer) const {
  const policies::Time now = context_.now();
  if (peer.more || peer.poll) return now;
  if (leads(node, peer)) {
    if (!peer.waiting_since && !peer.lively) return std::nullopt;
    return peer.lively ? peer.last_call + interval_ : now;
  }
  if (!peer.waiting_since) return std::nullopt;
  const bool quiet = !peer.lively || now - peer.last_call >= 2 * interval_;
  return quiet ? now : *peer.waiting_since + 2 * interval_;
}

void KvCourier::schedule(crdt::NodeId node, Peer& peer) {
  const MeshPeer* there = peers_.find(node);
  if (there == nullptr || there->link == nullptr || there->links_up != peer.link) return;
  if (peer.silent || peer.under_way) return;
  const auto next = due(node, peer);
  if (!next) return;
  const policies::Time at = std::max(*next, peer.not_before);
  if (at <= context_.now()) return call(node, peer, *there->link);
  if (peer.timer_set) return;
  peer.timer_set = true;
  tasks_.add(context_.after(at - context_.now()).then([this, node] {
    const auto entry = known_.find(node);
    if (entry == known_.end()) return;
    entry->second.timer_set = false;
    schedule(node, entry->second);
  }));
}

KvMessages KvCourier::take(crdt::NodeId node, Peer& peer) {
  KvMessages messages;
  std::size_t bytes = 0;
  while (bytes < context_.config.kv_max_call_bytes) {
    std::string message = port_->kv_take(node);
    if (message.empty()) break;
    bytes += message.size();
    messages.push_back(std::move(message));
  }
  peer.stats.messages_sent += messages.size();
  peer.stats.bytes_sent += bytes;
  if (bytes < context_.config.kv_max_call_bytes) {
    peer.waiting_since.reset();
  } else {
    peer.waiting_since = context_.now();
  }
  return messages;
}

std::uint64_t KvCourier::hand_over(crdt::NodeId from, Peer& peer, const KvMessages& messages) {
  std::uint64_t bytes = 0;
  for (const std::string& message : messages) {
    bytes += message.size();
    port_->kv_received(from, message);
  }
  peer.stats.messages_received += messages.size();
  peer.stats.bytes_received += bytes;
  return bytes;
}

void KvCourier::call(crdt::NodeId node, Peer& peer, net::MeshLink& link) {
  const bool asking =
      std::exchange(peer.poll, false) || (leads(node, peer) && peer.lively) || peer.more;
  const KvMessages messages = take(node, peer);
  peer.more = peer.waiting_since.has_value();
  if (messages.empty() && !asking) return;
  peer.under_way = true;
  peer.last_call = context_.now();
  ++peer.stats.calls;
  auto request = link.peer().kvRequest();
  write_kv_messages(messages, request.initMessages(static_cast<unsigned>(messages.size())));
  const bool sent = !messages.empty();
  tasks_.add(context_.timer
                 .timeoutAfter(context_.config.call_timeout_ms * kj::MILLISECONDS,
                               request.send().then([](auto&& response) {
                                 return read_kv_messages(response.getMessages());
                               }))
                 .then([this, node, number = peer.link,
                        sent](KvMessages&& messages) { answered(node, number, sent, messages); },
                       [this, node, number = peer.link](kj::Exception&& exception) {
                         failed(node, number, exception);
                       }));
}

void KvCourier::answered(crdt::NodeId node, std::uint64_t link, bool sent,
                         const KvMessages& messages) {
  const auto entry = known_.find(node);
  if (entry == known_.end()) {
    dropped_ += messages.size();
    return;
  }
  Peer& peer = entry->second;
  const std::uint64_t bytes = hand_over(node, peer, messages);
  if (peer.link != link) return;
  peer.under_way = false;
  peer.lively = sent || !messages.empty();
  // It may have more than went into one answer.
  peer.more = peer.more || 2 * bytes >= context_.config.kv_max_call_bytes;
  schedule(node, peer);
}

void KvCourier::failed(crdt::NodeId node, std::uint64_t link, const kj::Exception& why) {
  const auto entry = known_.find(node);
  if (entry == known_.end() || entry->second.link != link) return;
  Peer& peer = entry->second;
  ++peer.stats.failures;
  peer.under_way = peer.lively = peer.more = false;
  if (why.getType() == kj::Exception::Type::UNIMPLEMENTED) {
    peer.silent = true;  // an older build; until it is linked anew
    return;
  }
  spdlog::debug("mesh: {}: a call about caches: {}", context_.config.node_name,
                why.getDescription().cStr());
  peer.not_before = context_.now() + kPause;
  peer.waiting_since = context_.now();
  schedule(node, peer);
}

KvMessages KvCourier::called(crdt::Origin from, KvMessages messages) {
  const auto entry = known_.find(from.node);
  if (entry == known_.end() || entry->second.epoch != from.epoch) {
    dropped_ += messages.size();
    return {};
  }
  Peer& peer = entry->second;
  ++peer.stats.calls_received;
  hand_over(from.node, peer, messages);
  KvMessages answer = take(from.node, peer);
  peer.last_call = context_.now();
  peer.lively = !messages.empty() || !answer.empty();
  schedule(from.node, peer);
  return answer;
}

KvCourierStats KvCourier::stats(crdt::NodeId node) const {
  const auto entry = known_.find(node);
  return entry == known_.end() ? KvCourierStats{} : entry->second.stats;
}

void KvCourier::taskFailed(kj::Exception&& exception) {
  spdlog::error("mesh: messages about caches: {}", exception.getDescription().cStr());
}

}  // namespace dualmesh::node
