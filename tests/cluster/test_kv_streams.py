"""KV events of every format, of none, of nonsense and of a flood; engines out of reach."""

import struct
import time

import msgpack
import pytest
import zmq
from cluster import post, wait_until
from kv_cluster import (COMPLETIONS, EVENTS_PORT, KvCluster, KvMixin, cached_tokens, count,
                        long_text, prompt_body)
from namespaces import NetworkCluster, why_not

FORMATS = {
    "vllm": [],
    "vllm-arrays": ["--kv-format", "vllm-arrays"],
    "bytes": ["--kv-hashes", "bytes"],
    "sglang": ["--kv-format", "sglang"],
    "sglang-arrays": ["--kv-format", "sglang-arrays"],
    "ranks": ["--kv-topic", "kv@host"],
}


@pytest.fixture(name="formats", scope="module")
def formats_fixture():
    """An engine of each format, each with a model of its own; two nodes."""
    with KvCluster(speed=20.0) as cluster:
        cluster.keep_logs = False
        for name, flags in FORMATS.items():
            cluster.kv_engine(*flags, models=(name,), ranks=2 if name == "ranks" else 1)
        yield cluster.start_nodes(2)


@pytest.mark.parametrize("name", FORMATS)
def test_hits_are_expected_as_every_format_says_them(formats, name):
    r1, r2 = formats.nodes
    engine = formats.engines[list(FORMATS).index(name)]
    for rank in range(len(engine.replays)):  # each has something to say
        body = prompt_body(f"{rank} " * 99, model=name)
        status, _, text = post(engine.address, COMPLETIONS, body,
                               {"X-data-parallel-rank": str(rank)})
        assert status == 200, text
    formats.wait_exact(*engine.replays)
    hits = 0
    for number in range(6):
        text = long_text(number % 2, 100) + long_text(f"#{number}", 60)
        node = (r1, r2)[number // 2 % 2]
        cached, instance = cached_tokens(node.http, prompt_body(text, model=name))
        assert instance == engine.name
        decision = formats.ask(node, "decisions", "--last", "1")[0]
        found = [each["hit_tokens"] for each in decision["candidates"]
                 if each["instance"] == instance]
        assert (found, decision["input_tokens"]) == ([cached], 160)
        hits += cached
        formats.wait_exact(*engine.replays)
    assert hits == 4 * 96
    assert formats.prediction(r1, engine.name)["mean_error_tokens"] == 0


class Publisher:
    """Publishes what no engine would, in place of one."""

    def __init__(self, host):
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.linger = 0
        self._socket.sndhwm = 0
        self._socket.setsockopt(zmq.XPUB_VERBOSE, 1)  # tells of each subscriber
        self._socket.bind(f"tcp://{host}:{EVENTS_PORT}")
        self.kv = f"tcp://{host}:{EVENTS_PORT}"
        self.sequence = 0

    def wait_subscribed(self, count):
        for _ in range(count):
            assert self._socket.poll(10_000)
            self._socket.recv()

    def send(self, *frames):
        self._socket.send_multipart(frames)

    def batch(self, payload):
        self.send(b"", struct.pack(">Q", self.sequence), payload)
        self.sequence += 1

    def close(self):
        self._socket.close()
        self._context.term()


def stored(first, blocks, tokens=1):
    """A prompt of so many blocks, with hashes from `first` on."""
    return [{"type": "BlockStored", "block_hashes": list(range(first, first + blocks)),
             "parent_block_hash": None, "block_size": tokens, "lora_id": None, "medium": "GPU",
             "token_ids": list(range(first, first + blocks * tokens))}]


def batch_of(events):
    return msgpack.packb([time.time(), events, 0])


@pytest.fixture(name="beside")
def beside_fixture():
    """Two engines without events of their own and one with; publishers speak for the two."""
    with KvCluster(speed=20.0) as cluster:
        cluster.keep_logs = False
        publishers = []
        for _ in range(2):
            engine = cluster.new_engine()
            publishers.append(Publisher(cluster.engine_host(len(publishers))))
            engine.kv = publishers[-1].kv
        cluster.kv_engine()
        cluster.start_nodes(2, "--kv.max_stream_blocks", "2000")
        yield cluster, *publishers
        for publisher in publishers:
            publisher.close()


def memory_mb(node):
    with open(f"/proc/{node.process.pid}/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return int(lines["VmRSS"].split()[0]) / 1024


def unharmed(cluster):
    """e3 is known exactly, and hits are as expected there."""
    body = prompt_body(long_text(time.monotonic_ns() % 9000, 120))
    cached_tokens(cluster.engines[2].address, body)
    cluster.wait_exact("e3")
    assert [cluster.expected(node, body)["e3"] for node in cluster.nodes] == [112, 112]
    assert all(node.process.alive() for node in cluster.nodes)


def test_nonsense_is_refused_and_said_and_harms_nobody(beside):
    cluster, publisher, _ = beside
    publisher.wait_subscribed(2)
    deep = b"\x91" * 5_000 + b"\xc0"
    nonsense = [b"", b"\xc1", b"nonsense " * 9, deep, msgpack.packb({"a": 1}), msgpack.packb([]),
                msgpack.packb([time.time(), "x", 0]),
                b"\x93\xcb" + b"\xff" * 8 + b"\xdd" + b"\xff" * 4,
                msgpack.packb([time.time(), [{"type": "Unheard", "of": 1}], 0]),
                msgpack.packb([time.time(), [["BlockStored", [1], None, [1] * 16, "sixteen"]], 0])]
    publisher.batch(batch_of(stored(1, 5, 16)))
    cluster.wait_exact("e1")
    for payload in nonsense:
        publisher.batch(payload)
    for frames in ([b""], [b"", b"short"], [b"", b"12345678", b"p", b"q"],
                   [b"", b"\xff" * 8, b"beyond"]):
        publisher.send(*frames)
    for node in cluster.nodes:
        wait_until(lambda n=node: count(cluster.streams(n)["e1"], "refused_batches") >= 7, 5.0,
                   "they have been counted")
        stream = cluster.streams(node)["e1"]
        assert stream["confidence"] == "degraded" and count(stream, "absurd") >= 1, stream
        shown = cluster.ctl(node, "kv").stdout
        assert "e1 sent what cannot be used, last: " in shown, shown
        assert max(map(len, shown.splitlines())) <= 100
    unharmed(cluster)
    publisher.batch(batch_of([{"type": "AllBlocksCleared"}]))
    publisher.batch(batch_of(stored(9, 3, 16)))
    assert cluster.wait_exact("e1")["e1"]["blocks"] == 3


def test_a_flood_of_blocks_is_given_up(beside):
    cluster, _, publisher = beside
    publisher.wait_subscribed(2)
    before = max(map(memory_mb, cluster.nodes))
    for number in range(400):
        publisher.batch(batch_of(stored(number * 2_500, 2_500)))
    for node in cluster.nodes:
        wait_until(lambda n=node: cluster.streams(n)["e2"]["end"] == publisher.sequence, 20.0,
                   "all of it has been read")
        stream = cluster.streams(node)["e2"]
        assert stream["confidence"] == "degraded" and stream["blocks"] <= 2_000, stream
        shown = cluster.ctl(node, "kv").stdout
        assert "given up: it holds more blocks than kv.max_stream_blocks" in shown, shown
        assert memory_mb(node) < before + 60
    unharmed(cluster)
    publisher.batch(batch_of([{"type": "AllBlocksCleared"}]))


class KvNetworkCluster(KvMixin, NetworkCluster):
    def plan_kv_engine(self, *flags, **more):
        self.network.add_outside_address(len(self.engines) + 101)
        return super().plan_kv_engine(*flags, **more)


def test_another_observes_where_one_cannot_reach_the_engine():
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with KvNetworkCluster(speed=20.0) as cluster:
        cluster.keep_logs = False
        cluster.kv_engine()
        cluster.start_nodes(3)
        r1 = cluster.nodes[0]
        observers = cluster.streams(r1)["e1"]["observers"]
        away = next(node for node in cluster.nodes if node.name == observers[0])
        others = [node for node in cluster.nodes if node is not away]
        cluster.network.cut_off(cluster.nodes.index(away) + 1, [cluster.engine_host(0)])
        # It still gets all from the others, though its subscription is silent.
        for number in range(6):
            cached_tokens(cluster.engines[0].address, prompt_body(long_text(number, 100)))
        assert cluster.wait_exact("e1")["e1"]["blocks"] == 36
        away.process.kill()
        away.start()
        away.wait_ready()
        wait_until(lambda: all(away.name not in cluster.streams(node)["e1"]["observers"]
                               for node in cluster.nodes), 15.0, "others observe e1")
        assert set(cluster.streams(away)["e1"]["observers"]) == {n.name for n in others}
        for number in range(3):
            cached_tokens(cluster.engines[0].address, prompt_body(long_text(f"+{number}", 100)))
        streams = cluster.wait_exact("e1")
        assert (streams["e1"]["blocks"], streams["e1"]["base"]) == (54, 0)
        assert not cluster.streams(away)["e1"]["observing"]
