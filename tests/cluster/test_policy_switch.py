"""The policy is switched for the whole mesh while a workload runs."""

from cluster import wait_until


def test_policy_set_reaches_every_node(make_cluster):
    cluster = make_cluster().start(nodes=3, engines=3)
    r1, _, r3 = cluster.nodes
    replay = cluster.start_replay(cluster.nodes, requests=300, qps=6)
    assert cluster.ctl(r3, "policy", "set", "round_robin").returncode == 0
    for node in cluster.nodes:
        wait_until(lambda n=node: cluster.ask(n, "policy")["policy"] == "round_robin", 2.0,
                   f"{node.name} has the new policy")
    wait_until(lambda: {p["policy"] for p in cluster.ask(r1, "policy")["per_node"]} ==
               {"round_robin"}, 3.0, "r1 sees it on every node")
    total = cluster.ask(r1, "status")["requests_total"]
    wait_until(lambda: cluster.ask(r1, "status")["requests_total"] >= total + 3, 20.0,
               "r1 has routed some more")
    newest = cluster.ask(r1, "decisions", "--last", "3")
    assert {decision["policy"] for decision in newest} == {"round_robin"}

    assert cluster.ctl(r1, "policy", "set", "dualmap").returncode == 0
    cluster.wait_converged()
    assert {cluster.ask(node, "policy")["policy"] for node in cluster.nodes} == {"dualmap"}
    results = replay.finish()
    assert results["failed"] == 0 and results["rejected"] == 0, results["reasons"]
    cluster.wait_idle()
