#include "node/router/crash_handler.h"

#include <execinfo.h>
#include <signal.h>
#include <unistd.h>

#include <cstring>
#include <string_view>

namespace dualmesh::node {
namespace {

void write_text(std::string_view text) {
  [[maybe_unused]] const auto written = write(STDERR_FILENO, text.data(), text.size());
}

// Only what is safe in a signal handler: no allocation, no stdio.
void on_crash(int signal) {
  write_text("\n*** dualmeshd crashed: ");
  const char* name = sigabbrev_np(signal);
  write_text("SIG");
  write_text(name ? name : "?");
  write_text(", stack of the thread that did:\n");
  void* frames[64];
  backtrace_symbols_fd(frames, backtrace(frames, 64), STDERR_FILENO);
  raise(signal);  // SA_RESETHAND has put the default action back
}

}  // namespace

void install_crash_handler() {
  void* frame[1];
  backtrace(frame, 1);  // loads libgcc now, which must not happen inside the handler

  struct sigaction action {};
  action.sa_handler = on_crash;
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_NODEFER);
  for (const int signal : {SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGFPE}) {
    sigaction(signal, &action, nullptr);
  }
}

}  // namespace dualmesh::node
