#include "node/access/access_log.h"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace dualmesh::node {
namespace {

constexpr std::size_t kWriteBytes = 256 * 1024;
constexpr std::chrono::milliseconds kFollowInterval{1'000};

}  // namespace

net::Result<std::unique_ptr<AccessLog>> AccessLog::open(Settings settings) {
  std::unique_ptr<AccessLog> log(new AccessLog(std::move(settings)));
  if (const auto opened = log->file_.open(); opened.has_error()) return opened.error();
  log->writer_ = std::thread([raw = log.get()] { raw->run(); });
  return log;
}

AccessLog::AccessLog(Settings settings)
    : settings_(std::move(settings)),
      lane_records_(std::max<std::size_t>(1, settings_.waiting_records / settings_.lanes)),
      file_(settings_.file) {
  for (std::size_t i = 0; i < settings_.lanes; ++i) lanes_.push_back(std::make_unique<Lane>());
}

AccessLog::~AccessLog() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  if (writer_.joinable()) writer_.join();
}

void AccessLog::add(std::size_t lane, AccessRecord record) {
  Lane& to = *lanes_[lane % lanes_.size()];
  {
    const std::lock_guard lock(to.mutex);
    if (to.records.size() < lane_records_) return to.records.push_back(std::move(record));
  }
  dropped_.fetch_add(1, std::memory_order_relaxed);
}

void AccessLog::run() {
  bool stopping = false;
  while (!stopping) {
    {
      std::unique_lock lock(mutex_);
      stopping = stop_.wait_for(lock, settings_.interval, [this] { return stopping_; });
    }
    unlooked_ += settings_.interval;
    if (reopen_.exchange(false)) {
      if (const auto opened = file_.open(); opened.has_error()) {
        spdlog::error("access log: {}", opened.error().message);
      }
    } else if (unlooked_ >= kFollowInterval) {
      unlooked_ = {};
      file_.follow();
    }
    write_all();
  }
}

void AccessLog::write_all() {
  for (const std::unique_ptr<Lane>& lane : lanes_) {
    {
      const std::lock_guard lock(lane->mutex);
      taken_.swap(lane->records);
    }
    write(taken_);
    taken_.clear();
  }
}

void AccessLog::write(const std::vector<AccessRecord>& records) {
  std::string lines;
  std::size_t waiting = 0;
  for (std::size_t i = 0; i < records.size(); ++i) {
    lines += to_json_line(records[i], settings_.node);
    ++waiting;
    if (i + 1 < records.size() && lines.size() < kWriteBytes) continue;
    const bool taken = file_.write(lines);
    (taken ? written_ : failed_).fetch_add(waiting, std::memory_order_relaxed);
    if (!taken && !failing_) spdlog::error("access log: {} takes no more lines", settings_.file);
    failing_ = !taken;
    lines.clear();
    waiting = 0;
  }
}

}  // namespace dualmesh::node
