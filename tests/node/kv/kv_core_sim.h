// KvCoreSim: a mesh of whole KvCores over model engines and a bad network, in virtual time; the
// same seed gives the same run.
//
// Threads: none.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "node/kv/kv_core.h"
#include "tests/node/kv/kv_model_engine.h"

namespace dualmesh::node::test {

using policies::Duration;
using policies::Time;
using std::chrono::milliseconds;
using std::chrono::seconds;

struct CoreSimSettings {
  std::uint64_t seed = 1;
  std::size_t nodes = 3, instances = 2;
  std::uint32_t ranks = 1;  // of the first instance; of the others 1
  std::uint32_t observers = 2;
  KvLimits limits{100'000, 100'000, 400};
  std::size_t max_message_bytes = 1 << 20;
  double loss = 0.0, duplication = 0.0;  // of messages between nodes
  double live_loss = 0.0, live_duplication = 0.0;
  double replay_loss = 0.0;    // of questions and single answers
  double faults = 0.0;         // per turn
  double never_reached = 0.0;  // node and engine that never meet
  std::size_t replay = 200;    // batches that engines keep; 0: they have no replay
  double batches_per_turn = 0.4;
  bool restarts = true;  // of engines
  bool changing_instances = false;
  bool silent_restarts = false;   // some engines have nothing to do afterwards
  bool moving_instances = false;  // to other addresses, of which nodes hear at different times
};

class KvCoreSim {
 public:
  static constexpr Duration kTurn = milliseconds(20);

  struct Wire {  // one node's subscription to one engine
    std::string address;
    bool connected = false;
    std::optional<Time> connect_at, serve_at;
    std::uint64_t serve_from = 0;
    std::deque<RawBatch> live, replies;  // sequence kNoSequence: over
  };
  struct Node final : KvSource {
    void subscribe(const StreamKey& stream, const KvEndpoints& endpoints) override;
    void unsubscribe(const StreamKey& stream) override;
    void ask_replay(const StreamKey& stream, std::uint64_t from) override;
    void reconnect(const StreamKey& stream) override;

    KvCoreSim* sim = nullptr;
    crdt::NodeId id;
    std::uint64_t life = 0;
    std::unique_ptr<KvCore> core;  // null: dead
    Time started{};
    std::map<StreamKey, Wire> wires;
    std::map<StreamKey, bool> cut_off, never;
    std::vector<KvPeerLife> peers;
    bool late_instances = false;
  };

  explicit KvCoreSim(CoreSimSettings settings);
  ~KvCoreSim();

  void run(Duration time, bool working, bool faulty);
  void heal();  // the world is good from now on
  // What must hold always; a text of what does not.
  std::string violation();
  // After quiet: all nodes alike, at the engines' ends.
  std::string difference();
  // What reports and readiness say, after quiet.
  std::string untrue_report();
  // Streams that must be complete in the end, as of now.
  std::vector<StreamKey> completable();
  bool all_complete(const StreamKey& stream);

  void kill(std::size_t node);
  void start(std::size_t node);
  bool reaches(const Node& node, const StreamKey& stream) const;
  void restart_silently(const StreamKey& stream);
  void move_instance(std::size_t number);
  void cut_off(std::size_t node, const StreamKey& stream);
  void partition(std::size_t first_behind, bool one_way);
  std::vector<Node>& nodes() { return nodes_; }
  std::map<StreamKey, KvModelEngine>& engines() { return engines_; }
  Time now() const { return now_; }

 private:
  struct Letter {
    Time at;
    std::uint64_t order;
    std::size_t from, to;
    std::uint64_t from_life, to_life;
    std::string bytes;
  };
  bool chance(double p) { return std::generate_canonical<double, 32>(random_) < p; }
  void turn(bool working, bool faulty);
  void fault();
  void engines_work();
  void disconnect(Node& node, const StreamKey& stream);
  void move_wire(Node& node, const StreamKey& stream);
  void read_wire(Node& node, const StreamKey& stream);
  void members();
  void send(std::size_t from, std::size_t to);
  void deliver();
  std::vector<KvCore::Instance> instances() const;
  std::string address(std::size_t instance) const;
  std::string address(const StreamKey& stream) const;
  std::string untrue(Node& node, const StreamKey& stream, const KvModelEngine& engine);
  std::string badly_indexed(Node& node, const StreamKey& stream, const EngineCache& held);
  std::string too_ready(Node& node);
  bool missed(const StreamKey& stream) const;

  CoreSimSettings settings_;
  std::mt19937_64 random_;
  Time now_{seconds(1000)};
  std::map<StreamKey, KvModelEngine> engines_;
  std::vector<bool> published_;  // instances that are there
  std::vector<std::size_t> moves_;
  std::vector<Node> nodes_;
  std::vector<std::vector<bool>> blocked_;  // [from][to]
  std::vector<Letter> letters_;
  std::uint64_t letters_sent_ = 0, turns_ = 0;
  std::map<std::pair<StreamKey, std::uint64_t>, std::size_t> life_of_;  // by epoch
  const bool lossy_replay_;  // answers break off: batches may be lost, lives be mixed
  std::string wrong_;
};

}  // namespace dualmesh::node::test
