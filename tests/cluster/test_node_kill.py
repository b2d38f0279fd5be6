"""A node is killed while a workload runs, its address still in DNS."""

import http.client
import json
import time

from cluster import chat_body, wait_until
from sdk import finish_client, run_client, start_client

DETECTED_WITHIN_S = 4.0
READY_WITHIN_S = 5.0


def open_streams(node, count):
    """Long answers under way at one node; keep what is returned, or they end."""
    connections = []
    for number in range(count):
        connection = http.client.HTTPConnection(*node.http.rsplit(":", 1), timeout=60)
        body = json.dumps(chat_body(f"long {number}", stream=True, max_tokens=100_000))
        connection.request("POST", "/v1/chat/completions", body,
                           {"Content-Type": "application/json"})
        assert connection.getresponse().status == 200
        connections.append(connection)
    return connections


def others_load(cluster, node):
    return sum(instance["others"]["decoding_requests"]
               for instance in cluster.instances(node).values())


def test_a_killed_node_is_noticed_and_comes_back(make_cluster):
    cluster = make_cluster().start(nodes=3, engines=4)
    cluster.start_dns()
    r1, r2, r3 = cluster.nodes
    streams = open_streams(r2, 8)
    wait_until(lambda: others_load(cluster, r1) >= 8, 2.0, "r1 knows the load that r2 has placed")
    replay = cluster.start_replay([r1], requests=300, qps=4)
    time.sleep(1.0)

    killed_at = time.monotonic()
    r2.process.kill()
    client = start_client(cluster, "spread", "60", name="client-during")

    def gone():
        return all(cluster.members(node)["r2"]["status"] == "dead" for node in (r1, r3))

    wait_until(gone, DETECTED_WITHIN_S, "r1 and r3 show r2 dead")
    seconds_dead = time.monotonic() - killed_at
    # The others of r1 are now r3 alone, which has at most the client's one short request.
    wait_until(lambda: others_load(cluster, r1) < 8, DETECTED_WITHIN_S - seconds_dead,
               "the load of r2 has left the sum")
    print(f"dead after {seconds_dead:.2f} s, load gone after {time.monotonic() - killed_at:.2f} s")

    served = finish_client(client)
    print(f"requests per node with r2 dead but still in DNS: {served['nodes']}")
    assert served["errors"] == []
    assert set(served["nodes"]) == {"r1", "r3"}

    restarted_at = time.monotonic()
    r2.start()
    r2.wait_ready(READY_WITHIN_S)
    print(f"ready {time.monotonic() - restarted_at:.2f} s after the restart")
    cluster.wait_converged()
    cluster.wait_converged(node=r2)

    results = replay.finish()
    assert results["failed"] == 0 and results["rejected"] == 0, results["reasons"]
    assert results["completed"] == results["planned"] > 250
    assert "r2" in run_client(cluster, "spread", "30", name="client-after")["nodes"]
    for stream in streams:
        stream.close()
    cluster.wait_idle()


def test_a_node_that_is_told_to_stop_finishes_what_it_has(make_cluster):
    cluster = make_cluster().start(nodes=3, engines=4)
    r1, r2, _ = cluster.nodes
    replay = cluster.start_replay([r2], requests=60, qps=20)
    wait_until(lambda: cluster.ask(r2, "status")["requests_total"] >= 20, 20.0, "r2 is at work")
    assert cluster.ctl(r2, "drain").returncode == 0
    results = replay.finish()
    # What arrived after the listener closed had nowhere to go; what had begun was finished.
    assert set(results["reasons"]) <= {"connect"}, results["reasons"]
    wait_until(lambda: not r2.process.alive(), 35.0, "r2 has ended")
    assert r2.process.exit_status() == 0
    assert cluster.members(r1)["r2"]["status"] == "left"
