// Plays many engines that publish KV events as vLLM does, and nothing else of an engine.
//
//   bench_kv_engines --host 127.0.43.1 --engines 64
//
// Engine i publishes at the first port + 2 i and replays at the next one. A prompt has 128 blocks
// of 16 tokens and is stored in events of 32 blocks; a block stored or removed is one operation.
// Commands on standard input, one line each, answered by one line:
//   fill BLOCKS   each engine stores until it holds so many                      -> filled
//   run RATE      from now on RATE operations per second and engine, half of
//                 them stored, half removed: what is oldest leaves               -> running
//   stop                                                                         -> stopped
//   sent          batches since the last `run`, for each engine
//                 [[batches published up to it, CLOCK_MONOTONIC ns before], ...] -> JSON
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <deque>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "node/engine/event_publisher.h"

namespace dualmesh::node {
namespace {

constexpr std::size_t kBlockTokens = 16, kEventBlocks = 32, kPromptBlocks = 128;
constexpr std::uint32_t kVocabulary = 128'000;

using Clock = std::chrono::steady_clock;  // CLOCK_MONOTONIC

std::uint64_t since_boot_ns(Clock::time_point at) {
  return static_cast<std::uint64_t>(at.time_since_epoch().count());
}

double unix_s() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

class Engine {
 public:
  Engine(EventPublisher& publisher, std::size_t stream) : publisher_(publisher), stream_(stream) {}

  // One batch: a step of an engine that evicts for what it stores.
  void step(bool evict, std::mt19937_64& random) {
    std::vector<KvEvent> events;
    if (evict) events.push_back(oldest());
    events.push_back(next(random));
    ++batches_;
    publisher_.publish(stream_, std::move(events), unix_s());
  }

  std::size_t held() const { return held_; }
  std::uint64_t batches() const { return batches_; }

  Clock::time_point due{};
  std::vector<std::pair<std::uint64_t, std::uint64_t>> sent;

 private:
  KvStored next(std::mt19937_64& random) {
    if (at_ == kPromptBlocks || !prompt_) {
      auto prompt = std::make_shared<KvPrompt>();
      prompt->tokens.resize(kPromptBlocks * kBlockTokens);
      for (policies::TokenId& token : prompt->tokens) {
        token = static_cast<policies::TokenId>(random() % kVocabulary);
      }
      prompt_ = std::move(prompt);
      at_ = 0;
      prompts_.emplace_back();
    }
    KvStored stored;
    for (std::size_t i = 0; i < kEventBlocks; ++i) stored.hashes.push_back(random());
    stored.first_block = at_;
    stored.parent = at_ > 0 ? prompts_.back().back() : 0;
    stored.prompt = prompt_;
    at_ += kEventBlocks;
    held_ += kEventBlocks;
    auto& blocks = prompts_.back();
    blocks.insert(blocks.end(), stored.hashes.begin(), stored.hashes.end());
    return stored;
  }

  // The end of the oldest prompt, last block first.
  KvRemoved oldest() {
    auto& blocks = prompts_.front();
    KvRemoved removed;
    removed.hashes.assign(blocks.rbegin(), blocks.rbegin() + kEventBlocks);
    blocks.resize(blocks.size() - kEventBlocks);
    held_ -= kEventBlocks;
    if (blocks.empty() && prompts_.size() > 1) prompts_.pop_front();
    return removed;
  }

  EventPublisher& publisher_;
  const std::size_t stream_;
  std::shared_ptr<const KvPrompt> prompt_;
  std::size_t at_ = 0, held_ = 0;
  std::uint64_t batches_ = 0;
  std::deque<std::vector<policies::BlockKey>> prompts_;
};

class Engines {
 public:
  Engines(const std::string& host, std::size_t count, std::uint32_t first_port,
          std::uint32_t buffer_steps)
      : publisher_(1) {
    const auto endpoint = [&](std::size_t port) {
      return "tcp://" + host + ":" + std::to_string(first_port + port);
    };
    for (std::size_t i = 0; i < count; ++i) {
      EventStreamSettings settings;
      settings.events = endpoint(2 * i);
      settings.replay = endpoint(2 * i + 1);
      settings.buffer_steps = buffer_steps;
      const auto bound = publisher_.add(settings);
      DUALMESH_CHECK(bound.has_value(), "{}", bound.error().message);
      engines_.emplace_back(publisher_, i);
    }
    publisher_.start();
  }

