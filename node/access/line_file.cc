#include "node/access/line_file.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace dualmesh::node {

LineFile::LineFile(std::string path, std::chrono::milliseconds patience)
    : path_(std::move(path)),
      patience_(patience.count() > 0 ? patience : std::chrono::seconds(1)) {}

LineFile::~LineFile() { close(); }

void LineFile::close() {
  if (file_ >= 0 && !is_standard_output()) ::close(file_);
  file_ = -1;
}

net::Result<void> LineFile::open() {
  close();
  file_ = is_standard_output()
              ? STDOUT_FILENO
              : ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0640);
  if (file_ < 0) return net::Error{fmt::format("{}: {}", path_, std::strerror(errno))};
  struct ::stat known = {};
  regular_ = ::fstat(file_, &known) == 0 && S_ISREG(known.st_mode);
  return {};
}

void LineFile::follow() {
  if (is_standard_output()) return;
  struct ::stat named = {};
  struct ::stat held = {};
  const bool same = file_ >= 0 && ::stat(path_.c_str(), &named) == 0 &&
                    ::fstat(file_, &held) == 0 && named.st_dev == held.st_dev &&
                    named.st_ino == held.st_ino;
  if (!same) static_cast<void>(open());
}

bool LineFile::write(std::string_view lines) {
  if (file_ < 0) return false;
  std::string_view separator = "\n";
  if (broken_line_ && !write_some(separator)) return false;
  broken_line_ = false;
  std::string_view left = lines;
  while (!left.empty()) {
    if (write_some(left)) continue;
    const std::size_t done = lines.size() - left.size();
    broken_line_ = done > 0 && lines[done - 1] != '\n';
    return false;
  }
  return true;
}

// A pipe that has room for PIPE_BUF bytes takes as many without waiting.
bool LineFile::write_some(std::string_view& bytes) {
  std::size_t most = bytes.size();
  if (!regular_) {
    pollfd ready{file_, POLLOUT, 0};
    if (::poll(&ready, 1, static_cast<int>(patience_.count())) <= 0) return false;
    if (most > PIPE_BUF) most = PIPE_BUF;
  }
  const ssize_t count = ::write(file_, bytes.data(), most);
  if (count < 0) return errno == EINTR;
  bytes.remove_prefix(static_cast<std::size_t>(count));
  return true;
}

}  // namespace dualmesh::node
