#include "node/kv/kv_ingest.h"

#include <pthread.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "net/error.h"
#include "node/kv/kv_core.h"
#include "node/kv/kv_outbox.h"
#include "node/kv/zmq_subscriptions.h"

namespace dualmesh::node {
namespace {

constexpr policies::Duration kTick = std::chrono::milliseconds(10);
constexpr policies::Duration kIdleTick = std::chrono::milliseconds(250);  // nobody publishes events
constexpr auto kReportInterval = std::chrono::milliseconds(100);
constexpr std::size_t kMaxReceivedBytes = 64 << 20;
constexpr std::size_t kUpkeepPerTurn = 4'096;
constexpr std::size_t kMessagesPerTurn = 8;

policies::Time steady_now() { return std::chrono::steady_clock::now().time_since_epoch(); }

std::vector<KvCore::Instance> publishing(const policies::FleetView& view) {
  std::vector<KvCore::Instance> instances;
  for (const policies::InstanceView& instance : view.instances) {
    if (instance.kv_events.empty() || instance.lifecycle == policies::Lifecycle::removed) continue;
    // The registry takes nothing that does not parse; a newer node may know more than we do.
    if (auto endpoints = parse_kv_endpoints(instance.kv_events)) {
      instances.push_back({instance.name, *endpoints});
    }
  }
  return instances;
}

}  // namespace

// What other threads leave for the ingest thread; it is woken through the subscriptions.
struct KvInbox {
  struct Received {
    crdt::NodeId from;
    std::string bytes;
  };
  std::mutex mutex;
  std::shared_ptr<const policies::FleetView> view;  // the newest, if it has not been seen
  std::optional<std::vector<KvPeerLife>> peers;     // likewise
  std::deque<Received> received;
  std::size_t received_bytes = 0;
  std::uint64_t dropped = 0;  // messages beyond kMaxReceivedBytes; they will be said again
  std::uint64_t asked_ready = 0;
  std::vector<std::function<void()>> questions;
};

// One stream's sockets, and where what they bring goes.
struct KvSink final : ZmqSink {
  KvSink(KvCore& kv_core, StreamKey key, ZmqSubscriptions::Id number)
      : core(kv_core), stream(std::move(key)), id(number) {}
  void connected() override { core.connected(stream, steady_now()); }
  void disconnected() override { core.disconnected(stream, steady_now()); }
  void live(RawBatch batch) override { core.live(stream, std::move(batch), steady_now()); }
  void replayed(RawBatch batch) override { core.replayed(stream, std::move(batch), steady_now()); }
  void replay_over() override { core.replay_over(stream, steady_now()); }

  KvCore& core;
  const StreamKey stream;
  const ZmqSubscriptions::Id id;
};

struct KvIngest::State final : KvSource {
  State(KvIngestSettings given, std::function<void()> on_waiting,
        std::function<void(const KvReport&, const View&)> on_published)
      : settings(std::move(given)),
        waiting(std::move(on_waiting)),
        published(std::move(on_published)),
        core({settings.self, settings.limits, settings.exchange, settings.join_timeout}, *this) {}

  void run();
  void turn();
  void take_inbox(policies::Time now);
  void answer_readiness(policies::Time now);
  void publish(policies::Time now);

  // KvSource
  void subscribe(const StreamKey& stream, const KvEndpoints& endpoints) override {
    const ZmqSubscriptions::Id id = ++ids;
    const auto [at, fresh] = sinks.emplace(stream, std::make_unique<KvSink>(core, stream, id));
    DUALMESH_CHECK(fresh, "{} rank {} is subscribed already", stream.instance, stream.rank);
    subscriptions.add(id, endpoints, stream.rank, *at->second);
  }
  void unsubscribe(const StreamKey& stream) override {
    const auto found = sinks.find(stream);
    subscriptions.remove(found->second->id);
    retired.push_back(std::move(found->second));  // it may be the one that is speaking
    sinks.erase(found);
  }
  void ask_replay(const StreamKey& stream, std::uint64_t from) override {
    subscriptions.ask_replay(sinks.at(stream)->id, from);
  }
  void reconnect(const StreamKey& stream) override {
    subscriptions.reconnect(sinks.at(stream)->id);
  }
  std::string trouble(const StreamKey& stream) const override {
    const auto found = sinks.find(stream);
    return found == sinks.end() ? "" : subscriptions.last_error(found->second->id);
  }

