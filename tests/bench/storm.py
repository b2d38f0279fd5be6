"""Load that changes a thousand times a second on each of 8 nodes, all of them processes of their own.

What a node's memory had grown to after a quarter of the time is compared with the end, so that what
fills once is not taken for growth.
"""

import json
import os
import subprocess
import time

from figures import Figure, percentile, trials
from load_mesh import LoadMesh, nice, programs

NODES = 8
CHANGES_PER_S = 1_000
SETTLE_S = 5.0
HOURS = float(os.environ.get("DUALMESH_BENCH_HOURS", "0"))
SECONDS = max(trials(40.0, quick=16.0), 3_600 * HOURS)
TRIALS = trials(300, quick=100)  # of propagation, each about 60 ms


def probe(mesh):
    done = subprocess.run(
        nice([f"{programs()}/bench_mesh_probe", "propagation", "--nodes", ",".join(mesh.addresses),
              "--trials", str(TRIALS)]), capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout)


def storm():
    hosts = [f"127.0.46.{index}" for index in range(1, NODES + 1)]
    with LoadMesh(hosts, lambda _, argv: nice(argv)) as mesh:
        mesh.tell(f"load {CHANGES_PER_S}")
        time.sleep(SETTLE_S)
        bytes_before = mesh.bytes_sent()
        mesh.tell("mark")
        until = time.monotonic() + SECONDS
        time.sleep(SECONDS / 4)
        quarter = mesh.stats()
        spread = probe(mesh)
        time.sleep(max(0.0, until - time.monotonic()))
        after = mesh.stats()
        sent = mesh.bytes_sent() - bytes_before
    changes = sum(node["changes"] for node in after)
    shares = [100 * node["mesh_cpu_s"] / node["seconds"] for node in after]
    growth = [(end["resident_bytes"] - begin["resident_bytes"]) / 2**20
              for begin, end in zip(quarter, after)]
    latencies = spread["latencies_ms"]
    seconds = after[0]["seconds"]
    return [
        Figure("storm: changes per second and node", changes / seconds / NODES, "1/s",
               0.97 * CHANGES_PER_S, at_most=False),
        Figure("storm: propagation p50", percentile(latencies, 0.50), "ms"),
        Figure("storm: propagation p99", percentile(latencies, 0.99), "ms", 50),
        Figure("storm: changes lost", spread["lost"], f"of {TRIALS}", 0),
        Figure("storm: CPU of the mesh, mean of nodes", sum(shares) / NODES, "% core", 6),
        Figure("storm: CPU of the mesh, worst node", max(shares), "% core", 6),
        Figure("storm: bytes per change, to each peer", sent / changes / (NODES - 1), "B"),
        Figure("storm: bytes sent per node", sent / seconds / NODES / 1_000, "kB/s"),
        Figure("storm: memory of a node, most", max(n["resident_bytes"] for n in after) / 2**20,
               "MiB"),
        Figure(f"storm: grown from 1/4 to the end of {seconds:.0f} s, most", max(growth), "MiB", 1.0)]
