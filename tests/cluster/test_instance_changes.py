"""Instances join and leave while a workload runs."""

import time

from cluster import wait_until

WINDOW_REQUESTS = 5


def hit_ratio_recovery_s(series, change_s):
    """Model seconds from the change until a window's hit ratio is back at the mean before it."""
    before = [w["hit_ratio"] for w in series
              if w["t_s"] < change_s and w["requests"] >= WINDOW_REQUESTS and w["hit_ratio"]]
    wanted = 0.95 * sum(before[-4:]) / max(1, len(before[-4:]))
    for window in series:
        if window["t_s"] >= change_s and (window["hit_ratio"] or 0) >= wanted:
            return window["t_s"] - change_s
    return None


def test_add_and_drain_during_a_replay_fail_nothing(make_cluster):
    cluster = make_cluster().start(nodes=3, engines=4)
    r1, r2, r3 = cluster.nodes
    extra = cluster.new_engine()
    replay = cluster.start_replay(cluster.nodes, requests=600, qps=6)
    started_at = time.monotonic()
    time.sleep(3.0)

    added_s = (time.monotonic() - started_at) * cluster.speed
    assert cluster.ctl(r1, "instance", "add", extra.name, extra.address).returncode == 0
    wait_until(lambda: all(extra.name in ring for node in cluster.nodes
                           for ring in ring_members(cluster, node)), 5.0,
               "the new instance is on the rings of every node")
    wait_until(lambda: cluster.instances(r3)[extra.name]["completed"] > 0 or
               cluster.instances(r2)[extra.name]["completed"] > 0, 10.0, "it gets requests")

    drained_s = (time.monotonic() - started_at) * cluster.speed
    assert cluster.ctl(r2, "instance", "drain", "e1").returncode == 0
    wait_until(lambda: not any("e1" in ring for node in cluster.nodes
                               for ring in ring_members(cluster, node)), 5.0,
               "the draining instance is off the rings of every node")
    cluster.wait_converged(node=r3)

    results = replay.finish()
    print(f"hit ratio recovered after {hit_ratio_recovery_s(results['time_series'], added_s)} "
          f"model s (add), {hit_ratio_recovery_s(results['time_series'], drained_s)} (drain)")
    assert results["failed"] == 0 and results["rejected"] == 0, results["reasons"]
    cluster.wait_idle()
    assert cluster.ctl(r3, "instance", "resume", "e1").returncode == 0
    wait_until(lambda: cluster.instances(r1)["e1"]["lifecycle"] == "active", 2.0, "e1 is back")


def ring_members(cluster, node):
    return [model["members"] for model in cluster.ask(node, "rings")["models"]]


def test_changes_that_make_no_sense_are_refused_with_a_reason(make_cluster):
    cluster = make_cluster().start(nodes=1, engines=1, flags_of=lambda _: ["--mesh.alone", "true"])
    node = cluster.nodes[0]
    for arguments in (["instance", "drain", "nobody"], ["instance", "add", "x", "no-port"],
                      ["policy", "set", "fastest"]):
        done = cluster.ctl(node, *arguments)
        assert done.returncode == 2, arguments
        assert done.stderr.startswith("dualmeshctl: cannot "), done.stderr
    assert set(cluster.instances(node)) == {"e1"}
