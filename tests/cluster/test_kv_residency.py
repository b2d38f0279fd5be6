"""What nodes know of engines' caches is what the engines hold, whatever happens to either."""

import random
import re

import pytest
from cluster import post, wait_until
from kv_cluster import (KvCluster, cached_tokens, count, held_blocks, long_text, place,
                        prompt_body, published)
from kv_client import Replay
from process import http_get


@pytest.fixture(name="make")
def make_fixture():
    """Makes clusters that are stopped after the test."""
    made = []

    def make():
        made.append(KvCluster(speed=20.0))
        made[-1].keep_logs = False
        return made[-1]

    yield make
    for cluster in made:
        cluster.__exit__(None, None, None)


def check_hits(cluster, *bodies):
    """Every node expects of every engine what the engine then reports; the sum of it."""
    total = 0
    for body in bodies:
        told = [cluster.expected(node, body) for node in cluster.living()]
        for engine in cluster.engines:
            cached, _ = cached_tokens(engine.address, body)
            assert [each[engine.name] for each in told] == [cached] * len(told), engine.name
            total += cached
        cluster.wait_exact()
    return total


def test_all_nodes_know_what_two_engines_hold(make):
    cluster = make()
    cluster.kv_engine()
    small = cluster.kv_engine("--cache-tokens", "1280", "--max-model-len", "640")
    cluster.start_nodes(3)
    for engine in cluster.engines:  # each has something to say
        cached_tokens(engine.address, prompt_body(long_text("first", 100)))
    random.seed(5)
    bodies = [prompt_body(long_text(i % 8, random.randrange(64, 400)) + long_text(f"+{i % 3}", 90))
              for i in range(36)]
    expected = {}
    for number, body in enumerate(bodies):
        # In turn through an observer and a node that is none: they know the same.
        node = cluster.nodes[number % 3]
        cached, instance = cached_tokens(node.http, body)
        expected[node.name] = expected.get(node.name, 0) + cached
        # What is evicted by one request the next must know, though it was placed just now.
        cluster.wait_exact()
    streams = cluster.wait_exact()
    for engine in cluster.engines:
        stream = streams[engine.name]
        assert (stream["blocks"], stream["base"]) == (held_blocks(engine), 0)
        assert len(stream["observers"]) == 2
    assert not re.search(r"^dualmesh_engine_evictions_total\S* 0$", small.metrics(), re.M)
    for node in cluster.nodes:
        assert expected[node.name] > 64
        for engine in cluster.engines:
            told = cluster.prediction(node, engine.name)
            assert told["requests"] > 0 and told["mean_error_tokens"] == 0, (node.name, told)
    for other in ("r2", "r3"):
        done = cluster.ctl(cluster.nodes[0], "diff", "r1", other)
        assert done.returncode == 0 and "hold the same" in done.stdout, done.stdout
    assert check_hits(cluster, *random.sample(bodies, 2)) > 0


def churn(cluster, tag, texts=14):
    """Requests of new texts through all living nodes; their bodies."""
    bodies = [prompt_body(long_text(f"{tag}{i}", 150)) for i in range(texts)]
    for number, body in enumerate(bodies):
        nodes = cluster.living()
        cached_tokens(nodes[number % len(nodes)].http, body)
    return bodies


def ready_and_exact(cluster, node, bodies):
    """Starts a node: when its port is open it knows all, with history that no replay has."""
    node.start()
    wait_until(lambda: http_get(f"http://{node.http}/ready")[0] == 200, 15.0, "it is ready",
               pause_s=0.005)
    for name, stream in cluster.streams(node).items():
        assert (stream["confidence"], stream["base"]) == ("exact", 0), (name, stream)
    for engine in cluster.engines:
        # So many that the first blocks are in no replay.
        assert Replay(engine.replays[engine.name]).batches[0][1] > 0
    streams = cluster.wait_exact()
    assert all(stream["base"] == 0 for stream in streams.values())
    assert check_hits(cluster, bodies[-1]) > 0


def test_history_outlives_replay_buffers_nodes_and_observers(make):
    cluster = make()
    for _ in range(2):
        cluster.kv_engine("--kv-buffer-steps", 3)
    cluster.start_nodes(3)
    churn(cluster, "a")
    cluster.wait_exact()
    late = cluster.plan_kv_node(3)
    ready_and_exact(cluster, late, churn(cluster, "b"))
    late.process.kill()
    ready_and_exact(cluster, late, churn(cluster, "c"))

    # Whoever tells the others of e1 dies, requests going on.
    observers = cluster.streams(late)["e1"]["observers"]
    first = next(node for node in cluster.nodes if node.name == observers[0])
    epochs = {name: each["epoch"] for name, each in cluster.streams(late).items()}
    first.process.kill()
    bodies = churn(cluster, "d")
    streams = cluster.wait_exact()
    wait_until(lambda: first.name not in cluster.streams(cluster.living()[0])["e1"]["observers"],
               10.0, "another observes e1")
    bodies += churn(cluster, "e", 6)
    streams = cluster.wait_exact()
    assert {name: (each["epoch"], each["base"]) for name, each in streams.items()} == {
        name: (epoch, 0) for name, epoch in epochs.items()}
    ready_and_exact(cluster, first, bodies)