  void fill(std::size_t blocks) {
    for (bool any = true; any;) {
      any = false;
      for (Engine& engine : engines_) {
        if (engine.held() + kEventBlocks > blocks) continue;
        engine.step(false, random_);
        any = true;
      }
      std::this_thread::sleep_for(std::chrono::microseconds(500));  // for who encodes it
    }
  }

  void run(double rate) {
    interval_ = std::chrono::duration_cast<Clock::duration>(
        std::chrono::duration<double>(2 * kEventBlocks / rate));
    for (Engine& engine : engines_) {
      engine.sent.clear();
      engine.due = Clock::now() + interval_ * (random_() % 1'000) / 1'000;
    }
  }
  void stop() { interval_ = {}; }

  // What is due; when something is due next.
  Clock::time_point publish_due() {
    Clock::time_point next = Clock::now() + std::chrono::milliseconds(100);
    if (interval_ == Clock::duration{}) return next;
    for (Engine& engine : engines_) {
      for (auto now = Clock::now(); engine.due <= now; now = Clock::now()) {
        engine.due += interval_;
        engine.sent.emplace_back(engine.batches() + 1, since_boot_ns(now));
        engine.step(engine.held() > kPromptBlocks, random_);
      }
      next = std::min(next, engine.due);
    }
    return next;
  }

  nlohmann::json sent() const {
    nlohmann::json all = nlohmann::json::array();
    for (const Engine& engine : engines_) all.push_back(engine.sent);
    return all;
  }

 private:
  EventPublisher publisher_;
  std::deque<Engine> engines_;
  std::mt19937_64 random_{1};
  Clock::duration interval_{};
};

std::string obey(Engines& engines, const std::string& line) {
  std::istringstream in(line);
  std::string command;
  double number = 0.0;
  in >> command >> number;
  if (command == "fill") return engines.fill(static_cast<std::size_t>(number)), "filled";
  if (command == "run" && number > 0.0) return engines.run(number), "running";
  if (command == "stop") return engines.stop(), "stopped";
  if (command == "sent") return engines.sent().dump();
  return "unknown command";
}

void serve(Engines& engines) {
  std::string input;
  for (;;) {
    const auto wait = engines.publish_due() - Clock::now();
    const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(wait).count();
    const timespec timeout{0, std::max<long>(left, 0)};
    pollfd in{STDIN_FILENO, POLLIN, 0};
    if (ppoll(&in, 1, &timeout, nullptr) <= 0) continue;
    char bytes[256];
    const ssize_t count = read(STDIN_FILENO, bytes, sizeof bytes);
    if (count <= 0) return;
    input.append(bytes, static_cast<std::size_t>(count));
    for (std::size_t end; (end = input.find('\n')) != std::string::npos;) {
      std::cout << obey(engines, input.substr(0, end)) << std::endl;
      input.erase(0, end + 1);
    }
  }
}

}  // namespace
}  // namespace dualmesh::node

int main(int argc, char** argv) {
  CLI::App app{"Plays engines that publish KV events"};
  std::string host = "127.0.0.1";
  std::size_t engines = 1;
  std::uint32_t first_port = 21'000, buffer_steps = 10'000;
  app.add_option("--host", host);
  app.add_option("--engines", engines);
  app.add_option("--first-port", first_port);
  app.add_option("--buffer-steps", buffer_steps);
  CLI11_PARSE(app, argc, argv);
  dualmesh::node::Engines all(host, engines, first_port, buffer_steps);
  std::cout << "ready" << std::endl;
  dualmesh::node::serve(all);
}
