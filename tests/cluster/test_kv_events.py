"""KV events of dualmesh-engine, by clients that share no code with it; its metrics at a node."""

import json
import re
import time
import urllib.request
from pathlib import Path

import pytest
from cluster import MODEL, Cluster, chat_body, post, wait_until
from kv_client import Believer, Live, Replay

COMPLETIONS = "/v1/completions"
FORMATS = {
    "vllm": (["--kv-format", "vllm", "--kv-topic", "kv-events"], b"kv-events", True),
    "vllm bytes": (["--kv-format", "vllm", "--kv-hashes", "bytes"], b"", True),
    "vllm arrays": (["--kv-format", "vllm-arrays"], None, True),
    "sglang": (["--kv-format", "sglang"], None, False),
    "sglang arrays": (["--kv-format", "sglang-arrays"], None, False),
}


@pytest.fixture(name="start_engine")
def start_engine_fixture():
    """Starts an engine with KV events on ports of its own: (engine, live and replay endpoints)."""
    clusters = []

    def start(*flags, ranks=1):
        cluster = Cluster(speed=20.0, engine_flags=[
            "--kv-events", "tcp://127.0.0.1:0", "--kv-replay", "tcp://127.0.0.1:0",
            "--kv-ranks", ranks, *flags])
        clusters.append(cluster)
        engine = cluster.new_engine()
        said = Path(engine.process.log_path).read_text()
        found = re.findall(r"publishes at (\S+), replays at (\S+)", said)
        assert len(found) == ranks, said
        return engine, found

    yield start
    for cluster in clusters:
        cluster.stop()


def ask(engine, body, path=COMPLETIONS):
    status, _, text = post(engine.address, path, body)
    assert status == 200, text
    return json.loads(text)


def tokens_of(engine, text):
    return tuple(ask(engine, {"model": MODEL, "prompt": text}, "/tokenize")["tokens"])


def prompt_body(text):
    return {"model": MODEL, "prompt": text, "max_tokens": 2}


@pytest.mark.parametrize("name", FORMATS)
def test_live_and_replayed_batches_hold_the_tokens_that_tokenize_answers(start_engine, name):
    flags, topic, says_rank = FORMATS[name]
    engine, [(events, replay)] = start_engine(*flags)
    texts = [("all begin with this " * 5) + f"and go on with number {i} " * 9 for i in range(6)]
    with Live(events) as live:
        # A subscription takes a moment to arrive; SGLang's first batch was before it.
        while live.receive(0.05) is None:
            ask(engine, prompt_body(f"{time.monotonic()} before it begins, " * 4))
        known = Replay(replay).batches
        start = known[-1][1] + 1
        for text in texts:
            ask(engine, prompt_body(text))
        after = Replay(replay, start).batches
        assert [batch[1] for batch in after] == list(range(start, start + len(after)))
        heard = []
        while not heard or heard[-1][1] < after[-1][1]:
            heard.append(live.receive(10.0))
        assert [batch[1:] for batch in heard if batch[1] >= start] == [b[1:] for b in after]
        assert {batch[0] for batch in heard} == {topic or b""}
    assert {batch[0] for batch in after} == {topic}
    assert all(batch[4] == (0 if says_rank else None) for batch in known + after)
    assert abs(after[-1][2] - time.time()) < 60
    believer = Believer()
    believer.hear(event for batch in known + after for event in batch[3])
    held = set(believer.prefixes.values())
    for text in texts:
        tokens = tokens_of(engine, text)
        for end in range(16, len(tokens) + 1, 16):
            assert tokens[:end] in held
    kinds = {type(block) for block in believer.prefixes}
    assert kinds == ({bytes} if name == "vllm bytes" else {int})
    if not says_rank:
        assert any(block < 0 for block in believer.prefixes)
        assert known[0][1] == 0 and len(known[0][3]) == 1


def test_the_cache_is_what_the_events_say_under_eviction_and_clearing(start_engine):
    engine, [(_, replay)] = start_engine("--cache-tokens", "640", "--max-model-len", "320")
    believer, seen = Believer(), 0
    for i in range(60):
        text = "common words at the start of all " * 2 + f"number {i % 7} " * 40
        tokens = tokens_of(engine, text)
        expected = 0
        held = set(believer.prefixes.values())
        while expected + 16 < len(tokens) and tokens[:expected + 16] in held:
            expected += 16
        usage = ask(engine, prompt_body(text))["usage"]
        assert usage["prompt_tokens"] == len(tokens)
        assert usage["prompt_tokens_details"]["cached_tokens"] == expected
        for batch in Replay(replay, seen).batches:
            believer.hear(batch[3])
            seen = batch[1] + 1
        assert len(believer.prefixes) <= 40
    assert post(engine.address, "/reset_prefix_cache", "")[0] == 200
    believer.hear(Replay(replay, seen).events())
    assert not believer.prefixes


def test_ranks_publish_at_ports_of_their_own(start_engine):
    engine, endpoints = start_engine(ranks=3)
    assert len(set(endpoints)) == 3
    for i in range(9):
        ask(engine, prompt_body(f"{i} is the number of this " * 10))
    batches = [Replay(replay).batches for _, replay in endpoints]
    for rank, of_rank in enumerate(batches):
        assert of_rank and all(batch[4] == rank for batch in of_rank)
    assert sum(len(of_rank) for of_rank in batches) == 9


def test_a_restart_begins_at_0_with_other_hashes(make_cluster):
    flags = ["--kv-events", "tcp://127.0.0.1:0", "--kv-replay", "tcp://127.0.0.1:0"]
    seen = []
    for _ in range(2):
        cluster = make_cluster(speed=20.0, engine_flags=flags)
        engine = cluster.new_engine()
        ask(engine, prompt_body("the same words once more " * 10))
        replay = re.search(r"replays at (\S+)", Path(engine.process.log_path).read_text())[1]
        seen.append(Replay(replay).batches)
        cluster.stop()
    (_, first, stamp, events, _), (_, second, later, others, _) = seen[0][0], seen[1][0]
    assert first == second == 0 and later > stamp
    assert events[0]["token_ids"] == others[0]["token_ids"]
    assert not set(events[0]["block_hashes"]) & set(others[0]["block_hashes"])


def test_a_node_shows_what_engines_say_of_themselves(make_cluster):
    cluster = make_cluster(speed=20.0, engine_flags=["--cache-tokens", "16000", "--kv-ranks", "2"])
    cluster.start(nodes=1, engines=1)
    node = cluster.nodes[0]
    assert post(node.http, "/v1/chat/completions", chat_body("hello"))[0] == 200

    def shown(name):
        with urllib.request.urlopen(f"http://{node.http}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found = re.search(rf'^dualmesh_instance_engine_{name}{{instance="e1"}} (\S+)$', text, re.M)
        return found and float(found[1])

    wait_until(lambda: shown("kv_blocks") == 2000, 15.0, "the node shows its engine's blocks")
    assert shown("block_tokens") == 16
    assert shown("running_requests") == 0
    assert shown("waiting_requests") == 0
    assert shown("kv_usage_ratio") == 0
    cluster.engines[0].process.kill()
    wait_until(lambda: shown("kv_blocks") is None, 15.0, "what a dead engine said is unknown")
