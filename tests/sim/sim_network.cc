#include "tests/sim/sim_network.h"

#include <kj/debug.h>

#include <algorithm>
#include <cstring>
#include <optional>

namespace dualmesh::sim {

// One direction of a stream.
class SimPipe : public std::enable_shared_from_this<SimPipe> {
 public:
  SimPipe(SimNetwork& network, std::string from, std::string to)
      : network_(network), from_(std::move(from)), to_(std::move(to)) {}

  bool writable() const { return !broken_ && !reader_gone_; }

  void write(kj::ArrayPtr<const kj::byte> bytes) {
    if (eof_) return;
    last_due_ = std::max(last_due_, network_.timer_.now() + network_.draw_delay());
    queue_.push_back(
        {last_due_, std::string(reinterpret_cast<const char*>(bytes.begin()), bytes.size())});
    pump();
  }

  void finish() {
    if (eof_) return;
    eof_ = true;
    last_due_ = std::max(last_due_, network_.timer_.now() + network_.draw_delay());
    queue_.push_back({last_due_, ""});  // an empty chunk is the end
    pump();
  }

  kj::Promise<size_t> read(void* into, size_t min, size_t max) {
    if (broken_) return KJ_EXCEPTION(DISCONNECTED, "the simulated connection broke");
    if (buffer_.size() >= min || ended_) return take(into, max);
    auto paf = kj::newPromiseAndFulfiller<size_t>();
    reader_ = Reader{into, min, max, kj::mv(paf.fulfiller)};
    return kj::mv(paf.promise);
  }

  void reader_leaves() { reader_gone_ = true; }

  void break_off() {
    broken_ = true;
    queue_.clear();
    if (reader_) {
      reader_->done->reject(KJ_EXCEPTION(DISCONNECTED, "the simulated connection broke"));
      reader_.reset();
    }
  }

  bool touches(const std::string& endpoint) const { return from_ == endpoint || to_ == endpoint; }

  // Delivers what is due, unless the link is cut; called again when it is healed.
  void pump() {
    if (pumping_ || queue_.empty() || broken_) return;
    pumping_ = true;
    network_.tasks_.add(
        network_.timer_.atTime(queue_.front().due).then([self = shared_from_this()] {
          self->pumping_ = false;
          self->deliver();
        }));
  }

 private:
  struct Chunk {
    kj::TimePoint due;
    std::string bytes;
  };
  struct Reader {
    void* into;
    size_t min;
    size_t max;
    kj::Own<kj::PromiseFulfiller<size_t>> done;
  };

  void deliver() {
    if (broken_ || network_.is_cut(from_, to_)) return;
    while (!queue_.empty() && queue_.front().due <= network_.timer_.now()) {
      if (queue_.front().bytes.empty()) ended_ = true;
      network_.bytes_carried_ += queue_.front().bytes.size();
      buffer_ += queue_.front().bytes;
      queue_.pop_front();
    }
    if (reader_ && (buffer_.size() >= reader_->min || ended_)) {
      Reader reader = std::move(*reader_);
      reader_.reset();
      // A reader that was cancelled no longer owns its memory.
      if (reader.done->isWaiting()) reader.done->fulfill(take(reader.into, reader.max));
    }
    pump();
  }

  size_t take(void* into, size_t max) {
    const size_t n = std::min(max, buffer_.size());
    std::memcpy(into, buffer_.data(), n);
    buffer_.erase(0, n);
    return n;
  }

  SimNetwork& network_;
  std::string from_;
  std::string to_;
  std::deque<Chunk> queue_;
  std::string buffer_;
  std::optional<Reader> reader_;
  kj::TimePoint last_due_ = kj::origin<kj::TimePoint>();
  bool pumping_ = false;
  bool eof_ = false;
  bool ended_ = false;
  bool reader_gone_ = false;
  bool broken_ = false;
};

namespace {

class SimStream final : public kj::AsyncIoStream {
 public:
  SimStream(std::shared_ptr<SimPipe> in, std::shared_ptr<SimPipe> out)
      : in_(std::move(in)), out_(std::move(out)) {}
  ~SimStream() noexcept(false) {
    out_->finish();
    in_->reader_leaves();
  }

