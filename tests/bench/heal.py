"""Eight nodes in two halves that cannot reach each other for a minute, 10,000 changes on each side;
then the wires are whole again.

What differed is what must travel at least: each half's changed rows at their size on the wire, once
for each node of the other half. What was sent is counted twice: by the nodes themselves (pushes of
state, to anybody), and by the network between the halves (all of it, with the headers of IP and TCP),
from the heal until a second after everything was equal. Both must keep the target.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cluster"))

# pylint: disable=wrong-import-position
from figures import Figure, Skipped, trials  # noqa: E402
from load_mesh import LoadMesh, nice  # noqa: E402
from namespaces import Network, why_not  # noqa: E402

NODES = 8
CHANGES = 10_000  # on each side
PARTED_S = trials(60.0, quick=15.0)
PLACEMENT_BYTES = 24  # instance, block, version: net/mesh.capnp
LOAD_ROW_BYTES = 64


def differed_bytes(stats):
    """What each half lacked of the other, once for each node that lacked it."""
    receivers = NODES // 2
    return sum(receivers * (PLACEMENT_BYTES * node["placements"] +
                            LOAD_ROW_BYTES * node["loads_touched"]) for node in stats)


def sent_on_both_sides(mesh):
    return sum(peer["bytes_sent"] for index in (0, NODES // 2)
               for node in mesh.ask(index, "lag")["nodes"] for peer in node["peers"])


def converged(mesh):
    lag = mesh.ask(0, "lag")
    return lag["converged"] and len(lag["nodes"]) == NODES


def part_and_heal(mesh, network):
    half = NODES // 2
    sides = range(1, half + 1), range(half + 1, NODES + 1)
    network.count(*sides)
    network.count(*reversed(sides))
    mesh.tell("mark")
    network.part(*sides)
    parted_at = time.monotonic()
    each = CHANGES // half
    mesh.tell(f"place {each / (0.8 * PARTED_S)} {each}")
    time.sleep(PARTED_S - 2.0)
    stats = mesh.stats()
    bytes_before = sent_on_both_sides(mesh)
    time.sleep(max(0.0, parted_at + PARTED_S - time.monotonic()))
    counted_before = network.counted_bytes()
    healed_at = time.monotonic()
    network.heal()
    while not converged(mesh):
        if time.monotonic() > healed_at + 30:
            raise RuntimeError("not converged 30 s after the heal")
    seconds = time.monotonic() - healed_at
    time.sleep(1.0)
    crossed = network.counted_bytes() - counted_before
    return stats, seconds, mesh.bytes_sent() - bytes_before, crossed


def heal():
    reason = why_not()
    if reason is not None:
        raise Skipped(reason)
    network = Network()
    try:
        for number in range(1, NODES + 1):
            network.add_host(number)
        hosts = [f"{network.subnet}.{number}" for number in range(1, NODES + 1)]
        with LoadMesh(hosts, lambda index, argv: nice(network.enter(index + 1, argv)),
                      ["--insecure"]) as mesh:
            stats, seconds, sent, crossed = part_and_heal(mesh, network)
    finally:
        network.close()
    differed = differed_bytes(stats)
    changes = sum(node["changes"] for node in stats) / 2
    return [Figure("heal: changes on each side while parted", changes, "", CHANGES, at_most=False),
            Figure("heal: all digests equal after", seconds, "s", 1.0),
            Figure("heal: what differed, for all who lacked it", differed / 1_000, "kB"),
            Figure("heal: pushed, as the nodes count", sent / 1_000, "kB"),
            Figure("heal: pushed / what differed", sent / differed, "ratio", 2.0),
            Figure("heal: on the wire between the halves", crossed / 1_000, "kB"),
            Figure("heal: on the wire / what differed", crossed / differed, "ratio", 2.0)]
