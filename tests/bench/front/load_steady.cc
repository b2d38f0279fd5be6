// Loads in which each connection does the same: plain requests, streams, or one request and then
// nothing.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <deque>
#include <memory>
#include <random>

#include "tests/bench/front/load.h"
#include "tests/bench/front/request_texts.h"

namespace dualmesh::bench {
namespace {

constexpr std::int64_t kPatienceUs = 10'000'000;

class Steady : public Client::Owner {
 public:
  Steady(const LoadOptions& options, bool stream) : options_(options), stream_(stream) {
    for (std::size_t i = 0; i < options.prompts; ++i) {
      requests_.push_back(chat_request(options.body_bytes, stream, i + 1));
    }
    for (std::size_t i = 0; i < options.connections; ++i) {
      clients_.push_back(
          std::make_unique<Client>(loop_, *this, options.to[i % options.to.size()], i));
    }
  }

  void answered(Client& client) override {
    --under_way_;
    const std::int64_t now = now_us();
    if (client.answer().status() != 200) {
      errors_.add("status " + std::to_string(client.answer().status()));
    } else if (stream_ &&
               (client.answer().events() != options_.events || !client.answer().ended_well())) {
      errors_.add("a stream that is not whole");
    } else if (now >= began_us_ && now < end_us_) {
      ++done_;
    }
    if (client.began_us() >= began_us_ && client.began_us() < end_us_) {
      latencies_us_.push_back(static_cast<std::int32_t>(now - client.began_us()));
    }
    free(client);
  }

  void broken(Client& /*client*/, const char* why, bool busy) override {
    errors_.add(why);
    if (busy) --under_way_;
  }

 protected:
  virtual void free(Client& client) = 0;

  void open_all() {
    for (const auto& client : clients_) client->open();
  }

  void send(Client& client, std::int64_t began_us) {
    ++under_way_;
    client.send(requests_[next_request_++ % requests_.size()], began_us);
  }

  void turn_until(std::int64_t time_us) {
    while (now_us() < time_us) loop_.turn(time_us);
  }

  // Until all are answered; who is not in time is an error.
  void drain(std::int64_t patience_us) {
    const std::int64_t latest = now_us() + patience_us;
    while (under_way_ > 0 && now_us() < latest) loop_.turn(latest);
    for (; under_way_ > 0; --under_way_) errors_.add("not answered in time");
  }

  void report() {
    std::printf("{\"done\":%ld,\"seconds\":%.3f,\"events\":%zu,%s,%s,%s}\n", done_,
                static_cast<double>(end_us_ - began_us_) / 1e6, event_delays_us.size(),
                percentiles_json("latency_us", latencies_us_).c_str(),
                percentiles_json("event_delay_us", event_delays_us).c_str(),
                errors_json(errors_).c_str());
    std::fflush(stdout);
  }

  const LoadOptions& options_;
  const bool stream_;
  EventLoop loop_;
  std::vector<std::string> requests_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::size_t next_request_ = 0;
  long under_way_ = 0, done_ = 0;
  std::int64_t began_us_ = 0, end_us_ = 0;  // of what is measured
  std::vector<std::int32_t> latencies_us_;
  Errors errors_;
};

class Requests final : public Steady {
 public:
  explicit Requests(const LoadOptions& options)
      : Steady(options, false),
        random_(options.seed),
        pause_us_(std::max(options.rate, 1.0) / 1e6) {}

  void run() {
    open_all();
    due_us_ = static_cast<double>(now_us());
    began_us_ = now_us() + static_cast<std::int64_t>(options_.warm_up_s * 1e6);
    end_us_ = began_us_ + static_cast<std::int64_t>(options_.seconds * 1e6);
    for (const auto& client : clients_) {
      if (client->is_open()) free(*client);
    }
    phase(began_us_);
    say("begin");
    phase(end_us_);
    say("end");
    drain(kPatienceUs);
    report();
  }

 private:
  void phase(std::int64_t end_us) {
    if (options_.rate == 0) return turn_until(end_us);
    for (std::int64_t now; (now = now_us()) < end_us;) {
      while (!free_.empty() && due_us_ <= static_cast<double>(now)) {
        Client& client = *free_.front();
        free_.pop_front();
        if (!client.is_open()) continue;
        send(client, static_cast<std::int64_t>(due_us_));  // even if late: to wait for a free
        due_us_ += pause_us_(random_);                     // connection is latency, too
      }
      loop_.turn(free_.empty() ? end_us : std::min(end_us, static_cast<std::int64_t>(due_us_)));
    }
  }

  void free(Client& client) override {
    if (options_.rate > 0) return free_.push_back(&client);
    if (now_us() < end_us_) send(client, now_us());
  }

  // Arrivals of a Poisson process, as of many clients that know nothing of each other.
  std::mt19937_64 random_;
  std::exponential_distribution<double> pause_us_;
  double due_us_ = 0;
  std::deque<Client*> free_;
};

class Streams final : public Steady {
 public:
  explicit Streams(const LoadOptions& options) : Steady(options, true) {}

  void run() {
    open_all();
    say("begin");
    began_us_ = now_us();
    end_us_ = began_us_ + 3'600'000'000;
    // Over a second, as clients come: a thousand at the same microsecond would measure a queue.
    const std::int64_t pause_us = 1'000'000 / static_cast<std::int64_t>(clients_.size());
    for (const auto& client : clients_) {
      if (client->is_open()) send(*client, now_us());
      turn_until(now_us() + pause_us);
    }
    drain(static_cast<std::int64_t>(options_.seconds * 1e6));
    end_us_ = now_us();
    say("end");
    report();
  }

 private:
  void free(Client& /*client*/) override {}
};

class Idle final : public Steady {
 public:
  explicit Idle(const LoadOptions& options) : Steady(options, false) {}

  void run() {
    for (const auto& client : clients_) {
      client->open();
      if (client->is_open()) send(*client, now_us());
      while (under_way_ >= 32) loop_.turn(now_us() + 100'000);
    }
    drain(kPatienceUs);
    say("begin");
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    loop_.turn(now_us());  // who was closed meanwhile is an error
    say("end");
    report();
  }

 private:
  void free(Client& /*client*/) override {}
};

}  // namespace

void run_requests(const LoadOptions& options) { Requests(options).run(); }
void run_streams(const LoadOptions& options) { Streams(options).run(); }
void run_idle(const LoadOptions& options) { Idle(options).run(); }

}  // namespace dualmesh::bench
