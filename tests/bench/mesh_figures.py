"""How fast the mesh spreads news: nodes as separate processes on loopback, each with about 50 load
changes a second of its own from real requests."""

import json
import subprocess
import threading

from figures import Figure, percentile
from load_mesh import nice, programs
from mesh import LocalMesh, instance_flags, seed_flags, time_flags

ENGINES = 4
SPEED = 50.0
# Each request changes a node's load three times: placed, first token, finished.
REQUESTS_PER_S = 50 / 3  # and node


class BackgroundLoad:
    """Requests to all nodes for as long as the block runs."""

    def __init__(self, mesh, seconds):
        qps = REQUESTS_PER_S * len(mesh.nodes)
        self._process = mesh.spawn("replay", [
            mesh.program("dualmesh-replay"), "live", "--target",
            ",".join(node.http for node in mesh.nodes), "--generate", "multi-turn",
            "--requests", str(int(qps * seconds)), "--qps", str(qps / SPEED),
            "--speed", str(SPEED), "--model", "sim",
            "--json", str(mesh.directory / "background.json")])

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self._process.stop()

    def require_alive(self):
        self._process.require_alive()


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
    figures = []
    for nodes, p50, p99 in ((8, 10, 50), (16, None, None)):
        result = measured("propagation", 400, 60, nodes=nodes)
        latencies = result["latencies_ms"]
        figures += [
            Figure(f"propagation, {nodes} nodes, p50", percentile(latencies, 0.50), "ms", p50),
            Figure(f"propagation, {nodes} nodes, p99", percentile(latencies, 0.99), "ms", p99),
            Figure(f"propagation, {nodes} nodes, max", percentile(latencies, 1.0), "ms"),
            Figure(f"propagation, {nodes} nodes, changes lost", result["lost"], "of 400", 0)]
    return figures


def rings():
    def one_more(mesh):
        engine = mesh.add_engine("joins-and-leaves", f"127.0.42.{ENGINES + 1}", speed=SPEED)
        engine.wait_ready()
        return "--address", engine.address

    result = measured("rings", 100, 60, one_more)
    latencies = result["latencies_ms"]
    return [Figure("rings agree, 8 nodes, p50", percentile(latencies, 0.50), "ms"),
            Figure("rings agree, 8 nodes, p99", percentile(latencies, 0.99), "ms", 50),
            Figure("rings agree, never", result["lost"], "of 100", 0)]
