"""Nodes and instances found through DNS, and what an empty look-up does: nothing."""

import time

from cluster import MESH_PORT, NAME, Cluster, time_flags, wait_until


def start_in_dns(cluster, index, flags):
    """A node that knows nothing but a name."""
    name, host = f"r{index + 1}", cluster.node_host(index)
    node = cluster.plan_node(name, host, ["--mesh.dns", f"{NAME}:{MESH_PORT}",
                                          "--mesh.dns_interval_s", "1",
                                          *time_flags(cluster.speed), *flags])
    node.wrap = cluster.resolver.wrap
    node.start()
    return node


def test_nodes_find_each_other_and_an_empty_answer_removes_nobody(make_cluster):
    cluster: Cluster = make_cluster()
    engines = [cluster.new_engine(), cluster.new_engine()]
    cluster.start_dns([cluster.node_host(i) for i in range(3)])
    flags = [part for engine in engines
             for part in ("--instance", f"name={engine.name},address={engine.address}")]
    for i in range(3):
        start_in_dns(cluster, i, flags)
    cluster.wait_all_ready()
    assert {m["status"] for m in cluster.members(cluster.nodes[0]).values()} == {"alive"}
    assert len(cluster.members(cluster.nodes[2])) == 3

    cluster.name_server.set_records([])
    time.sleep(2.5)
    for node in cluster.nodes:
        assert {m["status"] for m in cluster.members(node).values()} == {"alive"}

    # A fourth node enters DNS while the others run.
    cluster.name_server.set_records([cluster.node_host(i) for i in range(4)])
    start_in_dns(cluster, 3, flags)
    cluster.nodes[3].wait_ready()
    wait_until(lambda: len(cluster.members(cluster.nodes[0])) == 4, 5.0, "r1 knows r4")
    cluster.wait_converged()
