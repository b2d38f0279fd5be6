// LineFile: whole lines appended to a file that others rename (logrotate), or to standard output.
//
// Invariant: a line that could not be written whole is followed by a line feed before the next one,
// so readers lose that line alone. Never waits long for a reader: what a pipe does not take within
// `patience` is lost. Threads: one.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "net/error.h"

namespace dualmesh::node {

class LineFile {
 public:
  // "-": standard output.
  explicit LineFile(std::string path, std::chrono::milliseconds patience = {});
  ~LineFile();
  LineFile(const LineFile&) = delete;
  LineFile& operator=(const LineFile&) = delete;

  net::Result<void> open();  // anew, if it is open
  // Opens anew if the file has been renamed or removed.
  void follow();
  bool write(std::string_view lines);  // false: not all of it

 private:
  bool is_standard_output() const { return path_ == "-"; }
  void close();
  bool write_some(std::string_view& bytes);

  const std::string path_;
  const std::chrono::milliseconds patience_;
  int file_ = -1;
  bool regular_ = false;
  bool broken_line_ = false;
};

}  // namespace dualmesh::node
