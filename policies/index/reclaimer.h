// Reclaimer: when may what readers no longer find be freed? When all who might have found it
// left.
//
// A reader counts itself in while it reads, in one of two columns; the writer turns new readers
// to the other column and waits, without waiting, until each column has been seen empty once
// since a thing was taken out of sight. The counts are spread over cache lines by thread, so
// readers do not meet.
//
// Invariant: a thing retired is released after every Reading that began before has ended. New
// readers cannot keep the old from draining. Cost: two uncontended atomic additions per Reading;
// collect O(stripes + what is released). Threads: read() from any thread; retire and collect
// from the writer's alone. Source: sleepable RCU's two columns (McKenney), asked in passing
// instead of slept on.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace dualmesh::policies {

class Reclaimer {
  struct alignas(64) Stripe {
    std::array<std::atomic<std::uint32_t>, 2> reading{};
  };

 public:
  class Reading {
   public:
    explicit Reading(std::atomic<std::uint32_t>& count) : count_(count) { count_.fetch_add(1); }
    ~Reading() { count_.fetch_sub(1); }
    Reading(const Reading&) = delete;
    Reading& operator=(const Reading&) = delete;

   private:
    std::atomic<std::uint32_t>& count_;
  };
  using Release = void (*)(void* owner, std::uint64_t thing);

  ~Reclaimer() {
    release(draining_);
    release(retired_);
  }

  Reading read() const { return Reading(stripes_[stripe()].reading[column_.load()]); }
  // `thing` can no longer be found; release(owner, thing) when nobody has it.
  void retire(Release release, void* owner, std::uint64_t thing) {
    retired_.push_back({release, owner, thing});
    if (retired_.size() % kEvery == 0) collect();
  }
  // Releases what may be released by now.
  void collect() {
    while (true) {
      if (draining_.empty()) {
        if (retired_.empty()) return;
        draining_.swap(retired_);
        turned_ = false;
        // No count below is read before all can see that these are gone.
        std::atomic_thread_fence(std::memory_order_seq_cst);
      }
      const std::uint32_t other = 1 - column_.load();
      if (!empty(other)) return;
      if (!turned_) {
        column_.store(other);
        turned_ = true;
        continue;
      }
      release(draining_);
    }
  }
  std::size_t waiting() const { return draining_.size() + retired_.size(); }

 private:
  struct Retired {
    Release release;
    void* owner;
    std::uint64_t thing;
  };
  static constexpr std::size_t kStripes = 32;
  static constexpr std::size_t kEvery = 32;

  static std::size_t stripe() {
    static thread_local const char here = 0;  // its address tells threads apart
    return reinterpret_cast<std::uintptr_t>(&here) * 0x9e3779b97f4a7c15ULL >> 59;
  }
  bool empty(std::uint32_t column) const {
    for (const Stripe& stripe : stripes_) {
      if (stripe.reading[column].load() != 0) return false;
    }
    return true;
  }
  static void release(std::vector<Retired>& things) {
    for (const Retired& retired : things) retired.release(retired.owner, retired.thing);
    things.clear();
  }

  mutable std::array<Stripe, kStripes> stripes_;
  std::atomic<std::uint32_t> column_{0};  // of new readers
  std::vector<Retired> draining_;         // in sight of nobody who came after the last turn
  std::vector<Retired> retired_;
  bool turned_ = false;
};

}  // namespace dualmesh::policies
