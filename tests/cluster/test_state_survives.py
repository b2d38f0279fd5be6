"""Registry and mesh-wide settings outlive a restart of every node."""

import time

import pytest
from cluster import wait_until


@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_a_restart_of_the_whole_mesh_keeps_what_admins_set(make_cluster, end):
    cluster = make_cluster()
    cluster.start(nodes=3, engines=3,
                  flags_of=lambda name: ["--node.state_dir", cluster.state_dir(name)])
    extra = cluster.new_engine()
    r1, r2, r3 = cluster.nodes
    for node, arguments in ((r1, ["instance", "add", extra.name, extra.address]),
                            (r2, ["instance", "remove", "e1"]),
                            (r3, ["instance", "drain", "e2"]),
                            (r1, ["policy", "set", "round_robin"])):
        done = cluster.ctl(node, *arguments)
        assert done.returncode == 0, done.stderr
    cluster.wait_converged()
    if end == "killed":
        time.sleep(1.5)  # the state is written soon after a change, not in the middle of a request
    for node in cluster.nodes:
        if end == "killed":
            node.process.kill()
        else:
            node.process.stop()

    for node in cluster.nodes:
        node.start()
    for node in cluster.nodes:
        node.wait_ready()
    cluster.wait_converged()
    for node in cluster.nodes:
        wait_until(lambda n=node: cluster.ask(n, "policy")["policy"] == "round_robin", 2.0,
                   f"{node.name} has the policy")
        lifecycles = {name: i["lifecycle"] for name, i in cluster.instances(node).items()}
        # The configuration still lists e1; an admin's removal outranks it.
        assert lifecycles.get("e1", "removed") == "removed"
        assert lifecycles["e2"] == "draining"
        assert lifecycles["e3"] == "active"
        assert lifecycles[extra.name] == "active"
