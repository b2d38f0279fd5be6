// A progress bar on a terminal, a plain line now and then elsewhere.
//
// Threads: none.
#pragma once

#include <chrono>
#include <cstdio>
#include <string>

#include "node/replay/load_generator.h"

namespace dualmesh::node {

class Progress {
 public:
  Progress(std::FILE* out, std::size_t planned);
  // Draws at most as often as makes sense for the kind of output.
  void show(std::size_t done, const std::string& text);
  void show(const LoadProgress& progress);
  void finish(std::size_t done, const std::string& text);  // the last state, and the line is done
  void finish(const LoadProgress& progress);

 private:
  void draw(std::size_t done, const std::string& text);

  std::FILE* out_;
  std::size_t planned_;
  bool terminal_;
  std::chrono::steady_clock::time_point next_{};
};

}  // namespace dualmesh::node
