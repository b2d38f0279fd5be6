"""What a fault costs: seconds until the others know, until service is whole again, and what failed.

Every trial has processes of its own; a figure is the worst of its trials."""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cluster"))

# pylint: disable=wrong-import-position
from cluster import Cluster, wait_until  # noqa: E402
from figures import Figure  # noqa: E402
from test_instance_changes import hit_ratio_recovery_s, ring_members  # noqa: E402

TRIALS = int(os.environ.get("DUALMESH_BENCH_TRIALS", "5"))


def seconds_until(condition, limit_s, what):
    started = time.monotonic()
    wait_until(condition, limit_s, what, pause_s=0.01)
    return time.monotonic() - started


def lost(results):
    return results["failed"] + results["rejected"]


def trials(body):
    """Runs `body(cluster)` on fresh clusters; the dictionaries it returns, worst value of each."""
    worst = {}
    for _ in range(TRIALS):
        with Cluster() as cluster:
            cluster.keep_logs = False
            for name, value in body(cluster.start(nodes=3, engines=4)).items():
                worst[name] = max(worst.get(name, value), value)
    return worst


def node_kill():
    def body(cluster):
        r1, r2, r3 = cluster.nodes
        replay = cluster.start_replay([r1, r3], requests=300, qps=5)
        time.sleep(1.0)
        r2.process.kill()
        dead = seconds_until(lambda: all(cluster.members(node)["r2"]["status"] == "dead"
                                         for node in (r1, r3)), 20, "r2 is known to be dead")
        r2.start()
        ready = seconds_until(r2.ready, 20, "r2 is ready again")
        cluster.wait_converged()
        return {"dead": dead, "ready": ready, "lost": lost(replay.finish())}

    worst = trials(body)
    return [Figure("node killed: known dead, worst", worst["dead"], "s", 4),
            Figure("node killed: restarted and ready, worst", worst["ready"], "s", 5),
            Figure("node killed: requests lost at the others", worst["lost"], "requests", 0)]


def instance_kill():
    def body(cluster):
        engine = cluster.engines[0]
        replay = cluster.start_replay(cluster.nodes, requests=300, qps=5)
        time.sleep(1.0)
        streaming = sum(cluster.instances(node)[engine.name]["own"]["decoding_requests"] +
                        cluster.instances(node)[engine.name]["own"]["prefilling_requests"]
                        for node in cluster.nodes)
        engine.process.kill()

        def healthy(wanted):
            return lambda: all(cluster.instances(node)[engine.name]["healthy"] == wanted
                               for node in cluster.nodes)

        out = seconds_until(healthy(False), 20, "the instance is out of the candidates")
        engine.start()
        engine.wait_ready()
        back = seconds_until(healthy(True), 20, "the instance is back")
        return {"out": out, "back": back, "beyond": lost(replay.finish()) - streaming}

    worst = trials(body)
    return [Figure("instance killed: out of the candidates, worst", worst["out"], "s", 3),
            Figure("instance back: candidate again, worst", worst["back"], "s"),
            Figure("instance killed: lost beyond those streaming", worst["beyond"], "requests", 0)]


def instance_changes():
    def body(cluster):
        r1, r2, _ = cluster.nodes
        extra = cluster.new_engine()
        replay = cluster.start_replay(cluster.nodes, requests=900, qps=6)
        started = time.monotonic()
        time.sleep(4.0)
        added_s = (time.monotonic() - started) * cluster.speed
        cluster.ctl(r1, "instance", "add", extra.name, extra.address)
        wait_until(lambda: all(extra.name in ring for node in cluster.nodes
                               for ring in ring_members(cluster, node)), 10, "it is on the rings")
        time.sleep(4.0)
        drained_s = (time.monotonic() - started) * cluster.speed
        cluster.ctl(r2, "instance", "drain", "e1")
        results = replay.finish()
        series = results["time_series"]
        recoveries = [hit_ratio_recovery_s(series, changed) for changed in (added_s, drained_s)]
        return {"lost": lost(results),
                "added": float("inf") if recoveries[0] is None else recoveries[0],
                "drained": float("inf") if recoveries[1] is None else recoveries[1]}

    worst = trials(body)
    return [Figure("instance added: hit ratio back after, worst", worst["added"], "model s"),
            Figure("instance drained: hit ratio back after, worst", worst["drained"], "model s"),
            Figure("instance added and drained: requests lost", worst["lost"], "requests", 0)]
