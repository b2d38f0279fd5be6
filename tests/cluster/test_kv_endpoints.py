"""Instances whose events= are wrong: what `dualmeshctl kv` says, and that nothing is called exact."""

import pytest
from cluster import wait_until
from kv_cluster import EVENTS_PORT, REPLAY_PORT, KvCluster, cached_tokens, long_text, prompt_body

TOPIC = "kv@e"


@pytest.fixture(name="cluster", scope="module")
def cluster_fixture():
    with KvCluster() as cluster:
        cluster.keep_logs = False
        for _ in range(5):
            cluster.kv_engine("--kv-topic", TOPIC)
        cluster.kv_engine("--kv-topic", TOPIC, ranks=2)
        cluster.start_nodes(1)
        yield cluster


def declare(cluster, engine, *, events=EVENTS_PORT, replay=REPLAY_PORT, topic=""):
    """Tells the node of the engine's endpoints, with these ports in place of the right ones."""
    host = engine.address.split(":")[0]
    kv = f"tcp://{host}:{events}" + (f",replay=tcp://{host}:{replay}" if replay else "")
    kv += f",topic={topic}" if topic else ""
    done = cluster.ctl(cluster.nodes[0], "instance", "add", engine.name, engine.address,
                       "--kv-events", kv)
    assert done.returncode == 0, done.stderr


def work(engine, times=3):
    for _ in range(times):
        work.done += 1
        cached_tokens(engine.address, prompt_body(long_text(work.done, 64)))


work.done = 0


def said(cluster, *arguments):
    done = cluster.ctl(cluster.nodes[0], "kv", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 100, done.stdout
    return " ".join(done.stdout.split())


def wait_said(cluster, engine, part, timeout_s=20.0, meanwhile=lambda: None):
    def is_said():
        meanwhile()
        return part in said(cluster, engine.name)

    try:
        wait_until(is_said, timeout_s, part, pause_s=0.2)
    except Exception as error:
        raise AssertionError(f"{error}: {said(cluster, engine.name)}") from None
    assert f"{engine.name}: " in said(cluster) and part in said(cluster)  # under the table, too


def stream(cluster, engine):
    return cluster.streams(cluster.nodes[0])[engine.name]


def test_right_endpoints_are_shown_and_nothing_is_remarked(cluster):
    engine = cluster.engines[0]
    declare(cluster, engine, topic=TOPIC)
    work(engine)
    cluster.wait_exact(engine.name)
    host = engine.address.split(":")[0]
    text = said(cluster, engine.name)
    ends = f"events tcp://{host}:{EVENTS_PORT} replay tcp://{host}:{REPLAY_PORT}"
    assert f"{ends} topic {TOPIC} " in text
    assert stream(cluster, engine)["remarks"] == []
    assert text == said(cluster, f"{engine.name}/0")
    done = cluster.ctl(cluster.nodes[0], "kv", f"{engine.name}/1")
    assert done.returncode == 2 and f"{engine.name} has rank 0 alone, and no rank 1" in done.stderr


def test_a_port_where_nothing_is(cluster):
    engine = cluster.engines[1]
    declare(cluster, engine, events=4)
    host = engine.address.split(":")[0]
    wait_said(cluster, engine, f"nothing connected at tcp://{host}:4 for ")
    assert stream(cluster, engine)["confidence"] == "unknown"


def test_events_and_replay_swapped(cluster):
    engine = cluster.engines[2]
    declare(cluster, engine, events=REPLAY_PORT, replay=EVENTS_PORT)
    wait_said(cluster, engine, "are events= and replay= swapped")
    assert stream(cluster, engine)["confidence"] == "unknown"


def test_the_port_of_requests_is_no_publisher(cluster):
    engine = cluster.engines[2]
    declare(cluster, engine, events=int(engine.address.split(":")[1]))
    wait_said(cluster, engine, f"not connected to tcp://{engine.address} for ")
    assert "what answers there is no publisher of events" in said(cluster, engine.name)


def test_a_replay_port_where_nothing_is(cluster):
    engine = cluster.engines[3]
    declare(cluster, engine, replay=4)
    host = engine.address.split(":")[0]
    wait_said(cluster, engine, f"no answer of the replay endpoint tcp://{host}:4")


def test_another_topic_is_not_called_exact(cluster):
    engine = cluster.engines[4]
    declare(cluster, engine, topic="kv@other")
    wait_said(cluster, engine, "no batch comes by subscription, while the replay has brought",
              meanwhile=lambda: work(engine, 1))
    assert "is topic=kv@other right?" in said(cluster, engine.name)
    for _ in range(20):
        work(engine, 1)
        assert stream(cluster, engine)["confidence"] == "degraded"
    declare(cluster, engine, topic=TOPIC)
    work(engine)
    cluster.wait_exact(engine.name)
    assert stream(cluster, engine)["remarks"] == []


def test_ranks_that_were_forgotten(cluster):
    engine = cluster.engines[5]
    declare(cluster, engine, topic=TOPIC)
    wait_said(cluster, engine, "its metrics tell of 2 data-parallel ranks, and events of 1 are "
                               "heard: ranks=2 is missing in its events=")


def test_another_topic_is_not_called_exact_by_nodes_that_do_not_subscribe():
    with KvCluster() as cluster:
        cluster.keep_logs = False
        engine = cluster.kv_engine("--kv-topic", TOPIC)
        engine.kv += ",topic=kv@other"
        cluster.start_nodes(2, "--kv.observers", "1")

        def late():
            work(engine, 1)
            streams = [cluster.streams(node)[engine.name] for node in cluster.nodes]
            return all("brings nothing" in each["why_not_exact"] for each in streams) and streams

        first, second = wait_until(late, 20.0, "both nodes say so")
        assert {first["confidence"], second["confidence"]} == {"degraded"}
        assert sorted([first["observing"], second["observing"]]) == [False, True]
        other = cluster.nodes[0 if second["observing"] else 1]
        text = " ".join(cluster.ctl(other, "kv").stdout.split())
        pointer = f"{first['observers'][0]} subscribes, and may say more of it"
        assert f"{engine.name}: {pointer}" in text
        assert f"look {pointer}" in " ".join(cluster.ctl(other, "kv", engine.name).stdout.split())
