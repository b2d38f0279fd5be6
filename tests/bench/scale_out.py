"""The same requests per second and node in meshes of 1, 2, 4, 8 and 16 nodes: what does a request
cost, and what the mesh?

Method. The machine has fewer cores than a mesh has nodes, so throughput is derived from CPU time.
A node alone uses c seconds of CPU for a request. A node among N uses the same and, beside it, the
share m_N of a core for being in a mesh: its mesh thread, and what the other threads use beyond those
of a node alone at equal requests (they take in what others say). A core that gives m to the mesh
serves (1 - m) / c requests a second, so N nodes are worth N (1 - m_N) / (1 - m_1) single ones.

- Always 16 nodes run, as 16 meshes of one, 8 of two, ... or one of 16, and all get the same requests
  at the same times: the machine is equally busy for each size, only who is meshed with whom differs.
  The sizes take turns; each figure is the median of the turns.
- That m_N is a share of a core and no cost of each request is measured, too: load changes 45 times
  a second, faster than the flush interval of 25 ms, so more requests make pushes larger, not more
  frequent. The last rows show m_4 at four times the requests; `storm` goes far beyond.
- Requests are fixed (steady_load.py) and come open loop, far from what the machine can take, to
  engines a few times as fast as real ones, so every token of an answer is a piece of its own for
  every size. Earlier figures were not to be believed: they compared one node on an idle machine with
  16 on a crowded one, at engines 50 times as fast. A busy relay finds many tokens in one read, so a
  request on one node seemed to cost six times one on 16. How often threads slept and were woken, per
  request, is printed beside the rest.
- CPU time is that of dualmeshd alone, user and system, by thread from /proc/PID/task/TID/schedstat:
  the same time as utime + stime of /proc/PID/stat, which counts in steps of 10 ms, too coarse here.
  What is used without any request (pings, health checks of instances) is measured before and stated;
  it is subtracted from the cost of a request, not from that of the mesh.
"""

import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from figures import Figure, trials
from load_mesh import nice, programs
from mesh import LocalMesh, instance_flags, seed_flags, time_flags
from steady_load import start_replay

SIZES = (1, 2, 4, 8, 16)
ENGINES = 8
SPEED = 8.0
SECONDS = 5
IDLE_S = 1.5


@dataclass(frozen=True)
class Setup:
    size: int  # of each mesh
    nodes: int = 16  # of all meshes together
    rate: int = 15  # requests a second and node; each changes the load three times

    def requests(self):
        return self.nodes * self.rate * SECONDS


BUSY = (Setup(1, 4, 60), Setup(4, 4, 60))  # as many requests in all, on a quarter of the nodes
SETUPS = tuple(Setup(size) for size in SIZES) + BUSY
ORDERS = ((0, 4, 1, 5, 3, 6, 2), (3, 0, 6, 2, 4, 5, 1), (1, 2, 5, 4, 0, 6, 3))


def cpu_of(node):
    """{thread: (is it the mesh's, CPU seconds, how often it was woken)}"""
    threads = {}
    for task in Path(f"/proc/{node.process.pid}/task").iterdir():
        seconds = int((task / "schedstat").read_text().split()[0]) / 1e9
        woken = next(int(line.split()[1]) for line in (task / "status").read_text().splitlines()
                     if line.startswith("voluntary_ctxt_switches"))
        threads[task.name] = ((task / "comm").read_text().strip() == "mesh", seconds, woken)
    return threads


class Usage:
    """Of all nodes, between two moments."""

    def __init__(self, nodes):
        self._nodes = nodes
        self._before = [cpu_of(node) for node in nodes]
        self._began = time.monotonic()

    def finish(self):
        self.seconds = time.monotonic() - self._began
        self.mesh_s = self.others_s = self.woken = 0.0
        for node, before in zip(self._nodes, self._before):
            after = cpu_of(node)
            if set(after) != set(before):
                raise RuntimeError(f"{node.name} began or ended threads: its CPU time is not whole")
            for thread, (is_mesh, cpu_s, woken) in after.items():
                if is_mesh:
                    self.mesh_s += cpu_s - before[thread][1]
                else:
                    self.others_s += cpu_s - before[thread][1]
                    self.woken += woken - before[thread][2]
        return self


