"""An instance is killed while a workload runs."""

import signal
import time

from cluster import wait_until

OUT_WITHIN_S = 3.0


def streaming_from(cluster, name):
    return sum(cluster.instances(node)[name]["own"]["decoding_requests"] for node in cluster.nodes)


def test_only_what_was_streaming_fails(make_cluster):
    cluster = make_cluster().start(nodes=3, engines=4)
    victim = cluster.engines[1]
    replay = cluster.start_replay(cluster.nodes, requests=500, qps=7)
    wait_until(lambda: streaming_from(cluster, victim.name) > 0, 20.0, "the victim is streaming")

    victim.process.signal(signal.SIGSTOP)  # so that the count cannot change before the kill
    time.sleep(0.1)
    streaming = streaming_from(cluster, victim.name)
    victim.process.kill()
    killed_at = time.monotonic()

    def out():
        return not any(cluster.instances(node)[victim.name]["healthy"] for node in cluster.nodes)

    wait_until(out, OUT_WITHIN_S, f"{victim.name} is out of the candidates of every node")
    print(f"out after {time.monotonic() - killed_at:.2f} s; {streaming} were streaming")

    time.sleep(1.0)
    victim.start()
    back_at = time.monotonic()
    wait_until(lambda: all(cluster.instances(node)[victim.name]["healthy"]
                           for node in cluster.nodes), 5.0, f"{victim.name} is back")
    print(f"back {time.monotonic() - back_at:.2f} s after its restart")
    done_before = {n.name: cluster.instances(n)[victim.name]["completed"] for n in cluster.nodes}
    wait_until(lambda: any(cluster.instances(n)[victim.name]["completed"] > done_before[n.name]
                           for n in cluster.nodes), 10.0, f"{victim.name} gets requests again")

    results = replay.finish()
    print(f"{results['failed']} of {results['requests']} failed: {results['reasons']}")
    assert results["rejected"] == 0
    assert results["failed"] <= streaming, results["reasons"]
    cluster.wait_idle()
