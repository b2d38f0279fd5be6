#include "tests/sim/sim_network.h"

#include <kj/debug.h>

#include <algorithm>
#include <cmath>

#include "tests/sim/sim_pipe.h"

namespace dualmesh::sim {
namespace {

constexpr double kSegmentBytes = 1'460.0;
constexpr kj::Duration kLookAgainAfter = 10 * kj::MILLISECONDS;

}  // namespace

class SimNetwork::EndpointDialer final : public net::Dialer {
 public:
  EndpointDialer(SimNetwork& network, std::size_t from) : network_(network), from_(from) {}
  kj::Promise<kj::Own<kj::AsyncIoStream>> dial(const std::string& address) override {
    auto paf = kj::newPromiseAndFulfiller<kj::Own<kj::AsyncIoStream>>();
    network_.try_dial(std::make_shared<Dial>(
        Dial{from_, network_.endpoint(address), kRedialAfter, kj::mv(paf.fulfiller)}));
    return kj::mv(paf.promise);
  }

 private:
  SimNetwork& network_;
  std::size_t from_;
};

std::unique_ptr<net::Dialer> SimNetwork::dialer_of(const std::string& address) {
  return std::make_unique<EndpointDialer>(*this, endpoint(address));
}

std::size_t SimNetwork::endpoint(const std::string& address) {
  const auto [entry, added] = numbers_.try_emplace(address, endpoints_.size());
  if (!added) return entry->second;
  endpoints_.emplace_back();
  endpoints_.back().address = address;
  SimDirection fresh;
  fresh.delay = delay_;
  fresh.loss = loss_;
  for (auto& row : table_) row.push_back(fresh);
  for (auto& row : carried_) row.push_back(0);
  table_.emplace_back(endpoints_.size(), fresh);
  carried_.emplace_back(endpoints_.size(), 0);
  return entry->second;
}

void SimNetwork::listen(const std::string& address, Accept accept) {
  Endpoint& listening = endpoints_[endpoint(address)];
  if (listening.vanished) {
    // Its former connections are unknown to the new kernel.
    for_pipes_of(endpoint(address), [](SimPipe& pipe) { pipe.break_off(); });
  }
  listening.vanished = false;
  listening.accept = std::move(accept);
}

void SimNetwork::down(const std::string& address) {
  const std::size_t gone = endpoint(address);
  endpoints_[gone].accept = nullptr;
  endpoints_[gone].backlog.clear();
  for_pipes_of(gone, [gone](SimPipe& pipe) {
    if (pipe.from() == gone) pipe.finish();
    if (pipe.to() == gone) pipe.reader_leaves();
  });
}

void SimNetwork::vanish(const std::string& address) {
  const std::size_t gone = endpoint(address);
  endpoints_[gone].accept = nullptr;
  endpoints_[gone].vanished = true;
  for_pipes_of(gone, [](SimPipe& pipe) { pipe.swallow(); });
  endpoints_[gone].backlog.clear();
}

void SimNetwork::set_paused(const std::string& address, bool paused) {
  const std::size_t number = endpoint(address);
  endpoints_[number].paused = paused;
  if (paused) return;
  auto waiting = std::move(endpoints_[number].backlog);
  for (auto& stream : waiting) endpoints_[number].accept(kj::mv(stream));
  for_pipes_of(number, [](SimPipe& pipe) { pipe.resume(); });
}

void SimNetwork::set_delay(SimDelay delay) {
  delay_ = delay;
  for (auto& row : table_) {
    for (SimDirection& way : row) way.delay = delay;
  }
}

void SimNetwork::set_loss(double loss) {
  loss_ = loss;
  for (auto& row : table_) {
    for (SimDirection& way : row) way.loss = loss;
  }
}

SimDirection& SimNetwork::direction(const std::string& from, const std::string& to) {
  const std::size_t a = endpoint(from);
  const std::size_t b = endpoint(to);
  return table_[a][b];
}

void SimNetwork::set_cut_one_way(const std::string& from, const std::string& to, bool cut) {
  direction(from, to).cut = cut;
  if (!cut) resume_pipes();
}

void SimNetwork::set_cut(const std::string& a, const std::string& b, bool cut) {
  direction(a, b).cut = cut;
  direction(b, a).cut = cut;
  if (!cut) resume_pipes();
}

void SimNetwork::reset_links(const std::string& a, const std::string& b) {
  const std::size_t other = endpoint(b);
  for_pipes_of(endpoint(a), [other](SimPipe& pipe) {
    if (pipe.from() == other || pipe.to() == other) pipe.break_off();
  });
}

void SimNetwork::heal_all() {
  loss_ = 0.0;
  for (auto& row : table_) {
    for (SimDirection& way : row) {
      way.loss = way.bytes_per_ms = 0.0;
      way.cut = way.dials_cut = false;
    }
  }
  resume_pipes();
}

std::uint64_t SimNetwork::bytes_between(const std::string& from, const std::string& to) const {
  return carried_[numbers_.at(from)][numbers_.at(to)];
}

void SimNetwork::note_carried(std::size_t from, std::size_t to, std::size_t bytes) {
  bytes_carried_ += bytes;
  carried_[from][to] += bytes;
}

template <class Do>
void SimNetwork::for_pipes_of(std::size_t endpoint, Do&& what) {
  const auto pipes = pipes_;  // what is told of its end may dial again
  for (const auto& weak : pipes) {
    const auto pipe = weak.lock();
    if (pipe && (pipe->from() == endpoint || pipe->to() == endpoint)) what(*pipe);
  }
}

void SimNetwork::resume_pipes() {
  const auto pipes = pipes_;
  for (const auto& weak : pipes) {
    if (const auto pipe = weak.lock()) pipe->resume();
  }
}

bool SimNetwork::lost(double chance) {
  return chance > 0.0 && std::uniform_real_distribution<double>(0.0, 1.0)(random_) < chance;
}

kj::Duration SimNetwork::draw_delay(const SimDirection& way) {
  return from_ms(
      std::uniform_real_distribution<double>(way.delay.min_ms, way.delay.max_ms)(random_));
}

kj::Maybe<kj::Duration> SimNetwork::draw_transit(std::size_t from, std::size_t to,
                                                 std::size_t bytes) {
  SimDirection& way = table_[from][to];
  kj::Duration delay = draw_delay(way);
  if (way.bytes_per_ms > 0.0) {
    way.line_free =
        std::max(way.line_free, now()) + from_ms(static_cast<double>(bytes) / way.bytes_per_ms);
    delay = delay + (way.line_free - now());
  }
  if (way.loss <= 0.0) return delay;
  const double segments =
      std::ceil(std::max<double>(static_cast<double>(bytes), 1.0) / kSegmentBytes);
  const double any_lost = 1.0 - std::pow(1.0 - way.loss, segments);
  kj::Duration again = kRetransmitAfter;
  for (int losses = 0; lost(losses == 0 ? any_lost : way.loss); ++losses) {
    ++segments_lost_;
    if (losses == kLossesUntilReset) {
      ++resets_by_loss_;
      return nullptr;
    }
    delay = delay + again;
    again = 2 * again;
  }
  return delay;
}

// A SYN, its answer or both may be lost or cut: it goes again after 1 s, 2 s, 4 s, ...
void SimNetwork::try_dial(std::shared_ptr<Dial> dial) {
  if (!dial->done->isWaiting()) return;  // the caller has given up
  if (!dial_passes(*dial)) {
    const kj::Duration wait = dial->wait;
    dial->wait = 2 * wait;
    events_.after(wait, [this, dial] { try_dial(dial); });
    return;
  }
  const kj::Duration there_and_back =
      draw_delay(table_[dial->from][dial->to]) + draw_delay(table_[dial->to][dial->from]);
  events_.after(there_and_back, [this, dial] { connect(dial); });
}

bool SimNetwork::dial_passes(const Dial& dial) {
  const SimDirection& there = table_[dial.from][dial.to];
  const SimDirection& back = table_[dial.to][dial.from];
  if (there.cut || back.cut || there.dials_cut || endpoints_[dial.to].vanished) return false;
  const bool lost_there = lost(there.loss);
  return !lost(back.loss) && !lost_there;
}

void SimNetwork::connect(std::shared_ptr<Dial> dial) {
  if (!dial->done->isWaiting()) return;
  const std::size_t from = dial->from;
  const std::size_t to = dial->to;
  if (endpoints_[from].paused) {  // its kernel is connected, its program does not know yet
    return events_.after(kLookAgainAfter, [this, dial] { connect(dial); });
  }
  Endpoint& other = endpoints_[to];
  if (!other.accept || !endpoints_[from].accept) {
    dial->done->reject(KJ_EXCEPTION(DISCONNECTED, "simulated connection refused"));
    return;
  }
  std::erase_if(pipes_, [](const auto& weak) { return weak.expired(); });
  auto there = std::make_shared<SimPipe>(*this, from, to);
  auto back = std::make_shared<SimPipe>(*this, to, from);
  there->set_twin(back);
  back->set_twin(there);
  pipes_.push_back(there);
  pipes_.push_back(back);
  auto accepted = kj::heap<SimStream>(there, back);
  if (other.paused) {
    other.backlog.push_back(kj::mv(accepted));
  } else {
    other.accept(kj::mv(accepted));
  }
  dial->done->fulfill(kj::heap<SimStream>(back, there));
}

}  // namespace dualmesh::sim
