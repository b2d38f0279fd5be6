"""What dualmeshctl says of caches, and of questions about them that make no sense."""

import subprocess

import pytest
from cluster import wait_until
from kv_cluster import KvCluster, cached_tokens, long_text, prompt_body


@pytest.fixture(name="cluster", scope="module")
def cluster_fixture():
    with KvCluster() as cluster:
        cluster.keep_logs = False
        cluster.kv_engine(ranks=2)
        cluster.new_engine()  # publishes nothing
        cluster.start_nodes(2)
        for number in range(8):
            cached_tokens(cluster.engines[0].address, prompt_body(long_text(number, 100)))
        cluster.wait_exact("e1/0", "e1/1")
        yield cluster


def said(cluster, *arguments, status=0):
    done = cluster.ctl(cluster.nodes[0], *arguments)
    assert done.returncode == status, done.stdout + done.stderr
    assert max(map(len, done.stdout.splitlines()), default=0) <= 100, done.stdout
    return done.stdout if status == 0 else done.stderr


def test_kv_has_a_line_for_every_rank_and_what_it_costs(cluster):
    streams = cluster.streams(cluster.nodes[0])
    assert set(streams) == {"e1/0", "e1/1"}
    lines = said(cluster, "kv").splitlines()
    assert lines[0].split() == ["instance", "known", "blocks", "of", "tokens", "batch",
                                "observers", "subscribed", "changes/s", "from", "it", "error"]
    for name, line in zip(("e1/0", "e1/1"), lines[1:]):
        stream = streams[name]
        *said_first, observers = line.split()[:6]
        assert said_first == [name, "exact", str(stream["blocks"]), "16", str(stream["end"])], line
        assert sorted(observers.split(",")) == ["r1", "r2"], line
    assert sum(stream["blocks"] for stream in streams.values()) == 8 * 6
    assert "index: 48 blocks in " in "\n".join(lines)


def test_kv_of_one_instance_tells_everything(cluster):
    text = said(cluster, "kv", "e1")
    for rank in range(2):
        stream = cluster.streams(cluster.nodes[0])[f"e1/{rank}"]
        assert f"e1, rank {rank}: exact\n" in text
        assert f"({len(stream['received'])}" not in text
        assert f"{stream['digest_sum']:016x}" in text and str(stream["epoch"]) in text
    told = cluster.ask(cluster.nodes[0], "kv", "e1")
    assert [stream["rank"] for stream in told["streams"]] == [0, 1]
    assert [stream["events"] for stream in told["streams"]] == [
        line.split()[1] for line in text.splitlines() if line.split()[0] == "events"]
    for stream in told["streams"]:
        assert stream["replay"] in text and stream["topic"] == "" and stream["remarks"] == []
        assert stream["rates_known"] in (True, False) and "events_per_s" in stream
    # Both nodes observe, and say the same of the engine.
    assert {stream["observing"] for node in cluster.nodes
            for stream in cluster.streams(node).values()} == {True}


@pytest.mark.parametrize("name", ["e2", "nobody"])
def test_an_instance_without_events_is_told_with_what_to_do(cluster, name):
    text = said(cluster, "kv", name, status=2)
    assert f"{name} is no instance with an address for KV events; give it one: " in text
    assert f"dualmeshctl instance add {name} " in text and "--kv-events tcp://HOST:PORT" in text


@pytest.mark.parametrize("ends, reason", [
    ("tcp://0.0.0.0:5557", "must name a host that can be dialled: not 0.0.0.0"),
    ("tcp://*:5557", "must name a host that can be dialled"),
    ("127.0.0.1:5557", "must be tcp://HOST:PORT"),
    ("tcp://127.0.0.1:5557,replay=tcp://127.0.0.1:5557", "must be another address than events"),
    ("tcp://127.0.0.1:5557,ranks=0", "must be from 1 to"),
    ("tcp://127.0.0.1:5557,replay=tcp://127.0.0.1:5558,ranks=2", "overlap"),
    ("tcp://127.0.0.1:5557,colour=red", "'colour' is no part of an address for KV events"),
    ("tcp://127.0.0.1:5557,", "ends in a comma"),
])
def test_an_endpoint_that_makes_no_sense_is_refused_with_the_reason(cluster, ends, reason):
    before = cluster.instances(cluster.nodes[0])["e2"]
    text = said(cluster, "instance", "add", "e2", cluster.engines[1].address, "--kv-events", ends,
                status=2)
    assert reason in text, text
    assert cluster.instances(cluster.nodes[0])["e2"]["kv_events"] == before["kv_events"] == ""


def test_the_state_of_caches_is_compared_and_shown_beside_the_rest(cluster):
    r1 = cluster.nodes[0]
    assert "r1 and r2 hold the same" in said(cluster, "diff", "r1", "r2")
    assert "converged: 2 nodes hold the same" in said(cluster, "wait-converged")
    lag = {line.split()[0]: line.split()[1:] for line in said(cluster, "lag").splitlines() if line}
    for name, stream in cluster.streams(r1).items():
        assert lag["kv/" + name] == ["engine", str(stream["end"]), "·", "·"]


def test_events_can_be_given_to_an_instance_and_taken_away(cluster):
    r1, r2 = cluster.nodes
    e1 = cluster.engines[0]
    text = said(cluster, "instance", "add", "e1", e1.address)
    changed, *events = text.splitlines()
    assert changed == "e1 changed: it was there already"
    assert " ".join(" ".join(events).split()) == (
        f"its KV events were at {e1.kv} and are not heard any more: its cache is predicted; "
        "to keep them, give --kv-events again")
    for node in (r1, r2):
        wait_until(lambda n=node: not cluster.streams(n), 5.0, "no caches are known")
    text = said(cluster, "kv")
    assert "no instance has an address for KV events, so caches are predicted" in text
    said(cluster, "instance", "add", "e1", e1.address, "--kv-events", e1.kv)
    assert sum(each["blocks"] for each in cluster.wait_exact("e1/0", "e1/1").values()) == 48


def test_two_instances_at_one_address_are_refused_by_name(cluster):
    e1, e2 = cluster.engines
    host = e1.address.split(":")[0]
    topics = "engines at one address must have topics that tell them apart"
    for ends, why in (
            (e1.kv, topics), (f"tcp://{host}:5558", topics),
            (f"tcp://127.0.0.1:5557,replay=tcp://{host}:6558",
             "one replay address cannot serve two instances"),
            (f"tcp://{host}:6558", "one is heard there, the other asked for replay")):
        text = said(cluster, "instance", "add", "e2", e2.address, "--kv-events", ends, status=2)
        assert "kv_events of e2: e1 already has the address tcp://" in text, text
        assert why in text, text
    assert cluster.instances(cluster.nodes[0])["e2"]["kv_events"] == ""
    done = subprocess.run([cluster.program("dualmeshd"), "--check-config", "--mesh.alone", "true",
                           "--instance", f"name=e1,address={e1.address},kv_events={e1.kv}",
                           "--instance", f"name=e2,address={e2.address},kv_events={e1.kv}"],
                          capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2, done.stdout
    assert 'tcp://' in done.stderr and 'is that of "e1" and of "e2"' in done.stderr, done.stderr
