"""A node that joins when another holds a million placements: how long until it holds them too."""

import time

from figures import Figure, trials
from load_mesh import LoadMesh, nice

ROWS = trials(1_000_000, quick=100_000)
PER_S = 200_000
ROW_BYTES = 24  # of a placement on the wire


def snapshot():
    with LoadMesh(["127.0.48.1"], lambda _, argv: nice(argv)) as mesh:
        mesh.tell(f"place {PER_S} {ROWS}")
        while mesh.stats()[0]["placements"] < ROWS:
            time.sleep(0.1)
        mesh.tell("mark")
        began = time.monotonic()
        mesh.join("127.0.48.2")
        mesh.wait_converged()
        took_s = time.monotonic() - began
        served = mesh.stats()[0]
        peers = [peer for node in mesh.ask(0, "lag")["nodes"] for peer in node["peers"]]
        sent = sum(peer["bytes_sent"] for peer in peers)
        alive = mesh.alive_everywhere()
    return [
        Figure("snapshot: rows", ROWS, ""),
        Figure("snapshot: from the start of the process", took_s, "s"),
        Figure("snapshot: bytes, of those of the rows", sent / (ROWS * ROW_BYTES), "", 1.05),
        Figure("snapshot: CPU of the serving mesh", served["mesh_cpu_s"], "s"),
        Figure("snapshot: refused deltas", sum(peer["refused_deltas"] for peer in peers), "", 0),
        Figure("snapshot: nodes that seemed dead", 0 if alive else 1, "", 0)]
