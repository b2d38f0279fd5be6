#include "node/replay/progress.h"

#include <spdlog/fmt/fmt.h>
#include <unistd.h>

namespace dualmesh::node {

Progress::Progress(std::FILE* out, std::size_t planned)
    : out_(out), planned_(planned), terminal_(isatty(fileno(out)) == 1) {}

void Progress::show(const LoadProgress& progress) {
  const auto now = std::chrono::steady_clock::now();
  if (now < next_) return;
  next_ = now + (terminal_ ? std::chrono::milliseconds(200) : std::chrono::milliseconds(5000));
  draw(progress);
}

void Progress::finish(const LoadProgress& progress) {
  draw(progress);
  if (terminal_) std::fputc('\n', out_);
  std::fflush(out_);
}

void Progress::draw(const LoadProgress& progress) {
  const std::size_t ended = progress.completed + progress.not_completed;
  std::string bar;
  if (terminal_) {
    constexpr std::size_t kWidth = 24;
    const std::size_t full = planned_ == 0 ? kWidth : kWidth * ended / planned_;
    bar = "\r[" + std::string(full, '#') + std::string(kWidth - full, '.') + "] ";
  }
  bar += fmt::format("{}/{} done, {} in flight, {} not completed, t {:.0f} s, TTFT {:.2f} s", ended,
                     planned_, progress.in_flight, progress.not_completed, progress.model_s,
                     progress.recent_ttft_s);
  bar += terminal_ ? "\x1b[K" : "\n";
  std::fputs(bar.c_str(), out_);
  std::fflush(out_);
}

}  // namespace dualmesh::node