def start_nodes(mesh, setup):
    for first in range(0, setup.nodes, setup.size):
        hosts = [f"127.0.47.{first + index + 1}" for index in range(setup.size)]
        flags = [*seed_flags(hosts), *instance_flags(mesh.engines), *time_flags(SPEED),
                 "--node.io_threads", "1", "--mesh.alone", str(setup.size == 1).lower()]
        for host in hosts:
            node = mesh.plan_node(f"node-{len(mesh.nodes) + 1}", host, flags)
            node.wrap = nice
            node.start()
    for node in mesh.nodes:
        node.wait_ready(30)
    time.sleep(1.0)  # until each knows what the instances serve


def stop_nodes(mesh):
    for node in mesh.nodes:
        node.process.signal(15)
    for node in mesh.nodes:
        node.process.stop()
    mesh.nodes.clear()


def replay(mesh, setup):
    report = mesh.directory / "replay.json"
    busy = Usage(mesh.nodes)
    start_replay(mesh, mesh.nodes, setup.requests(), setup.nodes * setup.rate, SPEED,
                 report).wait(120)
    busy.finish()
    results = json.loads(report.read_text())
    if results["completed"] != setup.requests():
        raise RuntimeError(f"{results['completed']} of {setup.requests()} requests: "
                           f"{results['reasons']}")
    return busy


def measure(mesh, setup):
    """One turn: what a node uses per second, and what it did."""
    start_nodes(mesh, setup)
    idle = Usage(mesh.nodes)
    time.sleep(IDLE_S)
    idle.finish()
    busy = replay(mesh, setup)
    stop_nodes(mesh)
    rate = setup.requests() / setup.nodes / busy.seconds
    others = busy.others_s / busy.seconds / setup.nodes
    idle_others = idle.others_s / idle.seconds / setup.nodes
    woken = (busy.woken / busy.seconds - idle.woken / idle.seconds) / setup.nodes
    return {"rate": rate, "mesh": busy.mesh_s / busy.seconds / setup.nodes, "others": others,
            "request_s": (others - idle_others) / rate, "woken": woken / rate,
            "idle": idle.mesh_s / idle.seconds / setup.nodes + idle_others}


def scale_out():
    turns = {setup: [] for setup in SETUPS}
    with LocalMesh(programs()) as mesh:
        for index in range(ENGINES):
            mesh.add_engine(f"engine-{index + 1}", f"127.0.48.{index + 1}", speed=SPEED)
        for engine in mesh.engines:
            engine.wait_ready()
        for order in ORDERS[:trials(len(ORDERS), quick=1)]:
            for number in order:
                turns[SETUPS[number]].append(measure(mesh, SETUPS[number]))
    return rows({setup: {name: statistics.median(turn[name] for turn in found)
                         for name in found[0]} for setup, found in turns.items()})


def meshing(found, alone):
    return found["mesh"] + max(0.0, found["others"] - alone["others"])


def rows(medians):
    figures = []
    alone = medians[SETUPS[0]]
    for setup in SETUPS[:len(SIZES)]:
        found, size = medians[setup], setup.size
        of = "1 node" if size == 1 else f"{size} nodes"
        share = meshing(found, alone)
        figures += [
            Figure(f"{of}: requests per second and node", found["rate"], "1/s"),
            Figure(f"{of}: CPU per request, mesh apart", 1e6 * found["request_s"], "us"),
            Figure(f"{of}: threads woken per request", found["woken"], ""),
            Figure(f"{of}: all threads without requests", 100 * found["idle"], "% core"),
            Figure(f"{of}: mesh thread, per node", 100 * found["mesh"], "% core"),
            Figure(f"{of}: all that meshing costs, per node", 100 * share, "% core"),
            Figure(f"{of}: aggregate, from CPU time",
                   size * (1 - share) / (1 - meshing(alone, alone)), "nodes", 0.9 * size,
                   at_most=False)]
    busy_alone, busy = (medians[setup] for setup in BUSY)
    return figures + [
        Figure(f"4 nodes at {busy['rate']:.0f}/s: CPU per request, mesh apart",
               1e6 * busy["request_s"], "us"),
        Figure(f"4 nodes at {busy['rate']:.0f}/s: all that meshing costs, per node",
               100 * meshing(busy, busy_alone), "% core")]
