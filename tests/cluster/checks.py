"""What tests of faults ask of a cluster again and again."""

import time

from cluster import chat_body, post, wait_until

DETECTED_WITHIN_S = 4.0
REJOINED_WITHIN_S = 10.0


def statuses(cluster, node):
    """{node name: alive, suspect, dead or left} as one node sees it."""
    return {name: member["status"] for name, member in cluster.members(node).items()}


def all_alive(cluster):
    return all(set(statuses(cluster, node).values()) == {"alive"} for node in cluster.nodes)


def rejoin(cluster):
    """Without an operator: everybody alive to everybody, and the same state everywhere."""
    wait_until(lambda: all_alive(cluster), REJOINED_WITHIN_S, "everybody sees everybody alive")
    for node in cluster.nodes:
        cluster.wait_converged(node=node)


def seen_dead(cluster, observers, victims):
    wanted = {node.name for node in victims}
    return all({name for name, status in statuses(cluster, node).items() if status == "dead"} ==
               wanted for node in observers)


def wait_dead(cluster, observers, victims, since):
    """The observers see exactly the victims dead, within the promised time since the fault."""
    left_s = since + DETECTED_WITHIN_S - time.monotonic()
    wait_until(lambda: seen_dead(cluster, observers, victims), left_s,
               f"{[node.name for node in victims]} are dead to {[node.name for node in observers]}")
    print(f"dead after {time.monotonic() - since:.2f} s")


def metric(cluster, node, name):
    """A metric without labels."""
    for line in cluster.ctl(node, "metrics").stdout.splitlines():
        if line.startswith(name + " "):
            return float(line.rsplit(" ", 1)[1])
    raise AssertionError(f"{node.name} has no metric {name}")


def deaths(cluster):
    """How often each node has declared another dead."""
    return [metric(cluster, node, "dualmesh_mesh_deaths_total") for node in cluster.nodes]


def succeed(cluster, node, *arguments):
    done = cluster.ctl(node, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def finish_clean(replay):
    results = replay.finish()
    assert results["failed"] == 0 and results["rejected"] == 0, results["reasons"]
    assert results["completed"] == results["planned"]


def serve(nodes, count, tag):
    """Requests with prompts of their own, to the nodes in turn; which instances answered."""
    used = set()
    for number in range(count):
        status, headers, text = post(nodes[number % len(nodes)].http, "/v1/chat/completions",
                                     chat_body(f"{tag} {number} " + "word " * 40), timeout_s=10)
        assert status == 200, text
        used.add({name.lower(): value for name, value in headers.items()}["x-dualmesh-instance"])
    return used
