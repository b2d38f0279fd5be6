"""Seconds until the last of the others has dropped a node that was killed, stands still or is cut off.

Eight nodes with a network namespace each; the victims take turns, and the mesh lives through all
trials. Two such meshes take half of the trials each, side by side. What the nodes know is read from
their metrics over and over, so a figure is too high by a round of that, some 20 ms, never too low.
"""

import http.client
import random
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cluster"))

# pylint: disable=wrong-import-position
from cluster import wait_until  # noqa: E402
from figures import Figure, Skipped, percentile, trials  # noqa: E402
from load_mesh import nice  # noqa: E402
from namespaces import NetworkCluster, why_not  # noqa: E402

NODES = 8
MESHES = 2
LIMIT_S = 20.0


def kill(_, node):
    node.process.kill()
    return node.start


def stop(_, node):
    node.process.signal(signal.SIGSTOP)
    return lambda: node.process.signal(signal.SIGCONT)


def silence(cluster, node):
    cluster.network.silence(cluster.nodes.index(node) + 1)
    return cluster.network.heal


FAULTS = (("kill -9", kill), ("SIGSTOP", stop), ("silent drop", silence))


def known(node):
    """(alive, dead): how many members that node holds to be so; (0, 0) when it does not answer."""
    host, port = node.http.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=2)
    counts = {}
    try:
        connection.request("GET", "/metrics")
        for line in connection.getresponse().read().decode().splitlines():
            if line.startswith("dualmesh_mesh_members{"):
                counts[line.split('"')[1]] = int(float(line.rsplit(" ", 1)[1]))
    except (OSError, http.client.HTTPException):
        return 0, 0
    finally:
        connection.close()
    return counts.get("alive", 0), counts.get("dead", 0)  # none while it starts


def seconds_until_all(nodes, wanted, what):
    """Until each of them has said so once; a node that has is not asked again."""
    started, waiting = time.monotonic(), list(nodes)

    def all_have():
        waiting[:] = [node for node in waiting if known(node) != wanted]
        return not waiting

    wait_until(all_have, LIMIT_S, what, pause_s=0.005)
    return time.monotonic() - started


def trial(cluster, node, fault):
    """(seconds until dead to all others, seconds from the fault's end until alive to all)"""
    started = time.monotonic()
    undo = fault(cluster, node)
    at_once_s = time.monotonic() - started
    others = [other for other in cluster.nodes if other is not node]
    dead_s = at_once_s + seconds_until_all(others, (NODES - 1, 1), f"{node.name} is dead to all")
    undo()
    back_s = seconds_until_all(cluster.nodes, (NODES, 0), f"{node.name} is back")
    return dead_s, back_s


def run_mesh(number, count):
    """{fault: [result of a trial]} of one mesh."""
    dice = random.Random(number)
    with NetworkCluster() as cluster:
        cluster.keep_logs = False
        enter = cluster.network.enter
        cluster.network.enter = lambda host, argv: nice(enter(host, argv))
        cluster.start(nodes=NODES, engines=1)
        found = {}
        for name, fault in FAULTS:
            found[name] = []
            for turn in range(count):
                time.sleep(dice.random())  # at any point of the rhythm of pings
                found[name].append(trial(cluster, cluster.nodes[turn % NODES], fault))
        return found


def detection():
    reason = why_not()
    if reason is not None:
        raise Skipped(reason)
    count = trials(20, quick=4)
    with ThreadPoolExecutor(MESHES) as pool:
        meshes = list(pool.map(lambda number: run_mesh(number, count // MESHES), range(MESHES)))
    figures = []
    for name, _ in FAULTS:
        dead, back = zip(*(result for mesh in meshes for result in mesh[name]))
        figures += [
            Figure(f"{name}: dead to the last, worst of {count}", max(dead), "s", 4),
            Figure(f"{name}: dead to the last, p50", percentile(dead, 0.5), "s"),
            Figure(f"{name}: fault over, alive to all, worst", max(back), "s")]
    return figures
