// How many blocks a second one core takes from an engine's events into the index, and what a held
// block costs in memory.
//
//   bench_kv [--blocks 10000000] [--streams 64] [--rounds 60] [--json]
//
// Batches are vLLM's, events as maps: one stores a chain of 32 blocks of 16 tokens, one removes a
// chain that was stored before, picked at random, so the number held stays. Half of the chains go
// on from another. Batches are made beforehand, a round at a time, and go to the streams in turn.
// Three measures, in rounds of their own: decoding alone; with translation; all, into KvState and
// its index.
#include <time.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "node/kv/engine_batch.h"
#include "node/kv/kv_state.h"
#include "node/kv/kv_translator.h"

namespace dualmesh::node {
namespace {

constexpr std::size_t kChainBlocks = 32;
constexpr std::size_t kBlockTokens = 16;
constexpr std::uint32_t kVocabulary = 128'256;
constexpr std::size_t kBatchesPerRound = 2048;

// Of this process, which has one thread: what else runs on the machine takes no part, apart from
// its share of the caches.
struct Clock {
  static double now_s() {
    timespec now{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
  }
};

// MessagePack, as little of it as the batches need.
class Writer {
 public:
  std::string bytes;
  void byte(unsigned value) { bytes += static_cast<char>(value); }
  void number(std::uint64_t value, int width) {
    for (int i = width - 1; i >= 0; --i) byte(static_cast<unsigned>(value >> 8 * i & 0xff));
  }
  void text(std::string_view text) {
    byte(0xa0u | static_cast<unsigned>(text.size()));
    bytes += text;
  }
  void integer(std::uint32_t value) {
    if (value < 128) return byte(value);
    if (value < 256) return byte(0xcc), byte(value);
    value < 65'536 ? (byte(0xcd), number(value, 2)) : (byte(0xce), number(value, 4));
  }
  void hash(EngineHash hash) { byte(0xcf), number(hash, 8); }
  void array(std::size_t size) { byte(0xdc), number(size, 2); }
};

EngineHash hash_in_chain(std::uint64_t chain, std::size_t block) {
  std::uint64_t word = chain + 0x9e3779b97f4a7c15ULL * (block + 1);
  word = (word ^ word >> 30) * 0xbf58476d1ce4e5b9ULL;
  word = (word ^ word >> 27) * 0x94d049bb133111ebULL;
  return word ^ word >> 31;
}

// One engine: its chains, by a number from which all else follows.
class Engine {
 public:
  explicit Engine(std::uint64_t seed) : random_(seed) {}

  // A batch that stores a chain and, if asked to, removes one.
  std::string batch(bool removes) {
    const std::uint64_t chain = random_();
    Writer out;
    out.byte(0x93), out.byte(0xcb), out.number(0x41d9000000000000, 8);
    out.byte(removes ? 0x92 : 0x91);
    store(out, chain);
    if (removes) remove(out);
    out.byte(0);
    chains_.push_back(chain);
    return std::move(out.bytes);
  }

 private:
  void store(Writer& out, std::uint64_t chain) {
    out.byte(0x8b);
    out.text("type"), out.text("BlockStored");
    out.text("block_hashes"), out.array(kChainBlocks);
    for (std::size_t i = 0; i < kChainBlocks; ++i) out.hash(hash_in_chain(chain, i));
    out.text("parent_block_hash");
    if (chains_.empty() || random_() % 2 == 0) {
      out.byte(0xc0);
    } else {
      out.hash(hash_in_chain(chains_[random_() % chains_.size()], kChainBlocks - 1));
    }
    out.text("token_ids"), out.array(kChainBlocks * kBlockTokens);
    for (std::size_t i = 0; i < kChainBlocks * kBlockTokens; ++i) {
      out.integer(static_cast<std::uint32_t>(random_() % kVocabulary));
    }
    out.text("block_size"), out.integer(kBlockTokens);
    out.text("lora_id"), out.byte(0xc0);
    out.text("medium"), out.text("GPU");
    out.text("lora_name"), out.byte(0xc0);
    out.text("extra_keys"), out.array(kChainBlocks);
    for (std::size_t i = 0; i < kChainBlocks; ++i) out.byte(0xc0);
    out.text("group_idx"), out.byte(0);
    out.text("kv_cache_spec_kind"), out.text("full_attention");
  }
  void remove(Writer& out) {
    std::uint64_t& picked = chains_[random_() % chains_.size()];
    out.byte(0x84);
    out.text("type"), out.text("BlockRemoved");
    out.text("block_hashes"), out.array(kChainBlocks);
    for (std::size_t i = kChainBlocks; i-- > 0;) out.hash(hash_in_chain(picked, i));
    out.text("medium"), out.text("GPU");
    out.text("group_idx"), out.byte(0);
    picked = chains_.back();
    chains_.pop_back();
  }

  std::mt19937_64 random_;
  std::vector<std::uint64_t> chains_;
};

std::size_t resident_bytes() {
  std::size_t pages = 0;
  if (std::FILE* const file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%*s %zu", &pages) != 1) pages = 0;
    std::fclose(file);
  }
  return pages * 4096;
}

struct Stream {
  StreamKey key;
  Engine engine;
  KvTranslator translator{};
  EngineBatch batch{};
  crdt::Version end{};
};

struct Measured {
  double seconds = 0.0;
  std::uint64_t blocks = 0;
  void add(double since_s, std::size_t more) {
    seconds += Clock::now_s() - since_s;
    blocks += more;
  }
  double rate() const { return seconds > 0.0 ? static_cast<double>(blocks) / seconds : 0.0; }
};

struct Settings {
  std::size_t blocks = 10'000'000, streams = 64, rounds = 60;
  std::uint64_t seed = 1;
};

class Bench {
 public:
  explicit Bench(const Settings& settings) : settings_(settings), state_(KvLimits{}) {
    std::vector<StreamKey> keys;
    for (std::size_t i = 0; i < settings.streams; ++i) {
      keys.push_back({"instance-" + std::to_string(i), 0});
      streams_.push_back({keys.back(), Engine(settings.seed + i)});
    }
    state_.set_streams(keys);
    changes_.reserve(4 * kChainBlocks);
  }

