// SimPipe: one direction of a simulated TCP connection; SimStream: two of them, as kj sees it.
//
// What is written arrives complete and in order, or the connection breaks. Loss therefore shows as
// TCP shows it: the lost segment comes 200 ms later, then 400, 800, ...; all that was written after
// it waits behind it; after six losses in a row of one segment the connection is reset. While its
// direction is cut a pipe holds everything back, and after that the head waits for its next
// retransmission; what was not delivered for as long as the program lets its sockets wait breaks
// the connection, as user timeout and keepalive do. A limited rate delays each piece by the time
// its bytes take. Beyond the send buffer a writer waits. A paused reader's bytes wait in its
// kernel.
//
// Threads: kj; one thread. Every random choice comes from the network's seed.
#pragma once

#include <kj/async-io.h>

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace dualmesh::sim {

class SimNetwork;

class SimPipe : public std::enable_shared_from_this<SimPipe> {
 public:
  static constexpr std::size_t kSendBuffer = 256 * 1024;

  SimPipe(SimNetwork& network, std::size_t from, std::size_t to)
      : network_(network), from_(from), to_(to) {}

  kj::Promise<void> write(kj::ArrayPtr<const kj::ArrayPtr<const kj::byte>> pieces);
  kj::Promise<std::size_t> read(void* into, std::size_t min, std::size_t max);
  void finish();         // the writer has closed: the end comes after what was written
  void reader_leaves();  // the reader has closed: the writer learns it at its next write
  void break_off();      // a reset: both learn it now
  void swallow();        // one end vanished without a word: nothing arrives any more
  void resume();         // the direction was healed, or the reader goes on

  void set_twin(const std::shared_ptr<SimPipe>& twin) { twin_ = twin; }
  std::size_t from() const { return from_; }
  std::size_t to() const { return to_; }

 private:
  struct Chunk {
    kj::TimePoint sent;
    kj::TimePoint due;
    std::string bytes;  // empty: the end
  };
  struct Reader {
    void* into;
    std::size_t min;
    std::size_t max;
    kj::Own<kj::PromiseFulfiller<std::size_t>> done;
  };

  void send(std::string bytes);
  void pump();
  void arrive();
  void stall();
  void serve_reader();
  void tell_broken();
  std::size_t take(void* into, std::size_t max);
  void let_writers_go();
  std::size_t arrived() const { return buffer_.size() - taken_; }

  SimNetwork& network_;
  std::size_t from_;
  std::size_t to_;
  std::weak_ptr<SimPipe> twin_;
  std::deque<Chunk> queue_;
  std::size_t queued_ = 0;  // bytes of it
  std::string buffer_;      // arrived; the first `taken_` bytes have been read
  std::size_t taken_ = 0;
  std::optional<Reader> reader_;
  std::vector<kj::Own<kj::PromiseFulfiller<void>>> writers_;  // waiting for room
  kj::TimePoint last_due_ = kj::origin<kj::TimePoint>();
  bool pumping_ = false;
  bool stalled_ = false;  // the head was due while the direction was cut
  bool finished_ = false;
  bool ended_ = false;
  bool reader_gone_ = false;
  bool broken_ = false;
  bool swallowed_ = false;
};

class SimStream final : public kj::AsyncIoStream {
 public:
  SimStream(std::shared_ptr<SimPipe> in, std::shared_ptr<SimPipe> out)
      : in_(std::move(in)), out_(std::move(out)) {}
  ~SimStream() noexcept(false) {
    out_->finish();
    in_->reader_leaves();
  }

  kj::Promise<std::size_t> tryRead(void* into, std::size_t min, std::size_t max) override {
    return in_->read(into, min, max);
  }
  kj::Promise<void> write(const void* from, std::size_t size) override {
    const auto piece = kj::arrayPtr(reinterpret_cast<const kj::byte*>(from), size);
    return out_->write(kj::arrayPtr(&piece, 1));
  }
  kj::Promise<void> write(kj::ArrayPtr<const kj::ArrayPtr<const kj::byte>> pieces) override {
    return out_->write(pieces);
  }
  kj::Promise<void> whenWriteDisconnected() override { return kj::NEVER_DONE; }
  void shutdownWrite() override { out_->finish(); }

 private:
  std::shared_ptr<SimPipe> in_;
  std::shared_ptr<SimPipe> out_;
};

}  // namespace dualmesh::sim
