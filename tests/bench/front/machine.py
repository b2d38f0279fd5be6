"""Who runs on which core, what CPU time and memory it uses, and what others take meanwhile."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from figures import Skipped
from load_mesh import nice

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cores():
    """(proxies, load and instances): the last two that we may use."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise Skipped("needs two cores: one for the proxies, one for the load and the instances")
    return allowed[-2], allowed[-1]


def pinned(argv, core, realtime=False):
    first = ["chrt", "--rr", "1"] if realtime else []
    return nice([*first, "taskset", "--cpu-list", str(core), *[str(part) for part in argv]])


def family(pid):
    """The process and its descendants: a master alone does no work."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found


@dataclass
class CpuTime:
    threads: dict  # (process, thread) -> seconds it ran, in nanosecond steps
    user_s: float  # of the processes, in steps of 10 ms
    system_s: float

    @staticmethod
    def read(pids):
        threads, user, system = {}, 0, 0
        for pid in pids:
            for task in Path(f"/proc/{pid}/task").iterdir():
                threads[pid, task.name] = int((task / "schedstat").read_text().split()[0]) / 1e9
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            user, system = user + int(fields[11]), system + int(fields[12])
        return CpuTime(threads, user * TICK_S, system * TICK_S)


@dataclass
class CpuUsed:
    """Between two moments. The sum is that of the threads' own clocks: the same as utime + stime of
    /proc/PID/stat, which has steps of 10 ms, too coarse for short windows. How it divides into user
    and system is from there."""

    seconds: float
    user_share: float

    @staticmethod
    def between(before, after):
        counted = after.user_s + after.system_s - before.user_s - before.system_s
        seconds = sum(after.threads.values()) - sum(before.threads.values())
        if set(before.threads) != set(after.threads):  # a thread that ended takes its clock with it
            seconds = counted
        return CpuUsed(seconds, (after.user_s - before.user_s) / counted if counted else 0.0)


def busy_s():
    """Of all cores together since boot; taken away by a hypervisor counts as busy."""
    fields = [int(part) for part in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) * TICK_S


class Noise:
    """What processes that are not ours took of the cores, while something was measured."""

    NOISY = 0.05  # of all cores; more is said

    def __init__(self):
        self._others_s = self._all_s = 0.0

    def begin(self, ours):
        self._ours, self._at, self._busy_s = ours, time.monotonic(), busy_s()
        self._ours_s = self._ours_now()

    def end(self):
        used = self._ours_now() - self._ours_s
        self._others_s += max(0.0, busy_s() - self._busy_s - used)
        self._all_s += (time.monotonic() - self._at) * os.cpu_count()

    def _ours_now(self):
        return (sum(CpuTime.read(self._ours()).threads.values()) + time.process_time())

    def share(self):
        return self._others_s / self._all_s if self._all_s else 0.0


def user_memory(pids):
    """Bytes that are the processes' own: no file's pages, no socket buffers of the kernel."""
    return sum(1024 * int(line.split()[1]) for pid in pids
               for line in Path(f"/proc/{pid}/status").read_text().splitlines()
               if line.startswith("RssAnon:"))
