"""Every case of the smuggling table, and chance changes of them, raw: through our listener, through
nginx and HAProxy, and through each of them with a node behind. Nothing that they and we frame
differently.

What one refuses and another takes is no matter. What both take must be the same requests, and behind
another proxy nothing may reach the instance that the proxy alone would not have sent.

DUALMESH_CHANGED_CASES and DUALMESH_SEED in the environment make a longer search of it.
"""

import os
import re
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from cluster import Cluster, wait_until
from framing_instance import MARK, FramingInstance
from front_proxies import STARTERS, program
from wire_cases import changed_cases, wire_cases

SENTINEL = b"GET /v1/end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
END = (b"GET", b"/v1/end", b"")
SILENCE_S = 2.0
CHANGED = int(os.environ.get("DUALMESH_CHANGED_CASES", "300"))
SEED = int(os.environ.get("DUALMESH_SEED", "1"))
OTHERS = ["nginx", "haproxy"]
_ANSWER = re.compile(rb"HTTP/1\.[01] (\d{3})[^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")


class Path:
    """A way to an instance of its own."""

    def __init__(self, address, instance):
        self.address = address
        self.instance = instance

    def send(self, raw):
        """What came of one connection: (answers, "closed" or "waits"). An answer is the request as
        the instance saw it, or the status of a refusal."""
        self.instance.take()
        host, port = self.address.rsplit(":", 1)
        received, end = b"", "closed"
        try:
            with socket.create_connection((host, int(port)), timeout=SILENCE_S) as client:
                client.sendall(raw + SENTINEL)
                while piece := client.recv(65536):
                    received += piece
        except TimeoutError:
            end = "waits"
        except ConnectionError:
            pass
        reached = iter(self.instance.take())
        answers = []
        for status, fields in _ANSWER.findall(received):
            if status != b"100":
                answers.append(next(reached) if MARK in fields.lower() else int(status))
        return answers, end, list(reached)


def differ(ours, theirs):
    """Why two ways to frame one connection are not the same; None when they are."""
    (our_answers, our_end, _), (their_answers, their_end, _) = ours, theirs
    for mine, other in zip(our_answers, their_answers):
        if isinstance(mine, tuple) and isinstance(other, tuple) and mine != other:
            return f"{mine} and {other}"
    (short, end), (long, _) = sorted([(our_answers, our_end), (their_answers, their_end)],
                                     key=lambda one: len(one[0]))
    if (end == "waits" and not refused(short) and len(short) < len(long)
            and isinstance(long[len(short)], tuple)):
        return f"one waits where the other goes on: {our_answers} and {their_answers}"
    return None


def refused(answers):
    return bool(answers) and isinstance(answers[-1], int)


def is_within(few, many):
    """Is `few` what is left of `many` when some are taken out?"""
    rest = iter(many)
    return all(any(one == other for other in rest) for one in few)


@pytest.fixture(name="paths", scope="module")
def paths_fixture():
    """{name: Path}; those of programs that are not installed are missing."""
    with Cluster(speed=1.0) as cluster:
        instances = []

        def path_through(*hops):
            instances.append(FramingInstance())
            address = instances[-1].address
            for hop in reversed(hops):
                address = (start_node(cluster, address) if hop == "node"
                           else STARTERS[hop](cluster, "-".join(hops), address))
            wait_until(lambda: Path(address, instances[-1]).send(b"")[0][-1:] ==
                       [END], 20.0, f"the way through {hops} is open")
            return Path(address, instances[-1])

        paths = {"node": path_through("node")}
        for name in OTHERS:
            if program(name):
                paths[name] = path_through(name)
                paths[f"{name}, node"] = path_through(name, "node")
        yield paths
        for instance in instances:
            instance.stop()


def start_node(cluster, instance):
    number = len(cluster.nodes)
    node = cluster.new_node([cluster.node_host(number)],
                            ["--mesh.alone", "true", "--instance",
                             f"name=e{number},address={instance}"])
    node.wait_ready()
    return node.http


@pytest.fixture(name="outcomes", scope="module")
def outcomes_fixture(paths):
    """{path: {case: outcome}}: the ways side by side, on each of them one case after the other."""
    cases = wire_cases() | changed_cases(CHANGED, SEED)
    with ThreadPoolExecutor(len(paths)) as pool:
        found = pool.map(lambda path: {name: path.send(raw) for name, raw in cases.items()},
                         paths.values())
        return dict(zip(paths, found))


def test_the_rules_find_what_they_are_for():
    one, two = (b"POST", b"/v1/x", b"ab"), (b"GET", b"/v1/y", b"")
    split = [(b"POST", b"/v1/x", b""), two]
    assert differ(([one], "closed", []), ([one, two], "closed", [])) is None
    assert differ(([one], "waits", []), ([one, two], "closed", []))
    assert differ(([one, two], "closed", []), (split, "closed", []))
    assert differ(([400], "closed", []), (split, "closed", [])) is None
    assert differ(([413], "closed", []), ([], "waits", [])) is None
    assert is_within([two], split) and not is_within([two, two], split)


@pytest.mark.parametrize("other", OTHERS)
def test_nothing_is_framed_differently(outcomes, other):
    if other not in outcomes:
        pytest.skip(f"{other} is not installed")
    ours, theirs = outcomes["node"], outcomes[other]
    faults = {case: differ(ours[case], theirs[case]) for case in ours}
    both = sum(bool(ours[case][0]) and not refused(ours[case][0]) and not refused(theirs[case][0])
               for case in ours)
    they_alone = sum(refused(ours[case][0]) and not refused(theirs[case][0]) for case in ours)
    we_alone = [case for case in ours if refused(theirs[case][0]) and not refused(ours[case][0])]
    print(f"{other}: {len(ours)} cases, taken by both {both}, by {other} alone {they_alone}, "
          f"by us alone {len(we_alone)}:", *we_alone, sep="\n  ")
    assert {case: fault for case, fault in faults.items() if fault} == {}
    assert both > 50


@pytest.mark.parametrize("other", OTHERS)
def test_behind_another_proxy_nothing_more_reaches_the_instance(outcomes, other):
    if other not in outcomes:
        pytest.skip(f"{other} is not installed")
    chain, alone = outcomes[f"{other}, node"], outcomes[other]
    more = {}
    for case, (answers, _, unanswered) in chain.items():
        reached = [one for one in answers + unanswered if isinstance(one, tuple)]
        sent = [one for one in alone[case][0] + alone[case][2] if isinstance(one, tuple)]
        if refused(alone[case][0]):
            sent.append(END)  # a node's refusal may come before the proxy's own, and spare the rest
        if not is_within(reached, sent):
            more[case] = (reached, sent)
    assert more == {}


@pytest.mark.parametrize("path", ["node", "nginx, node", "haproxy, node"])
def test_what_a_node_sends_is_said_in_one_way(outcomes, path):
    if path not in outcomes:
        pytest.skip(f"{path.split(',')[0]} is not installed")
    for case, (answers, _, unanswered) in outcomes[path].items():
        for one in answers + unanswered:
            assert isinstance(one, int) or one[0] not in (b"AMBIGUOUS", b"CUT"), (case, one)
