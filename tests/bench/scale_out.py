"""The same requests per second and node on 1 to 16 nodes: what does a request cost, what the mesh?

This machine may have fewer cores than the mesh has nodes, so throughput is derived from CPU time:
a core that gives the share m to the mesh and c seconds to each request serves (1 - m) / c requests a
second. N nodes are worth N * ((1 - m_N) / c_N) / ((1 - m_1) / c_1) single ones.
"""

import os
import time
from pathlib import Path

from figures import Figure
from load_mesh import nice, programs
from mesh import LocalMesh, instance_flags, seed_flags, time_flags

SIZES = (1, 2, 4, 8, 16)
ENGINES = 4
SPEED = 50.0
REQUESTS_PER_S = float(os.environ.get("DUALMESH_BENCH_NODE_QPS", "25"))  # and node
SETTLE_S = 4.0
SECONDS = 15.0


def cpu_seconds(process):
    """(of the mesh thread, of all others)"""
    mesh = others = 0.0
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        seconds = int((task / "schedstat").read_text().split()[0]) / 1e9
        if (task / "comm").read_text().strip() == "mesh":
            mesh += seconds
        else:
            others += seconds
    return mesh, others


def snapshot(mesh):
    """(CPU of mesh threads, CPU of the rest, requests) over all nodes."""
    cpu = [cpu_seconds(node.process) for node in mesh.nodes]
    requests = sum(mesh.ask(node, "status")["requests_total"] for node in mesh.nodes)
    return sum(c[0] for c in cpu), sum(c[1] for c in cpu), requests, time.monotonic()


def start(mesh, count):
    for index in range(ENGINES):
        mesh.add_engine(f"engine-{index + 1}", f"127.0.48.{index + 1}", speed=SPEED)
    for engine in mesh.engines:
        engine.wait_ready()
    hosts = [f"127.0.47.{index}" for index in range(1, count + 1)]
    flags = [*seed_flags(hosts), *instance_flags(mesh.engines), *time_flags(SPEED),
             "--node.io_threads", "1"]
    for index, host in enumerate(hosts):
        node = mesh.plan_node(f"node-{index + 1}", host,
                              flags + (["--mesh.alone", "true"] if count == 1 else []))
        node.wrap = nice
        node.start()
    for node in mesh.nodes:
        node.wait_ready(30)


def measure(count):
    """(CPU seconds per request, share of a core for the mesh per node, requests/s and node)"""
    with LocalMesh(programs()) as mesh:
        start(mesh, count)
        qps = REQUESTS_PER_S * count
        replay = mesh.spawn("replay", [
            mesh.program("dualmesh-replay"), "live", "--target",
            ",".join(node.http for node in mesh.nodes), "--generate", "multi-turn", "--requests",
            int(qps * (SETTLE_S + SECONDS + 5)), "--qps", f"{qps / SPEED:g}", "--speed",
            f"{SPEED:g}", "--model", "sim", "--json", mesh.directory / "replay.json"])
        time.sleep(SETTLE_S)
        mesh_0, others_0, requests_0, at_0 = snapshot(mesh)
        time.sleep(SECONDS)
        replay.require_alive()
        mesh_1, others_1, requests_1, at_1 = snapshot(mesh)
    requests, seconds = requests_1 - requests_0, at_1 - at_0
    return ((others_1 - others_0) / requests, (mesh_1 - mesh_0) / seconds / count,
            requests / seconds / count)


def scale_out():
    figures, single = [], None
    for count in SIZES:
        per_request, mesh_share, rate = measure(count)
        worth = (1 - mesh_share) / per_request
        single = single or worth
        figures += [
            Figure(f"{count} nodes: requests per second and node", rate, "1/s"),
            Figure(f"{count} nodes: CPU per request", 1e6 * per_request, "us"),
            Figure(f"{count} nodes: mesh, share of a core per node", 100 * mesh_share, "%"),
            Figure(f"{count} nodes: worth, from CPU time", count * worth / single, "nodes",
                   0.9 * count, at_most=False,
                   note="N ((1 - m_N) / c_N) / ((1 - m_1) / c_1)")]
    return figures
