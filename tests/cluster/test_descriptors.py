"""A node that has no descriptor left goes on with what it has, and is whole when they are back."""

import os
import resource
import socket

from checks import DETECTED_WITHIN_S, finish_clean, rejoin, serve, statuses
from cluster import HTTP_PORT, wait_until

SPARE = 16


def descriptors(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def test_a_node_without_descriptors_serves_again_when_they_are_back(make_cluster):
    cluster = make_cluster().start(nodes=3, engines=4)
    r1, r2, r3 = cluster.nodes
    serve(cluster.nodes, 9, "before")
    cluster.wait_idle()
    before = descriptors(r1.process)
    limits = resource.prlimit(r1.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(r1.process.pid, resource.RLIMIT_NOFILE, (before + SPARE, limits[1]))
    clients = []
    for _ in range(10 * SPARE):
        client = socket.socket()
        client.settimeout(5.0)
        client.connect((r1.host, HTTP_PORT))
        clients.append(client)
    wait_until(lambda: descriptors(r1.process) >= before + SPARE, 5.0, "r1 has none left")

    # A node restarts meanwhile: r1 can neither dial nor accept it.
    r3.process.kill()
    replay = cluster.start_replay([r2], requests=60, qps=2)
    wait_until(lambda: statuses(cluster, r2)["r3"] == "dead", DETECTED_WITHIN_S, "r3 is dead")
    r3.start()
    r3.wait_ready()
    assert statuses(cluster, r2)["r1"] == "alive"
    finish_clean(replay)

    for client in clients:
        client.close()
    rejoin(cluster)
    serve([r1], 20, "after")
    assert descriptors(r1.process) <= before + SPARE
    resource.prlimit(r1.process.pid, resource.RLIMIT_NOFILE, limits)
    cluster.wait_idle()
    wait_until(lambda: cluster.ask(r1, "status")["open_connections"] == 0, 5.0,
               "r1 counts no connection")