def test_a_new_life_of_an_engine_and_an_emptied_cache(make):
    cluster = make()
    for _ in range(2):
        cluster.kv_engine()
    cluster.start_nodes(2)
    bodies = churn(cluster, "a", 8)
    before = cluster.wait_exact()
    e1, e2 = cluster.engines
    assert min(before[engine.name]["blocks"] for engine in cluster.engines) > 0
    e1.process.kill()
    e1.start()
    e1.wait_ready()
    cached_tokens(e1.address, bodies[0])
    after = cluster.wait_exact()
    assert after["e1"]["epoch"] > before["e1"]["epoch"]
    assert after["e1"]["blocks"] == held_blocks(e1)
    assert place(after["e2"]) == place(before["e2"])
    check_hits(cluster, bodies[0], bodies[1])

    status, _, text = post(e2.address, "/reset_prefix_cache", "")
    assert status == 200, text
    streams = cluster.wait_exact()
    assert streams["e2"]["blocks"] == 0 < streams["e1"]["blocks"]
    assert streams["e2"]["epoch"] == before["e2"]["epoch"]
    assert check_hits(cluster, bodies[2], bodies[2]) > 0  # e2 is found empty, and then is not


def test_an_engine_that_restarted_is_known_to_be_empty_before_it_says_anything(make):
    cluster = make()
    for _ in range(2):
        cluster.kv_engine()
    cluster.start_nodes(3)
    bodies = churn(cluster, "a", 8)
    before = cluster.wait_exact()
    e1 = cluster.engines[0]
    for _ in range(2):
        e1.process.kill()
        e1.start()
        e1.wait_ready()
        after = cluster.wait_exact()
        assert (after["e1"]["end"], after["e1"]["blocks"]) == (0, 0)
        assert after["e1"]["epoch"] > before["e1"]["epoch"]
        assert place(after["e2"]) == place(before["e2"])
        cached_tokens(e1.address, bodies[0])
        before = cluster.wait_exact()
        assert before["e1"]["blocks"] == held_blocks(e1) > 0
        assert before["e1"]["epoch"] > after["e1"]["epoch"]
    check_hits(cluster, bodies[0], bodies[1])


def test_without_replay_a_history_is_incomplete_until_the_cache_is_emptied(make):
    cluster = make()
    engine = cluster.kv_engine(replay=False)
    bodies = [prompt_body(long_text(i, 150)) for i in range(4)]
    cached_tokens(engine.address, bodies[0])
    cluster.start_nodes(2)
    assert {cluster.streams(node)["e1"]["confidence"] for node in cluster.nodes} == {"unknown"}
    assert "nothing heard from the engine yet" in cluster.ctl(cluster.nodes[0], "kv").stdout
    cached_tokens(cluster.nodes[0].http, bodies[1])
    for node in cluster.nodes:
        wait_until(lambda n=node: cluster.streams(n)["e1"]["confidence"] == "degraded", 5.0,
                   "it is degraded")
        assert "e1 is degraded: history before batch 1 is lost" in cluster.ctl(node, "kv").stdout
        assert cluster.expected(node, bodies[1])["e1"] >= 144  # what it has heard counts
    assert post(engine.address, "/reset_prefix_cache", "")[0] == 200
    streams = cluster.wait_exact()
    assert (streams["e1"]["blocks"], streams["e1"]["base"]) == (0, 0)
    cached_tokens(cluster.nodes[1].http, bodies[2])
    wait_until(lambda: cluster.wait_exact()["e1"]["blocks"] == 9, 5.0, "its blocks are known")
    check_hits(cluster, bodies[2])


def test_lost_and_doubled_events_are_made_good(make):
    cluster = make()
    engine = cluster.kv_engine("--kv-loss", 0.2, "--kv-duplicate", 0.2)
    cluster.start_nodes(3)
    bodies = churn(cluster, "a", 60)
    # The very last may be among the lost, and is then missed only by the next.
    for number in range(20):
        bodies += churn(cluster, f"z{number}", 1)
        heard = [cluster.streams(node)["e1"]["end"] for node in cluster.nodes]
        if min(heard) == published(engine.replays["e1"]):
            break
    streams = cluster.wait_exact()
    assert (streams["e1"]["base"], streams["e1"]["blocks"]) == (0, held_blocks(engine))
    assert check_hits(cluster, bodies[3]) > 0
    received = {name: sum(count(cluster.streams(node)["e1"], name) for node in cluster.nodes)
                for name in ("gaps", "replays", "duplicates", "lost", "restarts")}
    assert min(received[name] for name in ("gaps", "replays", "duplicates")) > 0, received
    assert received["lost"] == received["restarts"] == 0, received
