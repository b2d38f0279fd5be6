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


def test_a_policy_with_parameters_and_an_order_reaches_every_node_and_routes(make_cluster):
    cluster = make_cluster().start(nodes=3, engines=2)
    spec = "dualmesh:price=3@vtc:output=3"
    r1, r2, r3 = cluster.nodes
    replay = cluster.start_replay(cluster.nodes, requests=120, qps=20)
    assert cluster.ctl(r2, "policy", "set", spec).returncode == 0
    for node in cluster.nodes:
        wait_until(lambda n=node: {p["policy"] for p in cluster.ask(n, "policy")["per_node"]} ==
                   {spec}, 5.0, f"{node.name} sees it on every node")
    total = cluster.ask(r3, "status")["requests_total"]
    wait_until(lambda: cluster.ask(r3, "status")["requests_total"] >= total + 3, 20.0,
               "r3 has routed some more")
    assert {d["policy"] for d in cluster.ask(r3, "decisions", "--last", "3")} == {"dualmesh"}
    results = replay.finish()
    assert results["failed"] == 0 and results["rejected"] == 0, results["reasons"]
    cluster.wait_converged()
    cluster.wait_idle()

    for bad, allowed in [("dualmash", "allowed: aibrix_prefix_cache"),
                         ("dualmesh:cost=3", "decode_tokens"),
                         ("dualmesh:price=-1", "price"),
                         ("dualmesh@vct", "allowed: dlpm"),
                         ("dualmesh:price=" + "0" * 100_000 + "1", "allowed are")]:
        refused = cluster.ctl(r1, "policy", "set", bad)
        assert refused.returncode != 0 and allowed in refused.stderr, refused.stderr
        assert cluster.ask(r1, "policy")["policy"] == spec
