"""Data-parallel ranks: requests go to the rank that has their prefix, and find there what was
expected; what nobody has is balanced by the engine."""

import concurrent.futures
import json

import pytest
from cluster import post
from kv_cluster import COMPLETIONS, KvCluster, cached_tokens, long_text, prompt_body, tokens_of
from kv_client import Replay

RANKS = 4


def started(speed):
    """Two nodes in front of an engine of four ranks."""
    with KvCluster(speed=speed) as cluster:
        cluster.keep_logs = False
        cluster.kv_engine(ranks=RANKS)
        yield cluster.start_nodes(2)


@pytest.fixture(name="cluster")
def cluster_fixture():
    yield from started(speed=20.0)


@pytest.fixture(name="slow_cluster")
def slow_cluster_fixture():
    """So slow that all requests of a burst are there at once, however busy this machine."""
    yield from started(speed=2.0)


def stores(cluster):
    """How many blocks each rank has stored."""
    return [sum(len(event["block_hashes"]) for event in Replay(replay).events()
                if event["type"] == "BlockStored")
            for replay in cluster.engines[0].replays.values()]


def wait_known(cluster):
    """All nodes have heard all of the ranks that have said something."""
    heard = [name for name, replay in cluster.engines[0].replays.items() if Replay(replay).batches]
    cluster.wait_exact(*heard)


def test_siblings_find_what_was_expected_of_them(cluster):
    engine = cluster.engines[0]
    expected, said = [], []
    for number in range(24):
        node = cluster.nodes[number % 2]
        # Three conversations, each of whose turns goes on from the last.
        talk, turn = number % 3, number // 3
        text = long_text(talk, 100) + "".join(long_text(f"{talk}+{i}", 40) for i in range(turn))
        cached, instance = cached_tokens(node.http, prompt_body(text))
        assert instance == engine.name
        decision = cluster.ask(node, "decisions", "--last", "1")[0]
        expected += [each["hit_tokens"] for each in decision["candidates"]
                     if each["instance"] == instance]
        said.append(cached)
        wait_known(cluster)
    assert expected == said
    assert said[3:] == [(100 + 40 * (number // 3 - 1)) // 16 * 16 for number in range(3, 24)]
    for node in cluster.nodes:
        assert cluster.prediction(node, engine.name)["mean_error_tokens"] == 0


def test_the_client_says_the_rank_and_gets_it(cluster):
    engine, node = cluster.engines[0], cluster.nodes[0]
    body = prompt_body(long_text("mine", 100))
    cached_tokens(node.http, body)
    wait_known(cluster)
    for rank in range(RANKS):
        held = stores(cluster)[rank] > 0
        status, _, text = post(node.http, COMPLETIONS, body, {"X-data-parallel-rank": str(rank)})
        assert status == 200, text
        cached = json.loads(text)["usage"]["prompt_tokens_details"]["cached_tokens"]
        decision = cluster.ask(node, "decisions", "--last", "1")[0]
        assert cached == (96 if held else 0)
        assert [each["hit_tokens"] for each in decision["candidates"]
                if each["instance"] == engine.name] == [cached]
        wait_known(cluster)
    # Now all have it: the engine chooses, and it does not matter.
    for _ in range(3):
        assert cached_tokens(cluster.nodes[1].http, body)[0] == 96


def test_explain_says_the_rank(cluster):
    engine, node = cluster.engines[0], cluster.nodes[0]
    body = prompt_body(long_text("rank", 100))
    path = cluster.directory / "ranked.json"
    path.write_text(json.dumps({**body, "prompt": tokens_of(engine, body)}))

    def explained(*flags):
        done = cluster.ctl(node, "explain", "--prompt-file", path, "--path", COMPLETIONS, *flags)
        assert done.returncode == 0, done.stderr
        return done.stdout

    text = explained()
    assert f"would go to {engine.name}: " in text
    assert f"{engine.name} has {RANKS} ranks with events: it would go to whichever rank" in text
    assert [hit["rank"] for hit in json.loads(explained("--json"))["hits"]] == [-1]
    cached_tokens(node.http, body)
    wait_known(cluster)
    rank = [blocks > 0 for blocks in stores(cluster)].index(True)
    text = explained()
    assert f"would go to {engine.name}/{rank}: " in text, text
    assert f"it would go to rank {rank}, as long as that has room" in text, text
    told = json.loads(explained("--json"))
    assert [hit["rank"] for hit in told["hits"]] == [rank]
    assert [hit["ranks"] for hit in told["hits"]] == [RANKS]
    candidate = told["decision"]["candidates"][0]
    assert (candidate["rank"], candidate["hit_tokens"], candidate["hit_blocks"]) == (rank, 96, 6)


def test_a_prefix_that_all_share_leaves_no_rank_idle(slow_cluster):
    cluster = slow_cluster
    head = long_text("head", 32)
    cached_tokens(cluster.nodes[0].http, prompt_body(head + long_text("first", 400)))
    wait_known(cluster)
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        done = pool.map(lambda i: cached_tokens(cluster.nodes[i % 2].http,
                                                prompt_body(head + long_text(f"s{i}", 400))),
                        range(96))
        assert all(cached <= 400 for cached, _ in done)
    blocks = stores(cluster)
    assert max(blocks) <= 2.0 * sum(blocks) / RANKS, blocks
