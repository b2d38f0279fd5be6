// KvMeshSim: nodes with KvState and KvExchange, engines and a bad network in virtual time; the same
// seed gives the same run.
//
// Threads: none.
#pragma once

#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "node/kv/kv_exchange.h"
#include "node/kv/kv_stream.h"
#include "tests/node/kv/engine_twin.h"

namespace dualmesh::node {

struct KvSimSettings {
  std::uint64_t seed = 1;
  std::size_t nodes = 5, engines = 4;
  std::uint32_t observers = 2;
  KvLimits limits{100'000, 100'000, 400};
  std::size_t max_message_bytes = 1 << 20;
  double loss = 0.0, duplication = 0.0;  // of messages
  double live_loss = 0.0;                // of batches on their way to a subscriber
  double faults = 0.0;                   // partitions, deaths, restarts: per turn
  std::size_t replay = 200;              // batches that an engine keeps; 0: it has no replay
  double batches_per_turn = 0.4;         // of an engine
  EngineTwin::Habits habits;
};

class KvMeshSim {
 public:
  static constexpr policies::Duration kTurn = std::chrono::milliseconds(20);

  explicit KvMeshSim(KvSimSettings settings);
  ~KvMeshSim();

  // Faults happen and engines work, or not.
  void run(policies::Duration time, bool working, bool faulty);
  void heal();
  // Everything that must always hold; a text about what does not.
  std::string violation();
  // After quiet: all nodes alike.
  std::string difference();
  // Streams that must be complete in the end, as of now: some live node knows all there is, or the
  // engine still has it and nobody has begun that life. (One that was begun late, its replay having
  // failed, stays so: what is known is not replayed again.)
  std::vector<StreamKey> completable();
  bool all_complete(const StreamKey& stream);

  void kill(std::size_t node);
  void start(std::size_t node);  // with nothing
  void isolate(std::size_t node);
  void was_away(std::size_t node, std::size_t engine);  // as that node sees it
  struct Node {
    crdt::NodeId id;
    std::uint64_t life = 0;
    std::unique_ptr<KvState> state;  // null: dead
    std::unique_ptr<KvExchange> exchange;
    struct Subscription {
      std::unique_ptr<KvStream> stream;
      std::optional<policies::Time> replay_at;
      std::uint64_t replay_from = 0;
      StreamPosition told;
    };
    std::vector<Subscription> subscriptions;  // by engine
    std::vector<bool> cut_off;                // from an engine
    std::vector<KvPeer> peers;
  };
  std::vector<Node>& nodes() { return nodes_; }
  EngineTwin& engine(std::size_t number) { return engines_[number]; }
  const StreamKey& key(std::size_t engine) const { return keys_[engine]; }
  std::uint64_t message_bytes() const { return message_bytes_; }
  policies::Time now() const { return now_; }

 private:
  struct Letter {
    policies::Time at;
    std::uint64_t order;
    std::size_t from, to;
    std::uint64_t from_life, to_life;
    std::string bytes;
  };

  bool chance(double p) { return std::generate_canonical<double, 32>(random_) < p; }
  void engines_work();
  void fault();
  void subscribe(std::size_t node, std::size_t engine);
  void carry_out(std::size_t node, std::size_t engine, StreamWants& wants);
  RawBatch raw(std::size_t engine, std::uint64_t step) const;
  void members();
  void send(std::size_t from, std::size_t to);
  void deliver();
  void turn(bool working, bool faulty);
  std::string untrue(const Node& node, std::size_t engine, const EngineLife& lived) const;

  const KvSimSettings settings_;
  std::mt19937_64 random_;
  policies::Time now_{0};
  std::vector<StreamKey> keys_;
  std::vector<EngineTwin> engines_;
  std::vector<Node> nodes_;
  std::vector<std::vector<bool>> blocked_;  // [from][to]
  std::vector<Letter> letters_;
  std::uint64_t letters_sent_ = 0, message_bytes_ = 0, turns_ = 0;
  // (engine, epoch): lives. More than one where an observer could not tell them apart.
  std::map<std::pair<std::size_t, std::uint64_t>, std::vector<std::size_t>> lives_of_;
  std::string wrong_;
};

}  // namespace dualmesh::node
