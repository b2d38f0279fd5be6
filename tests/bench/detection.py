"""Seconds until the last of the others has dropped a node that was killed, stands still or is cut off."""

import os
import random
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cluster"))

# pylint: disable=wrong-import-position
from checks import all_alive, seen_dead  # noqa: E402
from cluster import wait_until  # noqa: E402
from figures import Figure, percentile  # noqa: E402
from load_mesh import nice  # noqa: E402
from namespaces import NetworkCluster, why_not  # noqa: E402

NODES = 5
TRIALS = int(os.environ.get("DUALMESH_BENCH_DETECTIONS", "20"))


def kill(cluster, node):
    node.process.kill()

    def undo():
        node.start()
        node.wait_ready()
    return undo


def stop(cluster, node):
    node.process.signal(signal.SIGSTOP)
    return lambda: node.process.signal(signal.SIGCONT)


def silence(cluster, node):
    cluster.network.silence(cluster.nodes.index(node) + 1)
    return cluster.network.heal


def trial(cluster, node, fault):
    """(seconds until dead to all others, seconds from the fault's end until alive to all)"""
    others = [other for other in cluster.nodes if other is not node]
    started = time.monotonic()
    undo = fault(cluster, node)
    wait_until(lambda: seen_dead(cluster, others, [node]), 20.0, f"{node.name} is dead to all",
               pause_s=0.0)
    dead_s = time.monotonic() - started
    ended = time.monotonic()
    undo()
    wait_until(lambda: all_alive(cluster), 20.0, f"{node.name} is back", pause_s=0.0)
    return dead_s, time.monotonic() - ended


def detection():
    reason = why_not()
    if reason is not None:
        raise RuntimeError(reason)
    figures = []
    with NetworkCluster() as cluster:
        cluster.keep_logs = False
        enter = cluster.network.enter
        cluster.network.enter = lambda number, argv: nice(enter(number, argv))
        cluster.start(nodes=NODES, engines=1)
        for name, fault in (("kill -9", kill), ("SIGSTOP", stop), ("silent drop", silence)):
            found = []
            for number in range(TRIALS):
                time.sleep(random.random())  # at any point of the rhythm of pings
                found.append(trial(cluster, cluster.nodes[number % NODES], fault))
            dead, back = zip(*found)
            figures += [
                Figure(f"{name}: dead to the last, worst of {TRIALS}", max(dead), "s", 4),
                Figure(f"{name}: dead to the last, p50", percentile(dead, 0.5), "s"),
                Figure(f"{name}: fault over, alive to all, worst", max(back), "s")]
    return figures