  kj::Promise<size_t> tryRead(void* into, size_t min, size_t max) override {
    return in_->read(into, min, max);
  }
  kj::Promise<void> write(const void* from, size_t size) override {
    if (!out_->writable()) return gone();
    out_->write(kj::arrayPtr(reinterpret_cast<const kj::byte*>(from), size));
    return kj::READY_NOW;
  }
  kj::Promise<void> write(kj::ArrayPtr<const kj::ArrayPtr<const kj::byte>> pieces) override {
    if (!out_->writable()) return gone();
    for (auto piece : pieces) out_->write(piece);
    return kj::READY_NOW;
  }
  kj::Promise<void> whenWriteDisconnected() override { return kj::NEVER_DONE; }
  void shutdownWrite() override { out_->finish(); }

 private:
  static kj::Promise<void> gone() {
    return KJ_EXCEPTION(DISCONNECTED, "the simulated peer is gone");
  }

  std::shared_ptr<SimPipe> in_;
  std::shared_ptr<SimPipe> out_;
};

}  // namespace

class SimNetwork::EndpointDialer final : public net::Dialer {
 public:
  EndpointDialer(SimNetwork& network, std::string from)
      : network_(network), from_(std::move(from)) {}
  kj::Promise<kj::Own<kj::AsyncIoStream>> dial(const std::string& address) override {
    return network_.dial(from_, address);
  }

 private:
  SimNetwork& network_;
  std::string from_;
};

std::unique_ptr<net::Dialer> SimNetwork::dialer_of(const std::string& address) {
  return std::make_unique<EndpointDialer>(*this, address);
}

void SimNetwork::listen(const std::string& address, Accept accept) {
  listeners_[address] = std::move(accept);
}

void SimNetwork::down(const std::string& address) {
  listeners_.erase(address);
  for (auto& weak : pipes_) {
    auto pipe = weak.lock();
    if (pipe && pipe->touches(address)) pipe->break_off();
  }
}

void SimNetwork::set_cut(const std::string& a, const std::string& b, bool cut) {
  const auto link = std::minmax(a, b);
  if (cut) {
    cuts_.insert(link);
  } else {
    cuts_.erase(link);
    resume();
  }
}

void SimNetwork::heal_all() {
  cuts_.clear();
  resume();
}

void SimNetwork::resume() {
  for (auto& weak : pipes_) {
    if (auto pipe = weak.lock()) pipe->pump();
  }
  std::vector<WaitingDial> still;
  for (auto& waiting : waiting_dials_) {
    if (is_cut(waiting.from, waiting.to)) {
      still.push_back(std::move(waiting));
    } else {
      waiting.go->fulfill();
    }
  }
  waiting_dials_ = std::move(still);
}

bool SimNetwork::is_cut(const std::string& a, const std::string& b) const {
  return cuts_.contains(std::minmax(a, b));
}

kj::Duration SimNetwork::draw_delay() {
  const double ms = std::uniform_real_distribution<double>(delay_.min_ms, delay_.max_ms)(random_);
  return static_cast<std::int64_t>(ms * 1e6) * kj::NANOSECONDS;
}

kj::Promise<kj::Own<kj::AsyncIoStream>> SimNetwork::dial(std::string from, std::string to) {
  if (is_cut(from, to)) {
    auto paf = kj::newPromiseAndFulfiller<void>();
    waiting_dials_.push_back({from, to, kj::mv(paf.fulfiller)});
    return paf.promise.then([this, from, to]() { return dial(from, to); });
  }
  return timer_.afterDelay(draw_delay())
      .then([this, from, to]() -> kj::Promise<kj::Own<kj::AsyncIoStream>> {
        if (is_cut(from, to)) return dial(from, to);
        auto listener = listeners_.find(to);
        if (listener == listeners_.end() || !listeners_.contains(from)) {
          return KJ_EXCEPTION(DISCONNECTED, "simulated connection refused");
        }
        std::erase_if(pipes_, [](const auto& weak) { return weak.expired(); });
        auto there = std::make_shared<SimPipe>(*this, from, to);
        auto back = std::make_shared<SimPipe>(*this, to, from);
        pipes_.push_back(there);
        pipes_.push_back(back);
        listener->second(kj::heap<SimStream>(there, back));
        return kj::Own<kj::AsyncIoStream>(kj::heap<SimStream>(back, there));
      });
}

void SimNetwork::taskFailed(kj::Exception&& exception) { KJ_LOG(ERROR, exception); }

}  // namespace dualmesh::sim
