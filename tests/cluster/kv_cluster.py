"""Clusters whose engines publish KV events; what nodes know of caches, beside what engines say."""

import json

from cluster import MODEL, Cluster, post, seed_flags, time_flags, wait_until
from kv_client import Believer, Replay

EVENTS_PORT, REPLAY_PORT = 5557, 6557
COMPLETIONS = "/v1/completions"
BLOCK = 16  # tokens, of all engines here; each 4 bytes of text are one
KNOWN_WITHIN_S = 10.0


class KvMixin:
    """Beside Cluster or NetworkCluster."""

    def kv_engine(self, *flags, models=(MODEL,), replay=True, ranks=1):
        """An engine with events; its `kv` is the instance's kv_events."""
        engine = self.plan_kv_engine(*flags, models=models, replay=replay, ranks=ranks)
        engine.wait_ready()
        return engine

    def plan_kv_engine(self, *flags, models=(MODEL,), replay=True, ranks=1):
        name, host = f"e{len(self.engines) + 1}", self.engine_host(len(self.engines))
        events, replays = f"tcp://{host}:{EVENTS_PORT}", f"tcp://{host}:{REPLAY_PORT}"
        flags = ["--kv-events", events, "--kv-ranks", ranks, *flags]
        if replay:
            flags += ["--kv-replay", replays]
        engine = self.add_engine(name, host, self.speed, models, [str(flag) for flag in flags])
        engine.kv = events + (f",replay={replays}" if replay else "")
        engine.kv += f",ranks={ranks}" if ranks > 1 else ""
        if replay:  # {stream: where it is replayed}
            engine.replays = {name if ranks == 1 else f"{name}/{rank}":
                              f"tcp://{host}:{REPLAY_PORT + rank}" for rank in range(ranks)}
        return engine

    def engine_host(self, index):
        return f"{self._subnet}.{index + 101}"

    def kv_flags(self):
        """The engines so far as instances of a node's configuration."""
        flags = []
        for engine in self.engines:
            kv = getattr(engine, "kv", "")
            flags += ["--instance", f"name={engine.name},address={engine.address}"
                      + (f",kv_events={kv}" if kv else "")]
        return flags

    def kv_node(self, seeds, *flags):
        hosts = [self.node_host(i) for i in range(seeds)]
        return self.new_node(hosts, [*self.kv_flags(), *flags])

    def plan_kv_node(self, seeds):
        """One more node, not started yet."""
        index = len(self.nodes)
        hosts = [self.node_host(i) for i in range(seeds)]
        return self.plan_node(f"r{index + 1}", self.node_host(index),
                              [*seed_flags(hosts), *time_flags(self.speed), *self._flags,
                               *self.kv_flags()])

    def start_nodes(self, count, *flags):
        for _ in range(count):
            self.kv_node(count, *flags)
        self.wait_all_ready()
        return self

    def streams(self, node):
        """{instance, or instance/rank: what `dualmeshctl kv` says of its stream}"""
        kv = self.ask(node, "kv")
        ranked = {each["instance"] for each in kv["streams"] if each["rank"] > 0}
        return {each["instance"] + (f"/{each['rank']}" if each["instance"] in ranked else ""): each
                for each in kv["streams"]}

    def living(self):
        return [node for node in self.nodes if node.process and node.process.alive()]

    def wait_exact(self, *names, nodes=None, timeout_s=KNOWN_WITHIN_S):
        """All these nodes know these streams (all of them) exactly, and alike; one node's streams.

        With replay, also as far as the engine has published.
        """
        nodes = nodes or self.living()
        seen = {}

        def exact():
            seen.clear()
            seen.update({node.name: self.streams(node) for node in nodes})
            wanted = names or seen[nodes[0].name]
            if any(name not in streams for streams in seen.values() for name in wanted):
                return False
            ends = {name: published(replay) for engine in self.engines
                    for name, replay in getattr(engine, "replays", {}).items() if name in wanted}
            return all(len({place(streams[name]) for streams in seen.values()}) == 1 and
                       all(streams[name]["confidence"] == "exact" for streams in seen.values()) and
                       seen[nodes[0].name][name]["end"] == ends.get(
                           name, seen[nodes[0].name][name]["end"])
                       for name in wanted)

        try:
            wait_until(exact, timeout_s, "all know the caches exactly, and alike", pause_s=0.05)
        except Exception as error:
            raise AssertionError(f"{error}\n" + "\n".join(
                f"{node} {name} {each['confidence']} {place(each)} {each['why_not_exact']}"
                for node, streams in seen.items() for name, each in streams.items())) from None
        return seen[nodes[0].name]

    def expected(self, node, body):
        """{instance: cached tokens} as `explain` says for a completion, its tokens given: a node
        that has not routed the text knows none, and nobody is asked for them."""
        path = self.directory / "explained.json"
        path.write_text(json.dumps({**body, "prompt": tokens_of(self.engines[0], body)}))
        told = self.ask(node, "explain", "--prompt-file", path, "--path", COMPLETIONS)
        return {hit["instance"]: hit["hit_tokens"] for hit in told["hits"]}

    def prediction(self, node, instance):
        told = {each["instance"]: each for each in self.ask(node, "kv")["predictions"]}
        return told[instance]


class KvCluster(KvMixin, Cluster):
    pass


def place(stream):
    return tuple(stream[key] for key in ("epoch", "base", "end", "digest_count", "digest_sum"))


def count(stream, name):
    return {each["name"]: each["count"] for each in stream["received"]}[name]


def published(replay):
    """How many batches have been published by the engine that replays there."""
    batches = Replay(replay).batches
    return batches[-1][1] + 1 if batches else 0


def held_blocks(engine):
    """How many blocks the engine holds by its own events, all of which it still has."""
    believer = Believer()
    believer.hear(Replay(engine.replays[engine.name]).events())
    return len(believer.prefixes)


def prompt_body(text, **more):
    return {"model": MODEL, "prompt": text, "max_tokens": 2, **more}


def long_text(tag, tokens=200):
    """A text of so many tokens; texts of other tags have no block in common with it."""
    word = f"{tag}"[:4].ljust(4, "_")
    return word * tokens


def tokens_of(engine, body):
    status, _, text = post(engine.address, "/tokenize", {key: body[key] for key in
                                                         ("model", "prompt")})
    assert status == 200, text
    return json.loads(text)["tokens"]


def cached_tokens(address, body):
    """(cached tokens as the engine reports them, the instance's name or None)"""
    status, headers, text = post(address, COMPLETIONS, body)
    assert status == 200, text
    by_name = {name.lower(): value for name, value in headers.items()}
    cached = json.loads(text)["usage"]["prompt_tokens_details"]["cached_tokens"]
    return cached, by_name.get("x-dualmesh-instance")