  void fill() {
    const std::size_t batches = settings_.blocks / kChainBlocks;
    for (std::size_t i = 0; i < batches; ++i) {
      Stream& stream = streams_[i % streams_.size()];
      const std::string payload = stream.engine.batch(false);
      const double since = Clock::now_s();
      take(stream, payload);
      filling_.add(since, kChainBlocks);
    }
  }

  void round(std::size_t number) {
    std::vector<std::string> payloads;
    for (std::size_t i = 0; i < kBatchesPerRound; ++i) {
      payloads.push_back(streams_[i % streams_.size()].engine.batch(true));
    }
    const std::size_t blocks = 2 * kChainBlocks * kBatchesPerRound;
    if (number % 3 == 0) {
      EngineBatch batch;
      const double since = Clock::now_s();
      for (const std::string& payload : payloads) decoded(payload, batch);
      decoding_.add(since, blocks);
    } else if (number % 3 == 1) {
      KvTranslator translator;
      EngineBatch batch;
      const double since = Clock::now_s();
      for (std::size_t i = 0; i < payloads.size(); ++i) {
        decoded(payloads[i], batch);
        changes_.clear();
        translator.translate(batch, state_.map(streams_[i % streams_.size()].key), changes_);
      }
      translating_.add(since, blocks);
    }
    const double since = Clock::now_s();
    for (std::size_t i = 0; i < payloads.size(); ++i) {
      take(streams_[i % streams_.size()], payloads[i]);
    }
    if (number % 3 == 2) whole_.add(since, blocks);
  }

  nlohmann::ordered_json result() const {
    const double held = static_cast<double>(state_.blocks());
    const policies::BlockIndex& index = state_.index();
    std::size_t map_bytes = 0;
    for (const Stream& stream : streams_) map_bytes += state_.map(stream.key)->memory_bytes();
    std::uint64_t unknown = 0;
    for (const Stream& stream : streams_) unknown += state_.map(stream.key)->unknown();
    return {{"held_blocks", state_.blocks()},
            {"without_key", unknown},
            {"decode_blocks_per_s", decoding_.rate()},
            {"decode_translate_blocks_per_s", translating_.rate()},
            {"whole_blocks_per_s", whole_.rate()},
            {"fill_blocks_per_s", filling_.rate()},
            {"map_bytes_per_block", static_cast<double>(map_bytes) / held},
            {"index_bytes_per_block", static_cast<double>(index.memory_bytes()) / held},
            {"rss_bytes_per_block", static_cast<double>(resident_bytes()) / held}};
  }

 private:
  static void decoded(const std::string& payload, EngineBatch& batch) {
    if (decode(payload, batch) != BatchError::none) {
      std::fprintf(stderr, "bench_kv: a batch was refused\n");
      std::exit(1);
    }
  }
  void take(Stream& stream, const std::string& payload) {
    decoded(payload, stream.batch);
    changes_.clear();
    stream.translator.translate(stream.batch, state_.map(stream.key), changes_);
    const Taken taken = state_.observed(stream.key, {.epoch = {1},
                                                     .from = stream.end,
                                                     .to = stream.end.next(),
                                                     .changes = changes_,
                                                     .last_batch = stream.end.value,
                                                     .facts = stream.translator.facts()});
    if (taken != Taken::changed) {
      std::fprintf(stderr, "bench_kv: changes were not taken\n");
      std::exit(1);
    }
    stream.end = stream.end.next();
    if (++taken_ % 16 == 0) state_.upkeep(256);
  }

  const Settings settings_;
  KvState state_;
  std::vector<Stream> streams_;
  std::vector<BlockChange> changes_;
  std::size_t taken_ = 0;
  Measured filling_, decoding_, translating_, whole_;
};

}  // namespace
}  // namespace dualmesh::node

int main(int argc, char** argv) {
  using namespace dualmesh::node;
  Settings settings;
  bool json = false;
  CLI::App app{"Ingestion of KV events on one core."};
  app.add_option("--blocks", settings.blocks, "held during the measures")->capture_default_str();
  app.add_option("--streams", settings.streams, "engines")->capture_default_str();
  app.add_option("--rounds", settings.rounds, "of 2,048 batches")->capture_default_str();
  app.add_option("--seed", settings.seed, "of tokens and hashes")->capture_default_str();
  app.add_flag("--json", json, "for programs");
  CLI11_PARSE(app, argc, argv);
  Bench bench(settings);
  bench.fill();
  for (std::size_t i = 0; i < settings.rounds; ++i) bench.round(i);
  const nlohmann::ordered_json result = bench.result();
  if (json) {
    std::printf("%s\n", result.dump(2).c_str());
  } else {
    for (const auto& [name, value] : result.items()) {
      std::printf("%-32s %14.1f\n", name.c_str(), value.get<double>());
    }
  }
  return 0;
}
