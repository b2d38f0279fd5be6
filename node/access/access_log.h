// AccessLog: writes a line per request from a thread of its own.
//
// The request path leaves records in bounded lanes, one per I/O thread; where a lane is full the
// record is dropped and counted. Every 50 ms the writer takes what is there, and writes it in the
// order of the lanes. A lane's lock is held to add one record or to swap two vectors: no request
// waits for JSON, for the file or for another request's thread.
//
// Invariant: written + dropped + failed + waiting = added.
// Threads: add() and the figures from any; the writer is its own.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "node/access/access_record.h"
#include "node/access/line_file.h"

namespace dualmesh::node {

class AccessLog {
 public:
  struct Settings {
    std::string file;  // "-": standard output
    std::string node;  // name of this node
    std::size_t lanes = 1;
    std::size_t waiting_records = 16'384;  // of all lanes
    std::chrono::milliseconds interval{50};
  };
  struct Figures {
    std::uint64_t written = 0;
    std::uint64_t dropped = 0;  // the writer was too slow
    std::uint64_t failed = 0;   // the file did not take them
  };

  static net::Result<std::unique_ptr<AccessLog>> open(Settings settings);
  ~AccessLog();  // what is there is written first

  void add(std::size_t lane, AccessRecord record);
  void reopen() { reopen_.store(true); }  // the file, before the next write
  Figures figures() const { return {written_.load(), dropped_.load(), failed_.load()}; }

 private:
  explicit AccessLog(Settings settings);
  void run();
  void write_all();
  void write(const std::vector<AccessRecord>& records);

  struct Lane {
    std::mutex mutex;
    std::vector<AccessRecord> records;
  };

  const Settings settings_;
  const std::size_t lane_records_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  LineFile file_;                         // the writer's, once it runs
  std::vector<AccessRecord> taken_;       // the writer's
  bool failing_ = false;                  // the writer's; told once
  std::chrono::milliseconds unlooked_{};  // the writer's; since it last followed the file
  std::atomic<bool> reopen_{false};
  std::atomic<std::uint64_t> written_{0}, dropped_{0}, failed_{0};
  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;  // guarded by mutex_
  std::thread writer_;
};

}  // namespace dualmesh::node
