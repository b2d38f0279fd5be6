"""Fake instances and proxies that run side by side, and one load at a time on one of them."""

import json
import os
import subprocess
import threading
import time
from dataclasses import dataclass

from front.machine import CpuTime, CpuUsed, Noise, cores, family, pinned, user_memory
from load_mesh import programs
from mesh import LocalMesh
from process import die_with_parent, wait_until


@dataclass(frozen=True)
class Instances:
    """How the fake ones answer."""

    title: str  # short: it begins each figure's name
    latency_us: int
    count: int = 32
    events: int = 200
    interval_us: int = 100_000


ENGINES = Instances("20 ms", 20_000)
INSTANT = Instances("instant", 0)
# A node is told how fast they are, as it would be of real ones: else it believes that a long prompt
# costs more than a second elsewhere, and waits as long for the instance that has it cached.
AS_FAST = ("--routing.prefill_us_per_token", "2.5")
# Nobody waits for his turn: with engines that answer at once, the queue alone would be measured.
NO_QUEUE = ("--routing.prefill_limit", "10000")


@dataclass
class Measured:
    """What one load found, and what the proxy used for it."""

    found: dict  # what bench_front_load printed
    cpu: CpuUsed
    errors: int

    @property
    def rate(self):
        return self.found["done"] / self.found["seconds"]

    def cpu_us(self, what="done"):
        """CPU time of one request, or of one event."""
        return 1e6 * self.cpu.seconds / max(1, self.found[what])


class Front:
    """Use as a context manager: all are ready inside, and stopped at its end.

    `delays` says that delays are measured, of loads that fill no core. With --realtime these run
    before whatever else computes, so that nobody waits for others' time slices. Never where a core
    is full: then the kernel leaves packets to a thread of its own, and their CPU time is nobody's.
    """

    def __init__(self, instances, contestants, delays=False):
        self.proxy_core, self.load_core = cores()
        self._tools = LocalMesh(programs())
        self.directory = self._tools.directory
        self.settings = instances
        self.realtime = delays and bool(os.environ.get("DUALMESH_BENCH_REALTIME"))
        self.contestants = contestants
        self.instances = []
        self.noise = Noise()
        self._children = []
        self._pids = []

    def program(self, name):
        return self._tools.program(name)

    def spawn_proxy(self, name, argv):
        return self._tools.spawn(name, pinned(argv, self.proxy_core, self.realtime))

    def _spawn_load(self, argv):
        child = subprocess.Popen(pinned(argv, self.load_core, self.realtime),
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                 start_new_session=True, preexec_fn=die_with_parent)
        self._children.append(child)
        return child

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _start(self):
        settings = self.settings
        fake = self._spawn_load([self.program("bench_front_fake"), "--instances", settings.count,
                                 "--latency-us", settings.latency_us, "--events", settings.events,
                                 "--interval-us", settings.interval_us])
        self._pids = [fake.pid]
        ports = json.loads(fake.stdout.readline())["ports"]
        self.instances = [f"127.0.0.1:{port}" for port in ports]
        for contestant in self.contestants:
            contestant.start(self)
        for contestant in self.contestants:
            wait_until(contestant.ready, 60, f"{contestant.name} answers",
                       lambda one=contestant: [each.require_alive() for each in one.processes])
        time.sleep(1.0)  # until each has heard of each instance

    def __exit__(self, kind, value, trace):
        for child in reversed(self._children):  # load, then instances: both end with their input
            child.stdin.close()
            try:
                child.wait(2)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            child.stdout.close()
        self._tools.__exit__(kind, value, trace)

    def pids(self, contestant):
        return [pid for process in contestant.processes for pid in family(process.pid)]

    def memory(self, contestant):
        return user_memory(self.pids(contestant))

    def idle_cpu(self, contestant, seconds):
        """Of a core, while nobody asks for anything."""
        pids = self.pids(contestant)
        before = CpuTime.read(pids)
        time.sleep(seconds)
        return CpuUsed.between(before, CpuTime.read(pids)).seconds / seconds

    def ours(self):
        """Everything that belongs to what is measured."""
        alive = [child.pid for child in self._children if child.poll() is None]
        return alive + [pid for contestant in self.contestants for pid in self.pids(contestant)]

    def load(self, contestant, kind, during=None, timeout_s=120, **options):
        """Puts the load on; `during()` runs, if given, between its beginning and its end."""
        argv = [self.program("bench_front_load"), kind, "--to", ",".join(contestant.addresses)]
        for name, value in options.items():
            argv += [f"--{name.replace('_', '-')}", value]
        child = self._spawn_load(argv)
        watchdog = threading.Timer(timeout_s, child.kill)
        watchdog.start()
        try:
            self._expect(child, "begin")
            self.noise.begin(self.ours)
            pids = self.pids(contestant)
            before = CpuTime.read(pids)
            if during is not None:
                during()
            if kind == "idle":
                child.stdin.close()
            self._expect(child, "end")
            cpu = CpuUsed.between(before, CpuTime.read(pids))
            self.noise.end()
            found = json.loads(child.stdout.readline())
        finally:
            watchdog.cancel()
        child.wait(10)
        self._children.remove(child)
        return Measured(found, cpu, found["errors"])

    @staticmethod
    def _expect(child, word):
        line = child.stdout.readline().strip()
        if line != word:
            raise RuntimeError(f"the load said {line!r} where {word!r} was expected, status "
                               f"{child.poll()}")
