"""An instance whose probes are well and whose answers are not: the others carry on without it."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest
from checks import metric, succeed
from cluster import chat_body, post, wait_until
from scripted_instance import ScriptedInstance

FREE_RETRIES_PER_S = 2
WINDOW_S = 10
REQUESTS = 120
# What clients may see of it before it rests: what is not retried is passed on.
MOST_ERRORS = {"503": 0, "reset": 0, "500": 40, "hang": 12}
FLAGS = ["--mesh.alone", "true", "--instances.eject_base_s", "2", "--instances.eject_most_s", "2",
         "--http.upstream_first_byte_timeout_ms", "1000",
         "--routing.free_retries_per_s", FREE_RETRIES_PER_S, "--instances.eject_failures", "3"]


@pytest.fixture(name="instance", params=sorted(MOST_ERRORS))
def instance_fixture(request):
    instance = ScriptedInstance(request.param)
    yield instance
    instance.stop()


def labelled(cluster, node, name, instance):
    for line in cluster.ctl(node, "metrics").stdout.splitlines():
        if line.startswith(name + "{") and f'instance="{instance}"' in line:
            return float(line.rsplit(" ", 1)[1])
    return None


def test_it_rests_and_comes_back(make_cluster, instance):
    mode = instance.mode
    cluster = make_cluster().start(nodes=1, engines=2, flags_of=lambda _: FLAGS)
    node = cluster.nodes[0]
    succeed(cluster, node, "instance", "add", "odd", instance.address)
    wait_until(lambda: cluster.instances(node).get("odd", {}).get("models"), 10.0,
               "the models of the odd instance are known")
    numbers = itertools.count()

    def ask(_):
        text = f"Question {next(numbers)} " + "word " * 400
        status, headers, _ = post(node.http, "/v1/chat/completions", chat_body(text))
        return status, {k.lower(): v for k, v in headers.items()}.get("x-dualmesh-instance")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(REQUESTS)))
        errors = [status for status, _ in answers if status != 200]
        print(f"{mode}: {len(errors)} errors {sorted(set(errors))}, {instance.requests} asked, "
              f"{metric(cluster, node, 'dualmesh_upstream_retries_total'):.0f} retries")
        assert metric(cluster, node, "dualmesh_instance_ejections_total") >= 1
        assert len(errors) <= MOST_ERRORS[mode]
        sent = metric(cluster, node, "dualmesh_requests_routed_total")
        retries = metric(cluster, node, "dualmesh_upstream_retries_total")
        assert retries <= max(0.2 * sent, FREE_RETRIES_PER_S * WINDOW_S)

        # Whoever looks is told why, and others are not disturbed.
        def shown():
            pool.submit(ask, 0).result()
            return "failures in a row" in cluster.instances(node)["odd"]["unhealthy_reason"] or \
                "failed again" in cluster.instances(node)["odd"]["unhealthy_reason"] or \
                "fails more often" in cluster.instances(node)["odd"]["unhealthy_reason"]

        wait_until(shown, 20.0, "the reason is shown")

        instance.mode = "ok"
        before = instance.requests

        def back():
            list(pool.map(ask, range(8)))
            state = cluster.instances(node)["odd"]
            return state["healthy"] and not state["unhealthy_reason"]

        wait_until(back, 30.0, "it is taken back")
        assert instance.requests - before >= 3  # by a trial with real requests
        assert labelled(cluster, node, "dualmesh_instance_ejected", "odd") == 0
        answers = list(pool.map(ask, range(40)))
        assert {status for status, _ in answers} == {200}
        assert "odd" in {name for _, name in answers}
    cluster.wait_idle()
