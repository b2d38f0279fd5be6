"""What a working node says at /metrics is what Prometheus reads, by Prometheus' own checker."""

import subprocess
import urllib.request

from cluster import chat_body, post, wait_until


def metrics_of(node):
    with urllib.request.urlopen(f"http://{node.http}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return answer.read().decode()


def test_prometheus_reads_every_metric_of_a_node(make_cluster):
    cluster = make_cluster().start(nodes=3, engines=2)
    for number in range(5):
        status, _, text = post(cluster.nodes[0].http, "/v1/chat/completions",
                               chat_body(f"question {number}"))
        assert status == 200, text
    for node in cluster.nodes:
        # The mesh half is read on the mesh's thread, so the first answer may still lack it.
        wait_until(lambda n=node: "dualmesh_mesh_ready" in metrics_of(n), 10.0,
                   f"{node.name} shows the metrics of its mesh half")
        text = metrics_of(node)
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True,
                                 capture_output=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr
        families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")]
        assert len(families) == len(set(families)) > 50
        for needed in ("dualmesh_requests_total", "dualmesh_mesh_ack_seconds",
                       "dualmesh_mesh_sent_bytes_total", "dualmesh_mesh_refusals_total",
                       "dualmesh_time_to_first_token_seconds"):
            assert needed in families, needed
    assert 'dualmesh_requests_total{outcome="finished"} 5' in metrics_of(cluster.nodes[0])
