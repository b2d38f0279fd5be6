"""How fast the mesh spreads news: nodes as separate processes on loopback, each with about 50 load
changes a second of its own from real requests."""

import json
import random
import subprocess
import threading

from figures import Figure, percentile, trials
from load_mesh import nice, programs
from mesh import LocalMesh, instance_flags, seed_flags, time_flags
from steady_load import CHANGES_PER_REQUEST, start_replay

ENGINES = 8
SPEED = 8.0
CHANGES_PER_S = 50  # of each node's load


class BackgroundLoad:
    """Requests to each node, at random times of its own, for as long as the block runs."""

    def __init__(self, mesh, seconds):
        per_s = CHANGES_PER_S / CHANGES_PER_REQUEST
        self._replays = [
            start_replay(mesh, [node], int(per_s * seconds), per_s, SPEED,
                         mesh.directory / f"background-{node.name}.json", random.Random(number))
            for number, node in enumerate(mesh.nodes)]

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for replay in self._replays:
            replay.stop()

    def require_alive(self):
        for replay in self._replays:
            replay.require_alive()


def start(mesh, nodes):
    hosts = [f"127.0.41.{index}" for index in range(1, nodes + 1)]
    for index in range(ENGINES):
        mesh.add_engine(f"engine-{index + 1}", f"127.0.42.{index + 1}", speed=SPEED)
    for engine in mesh.engines:
        engine.wait_ready()
    for index, host in enumerate(hosts):
        node = mesh.plan_node(f"node-{index + 1}", host,
                              seed_flags(hosts) + instance_flags(mesh.engines) + time_flags(SPEED))
        node.wrap = nice
        node.start()
    for node in mesh.nodes:
        node.wait_ready(30)


def probe(mesh, *arguments):
    done = subprocess.run(
        nice([str(part) for part in (mesh.program("bench_mesh_probe"), *arguments)]),
        capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout)


def measured(command, trials, seconds, extra=lambda mesh: (), nodes=8):
    with LocalMesh(programs()) as mesh:
        start(mesh, nodes)
        addresses = ",".join(node.mesh_address for node in mesh.nodes)
        with BackgroundLoad(mesh, seconds) as load:
            threading.Event().wait(3)  # until the load runs evenly
            result = probe(mesh, command, "--nodes", addresses, "--trials", trials,
                           *extra(mesh))
            load.require_alive()
    return result


def propagation():
    figures, count = [], trials(400, quick=100)
    for nodes, p50, p99 in ((8, 10, 50), (16, None, None)):
        result = measured("propagation", count, 60, nodes=nodes)
        latencies = result["latencies_ms"]
        figures += [
            Figure(f"propagation, {nodes} nodes, p50", percentile(latencies, 0.50), "ms", p50),
            Figure(f"propagation, {nodes} nodes, p99", percentile(latencies, 0.99), "ms", p99),
            Figure(f"propagation, {nodes} nodes, max", percentile(latencies, 1.0), "ms"),
            Figure(f"propagation, {nodes} nodes, changes lost", result["lost"],
                   f"of {count}", 0)]
    return figures


def rings():
    def one_more(mesh):
        engine = mesh.add_engine("joins-and-leaves", f"127.0.42.{ENGINES + 1}", speed=SPEED)
        engine.wait_ready()
        return "--address", engine.address

    count = trials(100, quick=30)
    result = measured("rings", count, 60, one_more)
    latencies = result["latencies_ms"]
    return [Figure("rings agree, 8 nodes, p50", percentile(latencies, 0.50), "ms"),
            Figure("rings agree, 8 nodes, p99", percentile(latencies, 0.99), "ms", 50),
            Figure("rings agree, never", result["lost"], f"of {count}", 0)]
