#include "node/replay/progress.h"

#include <spdlog/fmt/fmt.h>
#include <unistd.h>

#include <algorithm>

namespace dualmesh::node {

Progress::Progress(std::FILE* out, std::size_t planned)
    : out_(out), planned_(planned), terminal_(isatty(fileno(out)) == 1) {}

namespace {

std::size_t ended(const LoadProgress& progress) {
  return progress.completed + progress.not_completed;
}

std::string described(const LoadProgress& progress) {
  return fmt::format("{} in flight, {} not completed, t {:.0f} s, TTFT {:.2f} s",
                     progress.in_flight, progress.not_completed, progress.model_s,
                     progress.recent_ttft_s);
}

}  // namespace

void Progress::show(std::size_t done, const std::string& text) {
  const auto now = std::chrono::steady_clock::now();
  if (now < next_) return;
  next_ = now + (terminal_ ? std::chrono::milliseconds(200) : std::chrono::milliseconds(5000));
  draw(done, text);
}

void Progress::show(const LoadProgress& progress) { show(ended(progress), described(progress)); }

void Progress::finish(std::size_t done, const std::string& text) {
  draw(done, text);
  if (terminal_) std::fputc('\n', out_);
  std::fflush(out_);
}

void Progress::finish(const LoadProgress& progress) {
  finish(ended(progress), described(progress));
}

void Progress::draw(std::size_t done, const std::string& text) {
  std::string bar;
  if (terminal_) {
    constexpr std::size_t kWidth = 24;
    const std::size_t full = planned_ == 0 ? kWidth : kWidth * std::min(done, planned_) / planned_;
    bar = "\r[" + std::string(full, '#') + std::string(kWidth - full, '.') + "] ";
  }
  bar += fmt::format("{}/{} done, {}", done, planned_, text);
  bar += terminal_ ? "\x1b[K" : "\n";
  std::fputs(bar.c_str(), out_);
  std::fflush(out_);
}

}  // namespace dualmesh::node
