#include "tests/sim/sim_pipe.h"

#include <kj/debug.h>

#include <algorithm>
#include <cstring>

#include "tests/sim/sim_network.h"

namespace dualmesh::sim {
namespace {

kj::Exception reset() { return KJ_EXCEPTION(DISCONNECTED, "the simulated connection was reset"); }

}  // namespace

kj::Promise<void> SimPipe::write(kj::ArrayPtr<const kj::ArrayPtr<const kj::byte>> pieces) {
  if (broken_ || reader_gone_) return reset();
  if (finished_ || swallowed_) return kj::READY_NOW;
  std::size_t size = 0;
  for (const auto piece : pieces) size += piece.size();
  if (size == 0) return kj::READY_NOW;
  std::string bytes;
  bytes.reserve(size);
  for (const auto piece : pieces) {
    bytes.append(reinterpret_cast<const char*>(piece.begin()), piece.size());
  }
  send(std::move(bytes));
  if (broken_) return reset();
  if (queued_ + arrived() <= kSendBuffer) return kj::READY_NOW;
  auto room = kj::newPromiseAndFulfiller<void>();
  writers_.push_back(kj::mv(room.fulfiller));
  return kj::mv(room.promise);
}

void SimPipe::finish() {
  if (finished_) return;
  finished_ = true;
  if (!broken_ && !swallowed_) send("");
}

void SimPipe::send(std::string bytes) {
  const kj::TimePoint now = network_.now();
  const auto delay = network_.draw_transit(from_, to_, bytes.size());
  if (delay == nullptr) {  // lost too often
    break_off();
    if (auto twin = twin_.lock()) twin->break_off();
    return;
  }
  last_due_ = std::max(last_due_, now + KJ_ASSERT_NONNULL(delay));
  queued_ += bytes.size();
  network_.note_backlog(queued_ + arrived());
  queue_.push_back({now, last_due_, std::move(bytes)});
  pump();
}

void SimPipe::pump() {
  if (pumping_ || stalled_ || queue_.empty() || broken_) return;
  pumping_ = true;
  network_.events().at(queue_.front().due, [self = shared_from_this()] {
    self->pumping_ = false;
    self->arrive();
  });
}

void SimPipe::arrive() {
  if (broken_ || queue_.empty()) return;
  if (network_.is_cut(from_, to_)) return stall();
  while (!queue_.empty() && queue_.front().due <= network_.now()) {
    const Chunk& chunk = queue_.front();
    if (chunk.bytes.empty()) ended_ = true;
    queued_ -= chunk.bytes.size();
    network_.note_carried(from_, to_, chunk.bytes.size());
    if (!reader_gone_) buffer_ += chunk.bytes;
    queue_.pop_front();
  }
  serve_reader();
  let_writers_go();
  pump();
}

// Both kernels give up on what cannot pass: one has it unacknowledged, the other hears nothing.
void SimPipe::stall() {
  stalled_ = true;
  const kj::TimePoint sent = queue_.front().sent;
  network_.events().at(std::max(sent + kUserTimeout, network_.now()),
                       [self = shared_from_this(), sent] {
                         if (self->queue_.empty() || self->queue_.front().sent != sent) return;
                         self->break_off();
                         if (auto twin = self->twin_.lock()) twin->break_off();
                       });
}

void SimPipe::resume() {
  if (broken_ || reader_gone_) return tell_broken();
  if (swallowed_) return;
  if (stalled_ && !network_.is_cut(from_, to_)) {
    stalled_ = false;
    // The head goes again at its next retransmission: 200 ms after the first, doubling.
    kj::Duration waited = kRetransmitAfter;
    while (queue_.front().sent + waited < network_.now()) waited = 2 * waited + kRetransmitAfter;
    queue_.front().due = queue_.front().sent + waited;
    for (Chunk& chunk : queue_) chunk.due = std::max(chunk.due, queue_.front().due);
    last_due_ = std::max(last_due_, queue_.front().due);
    pump();
  }
  serve_reader();
}

kj::Promise<std::size_t> SimPipe::read(void* into, std::size_t min, std::size_t max) {
  if (broken_) return reset();
  if (arrived() >= min || ended_) {
    const std::size_t n = take(into, max);
    let_writers_go();
    return n;
  }
  auto paf = kj::newPromiseAndFulfiller<std::size_t>();
  reader_ = Reader{into, min, max, kj::mv(paf.fulfiller)};
  return kj::mv(paf.promise);
}

void SimPipe::serve_reader() {
  if (!reader_ || network_.is_paused(to_)) return;
  if (arrived() < reader_->min && !ended_) return;
  Reader reader = std::move(*reader_);
  reader_.reset();
  // A reader that was cancelled no longer owns its memory.
  if (reader.done->isWaiting()) reader.done->fulfill(take(reader.into, reader.max));
}

std::size_t SimPipe::take(void* into, std::size_t max) {
  const std::size_t n = std::min(max, arrived());
  std::memcpy(into, buffer_.data() + taken_, n);
  taken_ += n;
  if (taken_ == buffer_.size()) {
    buffer_.clear();
    taken_ = 0;
  }
  return n;
}

void SimPipe::let_writers_go() {
  if (writers_.empty() || queued_ + arrived() > kSendBuffer) return;
  for (auto& writer : writers_) writer->fulfill();
  writers_.clear();
}

void SimPipe::reader_leaves() {
  if (swallowed_) return;  // nobody is told
  reader_gone_ = true;
  buffer_.clear();
  taken_ = 0;
  reader_.reset();
  tell_broken();
}

void SimPipe::break_off() {
  if (broken_) return;
  broken_ = true;
  queue_.clear();
  queued_ = 0;
  tell_broken();
}

// A paused end is told when it goes on.
void SimPipe::tell_broken() {
  if (reader_ && !network_.is_paused(to_)) {
    reader_->done->reject(reset());
    reader_.reset();
  }
  if (network_.is_paused(from_)) return;
  for (auto& writer : writers_) writer->reject(reset());
  writers_.clear();
}

void SimPipe::swallow() {
  swallowed_ = true;
  queue_.clear();
  queued_ = 0;
  stalled_ = false;
}

}  // namespace dualmesh::sim