  const KvIngestSettings settings;
  const std::function<void()> waiting;
  const std::function<void(const KvReport&, const View&)> published;
  KvInbox inbox;
  KvOutbox outbox;
  std::atomic<bool> stopping{false};

  mutable std::mutex told_mutex;  // guards the next three
  std::shared_ptr<const KvReport> report = std::make_shared<const KvReport>();
  bool ready = false;
  std::string why_not = "looking at the instances' caches";

  // On the ingest thread only.
  KvCore core;
  KvStepTimes step_times;
  ZmqSubscriptions subscriptions;
  std::map<StreamKey, std::unique_ptr<KvSink>> sinks;
  std::vector<std::unique_ptr<KvSink>> retired;
  ZmqSubscriptions::Id ids = 0;
  std::shared_ptr<const policies::FleetView> view;
  policies::Time next_tick{}, next_report{};
  std::uint64_t readiness_asked = 0;
  bool said_without = false;
  bool more_waiting = false;
  bool is_idle = false;  // whatever may happen wakes us
  std::thread thread;
};

void KvIngest::State::run() {
  pthread_setname_np(pthread_self(), "kv");
  while (!stopping.load(std::memory_order_relaxed)) turn();
}

void KvIngest::State::turn() {
  const policies::Duration patience = is_idle && ready ? kIdleTick : kTick;
  more_waiting = subscriptions.pump(steady_now(), more_waiting ? policies::Duration{0} : patience);
  retired.clear();
  policies::Time now = steady_now();
  take_inbox(now);
  now = steady_now();
  if (now >= next_tick) {
    next_tick = now + kTick;
    core.tick(now);
    answer_readiness(now);
  }
  step_times.note(core.state(), steady_now());
  core.upkeep(kUpkeepPerTurn);
  if (outbox.fill(now, [&](crdt::NodeId peer) { return core.take(peer, now); })) waiting();
  if (now >= next_report) publish(now);
}

void KvIngest::State::take_inbox(policies::Time now) {
  std::shared_ptr<const policies::FleetView> new_view;
  std::optional<std::vector<KvPeerLife>> peers;
  std::deque<KvInbox::Received> received;
  std::vector<std::function<void()>> questions;
  {
    const std::lock_guard lock(inbox.mutex);
    questions.swap(inbox.questions);
    new_view = std::move(inbox.view);
    peers = std::exchange(inbox.peers, std::nullopt);
    while (!inbox.received.empty() && received.size() < kMessagesPerTurn) {
      inbox.received_bytes -= inbox.received.front().bytes.size() + sizeof(KvInbox::Received);
      received.push_back(std::move(inbox.received.front()));
      inbox.received.pop_front();
    }
    if (!inbox.received.empty()) subscriptions.wake();
  }
  if (peers) {
    std::vector<crdt::NodeId> nodes;
    for (const KvPeerLife& peer : *peers) nodes.push_back(peer.node);
    core.set_peers(*peers, now);
    outbox.set_peers(nodes);
  }
  if (new_view) {
    const auto instances = publishing(*new_view);
    is_idle = instances.empty();
    core.set_instances(instances, now);
    view = std::move(new_view);
  }
  for (const KvInbox::Received& message : received) core.received(message.from, message.bytes, now);
  for (const auto& question : questions) question();
}

// Said anew only after the mesh has asked, with the instances and nodes known by then.
void KvIngest::State::answer_readiness(policies::Time now) {
  {
    const std::lock_guard lock(inbox.mutex);
    const bool stale = inbox.view || inbox.peers || !view;
    if (inbox.asked_ready == readiness_asked || stale) return;
    readiness_asked = inbox.asked_ready;
  }
  core.mesh_met();
  const KvCore::Readiness readiness = core.readiness(now);
  if (readiness.ready && !readiness.without.empty() && !std::exchange(said_without, true)) {
    for (const StreamKey& stream : readiness.without) {
      spdlog::warn("ready without what the cache of {} (rank {}) holds: it did not arrive in time",
                   stream.instance, stream.rank);
    }
  }
  const std::lock_guard lock(told_mutex);
  ready = readiness.ready;
  why_not = readiness.why_not;
}

void KvIngest::State::publish(policies::Time now) {
  next_report = now + kReportInterval;
  std::shared_ptr<const KvReport> made = core.report(now);
  {
    const std::lock_guard lock(told_mutex);
    report = made;
  }
  if (view) published(*made, view);
}

KvIngest::KvIngest(KvIngestSettings settings, std::function<void()> waiting,
                   std::function<void(const KvReport&, const View&)> published)
    : state_(
          std::make_unique<State>(std::move(settings), std::move(waiting), std::move(published))) {
  state_->thread = std::thread([state = state_.get()] { state->run(); });
}

KvIngest::~KvIngest() { stop(); }

void KvIngest::stop() {
  if (!state_->thread.joinable()) return;
  state_->stopping.store(true);
  state_->subscriptions.wake();
  state_->thread.join();
}

void KvIngest::set_view(View view) {
  {
    const std::lock_guard lock(state_->inbox.mutex);
    state_->inbox.view = std::move(view);
  }
  state_->subscriptions.wake();
}

void KvIngest::missed(std::string instance) {
  {
    const std::lock_guard lock(state_->inbox.mutex);
    state_->inbox.questions.push_back([state = state_.get(), instance = std::move(instance)] {
      state->core.missed(instance, steady_now());
    });
  }
  state_->subscriptions.wake();
}

void KvIngest::was_away(std::string instance) {
  {
    const std::lock_guard lock(state_->inbox.mutex);
    state_->inbox.questions.push_back(
        [state = state_.get(), instance = std::move(instance)] { state->core.was_away(instance); });
  }
  state_->subscriptions.wake();
}

const policies::BlockIndex& KvIngest::index() const { return state_->core.state().index(); }
const policies::RemovalMarks& KvIngest::removals() const { return state_->core.state().removals(); }

std::shared_ptr<const KvReport> KvIngest::report() const {
  const std::lock_guard lock(state_->told_mutex);
  return state_->report;
}

void KvIngest::cut(const StreamKey& stream,
                   std::function<void(std::shared_ptr<const StreamCut>)> done) {
  {
    const std::lock_guard lock(state_->inbox.mutex);
    state_->inbox.questions.push_back(
        [state = state_.get(), stream, done = std::move(done)] { done(state->core.cut(stream)); });
  }
  state_->subscriptions.wake();
}

void KvIngest::step_times(const StreamKey& stream,
                          std::function<void(std::vector<KvStepTime>)> done) {
  {
    const std::lock_guard lock(state_->inbox.mutex);
    state_->inbox.questions.push_back([state = state_.get(), stream, done = std::move(done)] {
      done(state->step_times.ask(state->core.state(), stream, steady_now()));
    });
  }
  state_->subscriptions.wake();
}

void KvIngest::kv_peers(std::vector<KvPeerLife> living) {
  {
    const std::lock_guard lock(state_->inbox.mutex);
    state_->inbox.peers = std::move(living);
  }
  state_->subscriptions.wake();
}

void KvIngest::kv_received(crdt::NodeId from, std::string message) {
  {
    KvInbox& inbox = state_->inbox;
    const std::lock_guard lock(inbox.mutex);
    const std::size_t bytes = message.size() + sizeof(KvInbox::Received);
    if (inbox.received_bytes + bytes > kMaxReceivedBytes) {
      ++inbox.dropped;
      return;
    }
    inbox.received_bytes += bytes;
    inbox.received.push_back({from, std::move(message)});
  }
  state_->subscriptions.wake();
}

std::string KvIngest::kv_take(crdt::NodeId to) { return state_->outbox.take(to); }

bool KvIngest::kv_ready(std::string& why_not) {
  {
    const std::lock_guard lock(state_->inbox.mutex);
    ++state_->inbox.asked_ready;
  }
  const std::lock_guard lock(state_->told_mutex);
  why_not = state_->why_not;
  return state_->ready;
}

}  // namespace dualmesh::node
