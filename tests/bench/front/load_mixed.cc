// What clients do, well and badly, for a long time: plain requests, streams, large bodies, requests
// broken off at every point, requests that must be refused.
#include <cstdio>
#include <memory>
#include <random>

#include "tests/bench/front/load.h"
#include "tests/bench/front/request_texts.h"

namespace dualmesh::bench {
namespace {

enum class Act { kPlain, kStream, kLarge, kCutHead, kCutBody, kCutWait, kCutStream, kBad, kTls };
constexpr const char* kActNames[] = {"plain",    "stream",     "large", "cut_head", "cut_body",
                                     "cut_wait", "cut_stream", "bad",   "tls"};
constexpr double kWeights[] = {50, 15, 4, 5, 5, 5, 8, 7, 1};
constexpr std::int64_t kLongestPauseUs = 200'000, kLongestStreamUs = 1'000'000;
constexpr std::size_t kLargeBytes = 4'000'000;

class Mixed final : public Client::Owner {
 public:
  explicit Mixed(const LoadOptions& options) : options_(options), random_(options.seed) {
    for (std::size_t i = 0; i < options.prompts; ++i) {
      plain_.push_back(chat_request(i % 4 == 0 ? 32'768 : 2048, false, i + 1));
      stream_.push_back(chat_request(options.body_bytes, true, i + 1));
    }
    for (std::size_t i = 1; i <= 4; ++i) large_.push_back(chat_request(kLargeBytes / i, false, i));
    for (std::size_t i = 0; i < options.connections; ++i) {
      actors_.push_back(
          std::make_unique<Client>(loop_, *this, options.to[i % options.to.size()], i));
    }
    acts_.resize(options.connections, Act::kPlain);
  }

  void run() {
    for (const auto& actor : actors_) pause(*actor);
    say("begin");
    end_us_ = now_us() + static_cast<std::int64_t>(options_.seconds * 1e6);
    while (now_us() < end_us_) {
      loop_.turn(end_us_);
      event_delays_us.clear();
    }
    drain();
    say("end");
    report();
  }

  void answered(Client& client) override {
    const int status = client.answer().status();
    const Act act = acts_[client.number];
    const bool refused = status >= 400 && status <= 505;
    const bool is_bad = act == Act::kBad || act == Act::kTls;
    if (is_bad ? !refused : status != 200) {
      errors_.add(std::string(name(act)) + ": status " + std::to_string(status));
    } else if (act == Act::kStream &&
               (client.answer().events() != options_.events || !client.answer().ended_well())) {
      errors_.add("a stream that is not whole");
    } else {
      ++done_[static_cast<std::size_t>(act)];
    }
    // A cut that came too late is none.
    if (is_bad || client.answer().closes()) client.close();
    pause(client);
  }

  void broken(Client& client, const char* why, bool /*busy*/) override {
    if (acts_[client.number] == Act::kTls) {  // other proxies just close
      ++done_[static_cast<std::size_t>(Act::kTls)];
      return pause(client);
    }
    errors_.add(std::string(name(acts_[client.number])) + ": " + why);
    pause(client);
  }

  void woken(Client& client) override {
    if (client.busy()) {  // the moment to break it off
      ++done_[static_cast<std::size_t>(acts_[client.number])];
      client.close(random_() % 2 == 0);
      return pause(client);
    }
    if (now_us() >= end_us_) return;
    if (!client.is_open()) client.open();
    if (client.is_open()) act(client);
  }

 private:
  static const char* name(Act act) { return kActNames[static_cast<std::size_t>(act)]; }

  std::int64_t up_to(std::int64_t most) {
    return std::uniform_int_distribution<std::int64_t>(0, most)(random_);
  }

  const std::string& any(const std::vector<std::string>& texts) {
    return texts[static_cast<std::size_t>(up_to(static_cast<std::int64_t>(texts.size()) - 1))];
  }

  void pause(Client& client) { client.wake_at(now_us() + up_to(kLongestPauseUs)); }

  void act(Client& client) {
    const Act act = acts_[client.number] = static_cast<Act>(kinds_(random_));
    const std::int64_t now = now_us();
    const std::string& plain = any(plain_);
    const std::size_t head = plain.find("\r\n\r\n");
    const auto part = [&](std::size_t from, std::size_t to) {
      return std::string_view(plain).substr(
          0, from + static_cast<std::size_t>(up_to(static_cast<std::int64_t>(to - from))));
    };
    switch (act) {
      case Act::kPlain:
        return client.send(plain, now);
      case Act::kStream:
        return client.send(any(stream_), now);
      case Act::kLarge:
        return client.send(any(large_), now);
      case Act::kBad:
        return client.send(any(bad_requests()), now);
      case Act::kTls:
        return client.send("\x16\x03\x01\x02 no HTTP\r\n\r\n", now);
      case Act::kCutHead:
        client.send(part(1, head), now);
        break;
      case Act::kCutBody:
        client.send(part(head + 4, plain.size() - 1), now);
        break;
      case Act::kCutWait:
        client.send(plain, now);
        break;
      case Act::kCutStream:
        client.send(any(stream_), now);
        return client.wake_at(now + up_to(kLongestStreamUs));
    }
    client.wake_at(now + up_to(20'000));
  }

  void drain() {
    const std::int64_t latest = now_us() + 60'000'000;
    const auto busy = [&] {
      for (const auto& actor : actors_) {
        if (actor->busy()) return true;
      }
      return false;
    };
    while (busy() && now_us() < latest) loop_.turn(now_us() + 50'000);
    for (const auto& actor : actors_) {
      if (actor->busy()) errors_.add("not answered in time");
      actor->close();
    }
  }

  void report() {
    std::printf("{\"seconds\":%.3f,\"acts\":{", options_.seconds);
    for (std::size_t i = 0; i < std::size(kActNames); ++i) {
      std::printf("%s\"%s\":%ld", i == 0 ? "" : ",", kActNames[i], done_[i]);
    }
    std::printf("},%s}\n", errors_json(errors_).c_str());
    std::fflush(stdout);
  }

  const LoadOptions& options_;
  std::mt19937_64 random_;
  std::discrete_distribution<int> kinds_{std::begin(kWeights), std::end(kWeights)};
  EventLoop loop_;
  std::vector<std::string> plain_, stream_, large_;
  std::vector<std::unique_ptr<Client>> actors_;
  std::vector<Act> acts_;  // what each does now
  long done_[std::size(kActNames)] = {};
  std::int64_t end_us_ = 0;
  Errors errors_;
};

}  // namespace

void run_mixed(const LoadOptions& options) { Mixed(options).run(); }

}  // namespace dualmesh::bench
