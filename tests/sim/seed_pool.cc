#include "tests/sim/seed_pool.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "net/error.h"
#include "tests/sim/swarm_run.h"

namespace dualmesh::sim {
namespace {

constexpr unsigned kPatienceS = 300;  // of real time; a seed takes well below a second

struct Slot {  // written by the child, read when it has ended
  bool complete;
  std::uint64_t trace;
  double virtual_ms;
  double agreement_ms;
  Coverage coverage;
  char problem[1'024];
};

struct Child {
  pid_t pid = 0;
  std::uint64_t seed = 0;
};

[[noreturn]] void run_in_child(std::uint64_t seed, Slot& slot) {
  alarm(kPatienceS);
  const SeedResult result = run_seed(seed);
  slot.trace = result.trace;
  slot.virtual_ms = result.virtual_ms;
  slot.agreement_ms = result.agreement_ms;
  slot.coverage = result.coverage;
  std::strncpy(slot.problem, result.problem.c_str(), sizeof(slot.problem) - 1);
  slot.complete = true;
  _exit(0);
}

SeedVerdict verdict_of(const Child& child, const Slot& slot, int status, const rusage& usage) {
  SeedVerdict verdict;
  verdict.seed = child.seed;
  verdict.cpu_s = static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                  static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
  if (!slot.complete) {
    verdict.problem = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM
                          ? fmt::format("took more than {} s", kPatienceS)
                          : fmt::format("the process died, status {:#x}", status);
    return verdict;
  }
  verdict.problem = slot.problem;
  verdict.good = verdict.problem.empty();
  verdict.trace = slot.trace;
  verdict.virtual_ms = slot.virtual_ms;
  verdict.agreement_ms = slot.agreement_ms;
  verdict.coverage = slot.coverage;
  return verdict;
}

}  // namespace

SeedRange parse_range(const std::string& text) {
  const auto dots = text.find("..");
  if (dots == std::string::npos) return {std::stoull(text), std::stoull(text)};
  return {std::stoull(text.substr(0, dots)), std::stoull(text.substr(dots + 2))};
}

void run_seeds(SeedRange seeds, std::size_t jobs,
               const std::function<bool(const SeedVerdict&)>& done) {
  const std::size_t bytes = jobs * sizeof(Slot);
  void* shared = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  DUALMESH_CHECK(shared != MAP_FAILED, "bytes={} errno={}", bytes, errno);
  Slot* slots = static_cast<Slot*>(shared);
  std::vector<Child> children(jobs);
  std::uint64_t next = seeds.first;
  std::size_t running = 0;
  bool more = true;
  const auto begin_in = [&](std::size_t at) {
    children[at] = {};
    if (!more || next > seeds.last) return;
    slots[at] = Slot{};
    const std::uint64_t seed = next++;
    const pid_t pid = fork();
    DUALMESH_CHECK(pid >= 0, "errno={}", errno);
    if (pid == 0) run_in_child(seed, slots[at]);
    children[at] = {pid, seed};
    ++running;
  };
  for (std::size_t at = 0; at < jobs; ++at) begin_in(at);
  while (running > 0) {
    int status = 0;
    rusage usage{};
    const pid_t ended = wait4(-1, &status, 0, &usage);
    for (std::size_t at = 0; at < jobs; ++at) {
      if (children[at].pid != ended) continue;
      --running;
      more = done(verdict_of(children[at], slots[at], status, usage)) && more;
      begin_in(at);
      break;
    }
  }
  munmap(shared, bytes);
}

}  // namespace dualmesh::sim
