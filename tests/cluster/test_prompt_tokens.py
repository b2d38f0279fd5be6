"""The tokens of prompts: asked for, given, not to be had; and what tells equal ones apart.

The official client makes the requests.
"""

import re
import time

import openai
import pytest
from checks import metric
from kv_cluster import KvCluster, long_text, tokens_of

MODELS = ("sim", "adapter")


@pytest.fixture(name="cluster", scope="module")
def cluster_fixture():
    """Two nodes; an engine with a base model and an adapter."""
    with KvCluster(speed=20.0) as cluster:
        cluster.keep_logs = False
        cluster.kv_engine(models=MODELS)
        yield cluster.start_nodes(2)


@pytest.fixture(name="start")
def start_fixture():
    """One node and one engine with these flags."""
    made = []

    def start(*flags):
        made.append(KvCluster(speed=20.0))
        made[-1].keep_logs = False
        made[-1].kv_engine(*flags)
        return made[-1].start_nodes(1)

    yield start
    for cluster in made:
        cluster.__exit__(None, None, None)


def client(node):
    return openai.OpenAI(base_url=f"http://{node.http}/v1", api_key="sk-test", max_retries=0,
                         timeout=30)


def complete(node, prompt, model="sim", **extra):
    """Cached tokens as reported."""
    answer = client(node).completions.create(model=model, prompt=prompt, max_tokens=2,
                                             extra_body=extra)
    return answer.usage.prompt_tokens_details.cached_tokens


def expected(cluster, node):
    """(cached tokens that the newest decision expected of the chosen instance, prompt tokens)"""
    decision = cluster.ask(node, "decisions", "--last", "1")[0]
    hits = {each["instance"]: each["hit_tokens"] for each in decision["candidates"]}
    return hits[decision["chosen"]], decision["input_tokens"]


def tokens_from(cluster, node, family="prompt_tokens", label="from"):
    """{where tokens came from, or how questions ended: how often}"""
    text = cluster.ctl(node, "metrics").stdout
    found = re.findall(rf'^dualmesh_kv_{family}_total{{{label}="(\w+)"}} (\d+)$', text, re.M)
    assert found, text
    return {name: int(count) for name, count in found if int(count) > 0}


def test_a_conversation_is_found_wherever_it_goes_on(cluster):
    messages = [{"role": "system", "content": long_text("sys", 120)}]
    cached = []
    for turn in range(6):
        node = cluster.nodes[turn % 2]
        messages.append({"role": "user", "content": long_text(f"u{turn}", 40)})
        if turn % 3 == 2:
            usage = [chunk.usage for chunk in client(node).chat.completions.create(
                model="sim", messages=messages, max_tokens=4, stream=True,
                stream_options={"include_usage": True})][-1]
        else:
            usage = client(node).chat.completions.create(
                model="sim", messages=messages, max_tokens=4).usage
        cached.append(usage.prompt_tokens_details.cached_tokens)
        assert expected(cluster, node) == (cached[-1], usage.prompt_tokens)
        messages.append({"role": "assistant", "content": long_text(f"a{turn}", 30)})
        cluster.wait_exact()
    assert cached[0] == 0 and cached[1] >= 144 and cached == sorted(cached), cached
    for node in cluster.nodes:
        assert tokens_from(cluster, node, "tokenize", "end") == {"tokens": 3}


def test_adapters_and_salts_have_caches_of_their_own(cluster):
    text = long_text("own", 100)
    spaces = [{"model": model, **({"cache_salt": salt} if salt else {})}
              for model in MODELS for salt in (None, "one", "two")]
    for round_of in range(2):
        for number, space in enumerate(spaces):
            node = cluster.nodes[(number + round_of) % 2]
            cached = complete(node, text, **space)
            assert cached == (96 if round_of else 0), space
            assert expected(cluster, node) == (cached, 100), space
            cluster.wait_exact()


def test_tokens_that_the_client_gives_are_taken(cluster):
    node = cluster.nodes[0]
    tokens = tokens_of(cluster.engines[0], {"model": "sim", "prompt": long_text("given", 80)})
    before = tokens_from(cluster, node)
    questions = tokens_from(cluster, node, "tokenize", "end")
    for cached in (0, 64):
        assert complete(node, tokens) == cached
        assert expected(cluster, node) == (cached, 80)
        cluster.wait_exact()
    after = tokens_from(cluster, node)
    assert after["given"] - before.get("given", 0) == 2
    assert tokens_from(cluster, node, "tokenize", "end") == questions
    # The same as text, whose tokens have to be asked for, and then are remembered.
    for source in ("asked", "cache"):
        before = tokens_from(cluster, node)
        assert complete(node, long_text("given", 80)) == 64
        assert expected(cluster, node) == (64, 80)
        assert tokens_from(cluster, node)[source] - before.get(source, 0) == 1


def test_without_tokenize_caches_are_predicted_by_the_text(start):
    cluster = start("--no-tokenize")
    node = cluster.nodes[0]
    for number in range(6):
        complete(node, long_text(f"no{number}", 600))
    assert complete(node, long_text("no0", 600)) == 592
    assert expected(cluster, node)[0] >= 512
    assert tokens_from(cluster, node) == {"unknown": 7}
    assert tokens_from(cluster, node, "tokenize", "end") == {"unable": 1}
    # Events are followed all the same: of use to whoever gives tokens.
    streams = cluster.wait_exact()
    assert streams["e1"]["blocks"] == 6 * 37


def test_a_slow_tokenizer_is_waited_for_once_and_then_left_alone(start):
    cluster = start("--tokenize-delay-ms", 500)
    node = cluster.nodes[0]
    times_s = []
    begin = time.monotonic()
    for number in range(12):
        before = time.monotonic()
        complete(node, long_text(f"s{number}", 600))
        times_s.append(time.monotonic() - before)
    took_s = time.monotonic() - begin
    ends = tokens_from(cluster, node, "tokenize", "end")
    # Left alone for 1/4 s, twice that, and so on.
    most, pause_s = 1, 0.25
    while pause_s < took_s:
        most, pause_s = most + 1, 2 * pause_s + 0.25
    assert set(ends) == {"late"} and ends["late"] <= most, (ends, took_s)
    assert sorted(times_s)[len(times_s) // 2] < 0.5, times_s
    assert tokens_from(cluster, node) == {"unknown": 12}
    assert complete(node, long_text("s0", 600)) == 592
    assert expected(cluster, node)[0] >= 512
    assert metric(cluster, node, "dualmesh_kv_token_cache_prompts") == 0


def test_what_an_instance_does_not_tell_is_remarked(start):
    def remarks(cluster):
        return cluster.streams(cluster.nodes[0])["e1"]["remarks"]

    cluster = start("--kv-format", "sglang")
    node = cluster.nodes[0]
    complete(node, long_text("sgl", 100))
    cluster.wait_exact("e1")
    assert remarks(cluster) == []
    client(node).chat.completions.create(model="sim", max_tokens=2, messages=[
        {"role": "user", "content": long_text("chat", 60)}])
    [said] = remarks(cluster)
    assert said.startswith("its /tokenize takes no messages, as SGLang's does not: hits of chat "
                           "prompts are predicted"), said
    table = " ".join(cluster.ctl(node, "kv").stdout.split())
    assert f"e1: {said}" in table, table
