"""A node that stands still for ten seconds, and one whose clock is set while it runs."""

import http.client
import json
import signal
import time
from pathlib import Path

import pytest
from checks import all_alive, deaths, finish_clean, rejoin, serve, succeed, wait_dead
from cluster import Cluster, chat_body, wait_until

PAUSE_S = 10.0


class FakeClock:
    """The wall clock of one process, set by a file; its monotonic clock stays true."""

    def __init__(self, directory):
        libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not libraries:
            pytest.skip("libfaketime is not installed (package faketime)")
        self._library = libraries[0]
        self._file = directory / "clock"
        self.set("+0")

    def wrap(self, argv):
        return ["env", f"LD_PRELOAD={self._library}", f"FAKETIME_TIMESTAMP_FILE={self._file}",
                "FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_CACHE_DURATION=1", *argv]

    def set(self, offset):
        part = self._file.with_suffix(".part")
        part.write_text(f"{offset}\n")
        part.replace(self._file)


@pytest.fixture(name="mesh", scope="module")
def mesh_fixture():
    """Three nodes; `mesh.clock` sets the clock of r3."""
    with Cluster() as cluster:
        cluster.keep_logs = False
        cluster.clock = FakeClock(cluster.directory)
        plan = cluster.plan_node

        def plan_node(name, host, flags=()):
            node = plan(name, host, flags)
            if name == "r3":
                node.wrap = cluster.clock.wrap
            return node

        cluster.plan_node = plan_node
        yield cluster.start(nodes=3, engines=4)


@pytest.fixture(autouse=True)
def whole_again(mesh):
    yield
    mesh.clock.set("+0")
    for node in mesh.nodes:
        node.process.signal(signal.SIGCONT)
    rejoin(mesh)


def open_stream(node, tokens):
    connection = http.client.HTTPConnection(*node.http.rsplit(":", 1), timeout=60)
    connection.request("POST", "/v1/chat/completions",
                       json.dumps(chat_body("a long one", stream=True, max_tokens=tokens)),
                       {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 200
    return answer


def test_a_paused_node_is_dead_in_time_and_goes_on_where_it_was(mesh):
    r1, r2, r3 = mesh.nodes
    before = deaths(mesh)
    stream = open_stream(r2, 2_000)
    replay = mesh.start_replay([r1, r3], requests=300, qps=2, name="pause")
    time.sleep(0.5)
    r2.process.signal(signal.SIGSTOP)
    stopped_at = time.monotonic()
    wait_dead(mesh, [r1, r3], [r2], stopped_at)
    time.sleep(stopped_at + PAUSE_S - time.monotonic())
    r2.process.signal(signal.SIGCONT)
    continued_at = time.monotonic()
    rejoin(mesh)
    print(f"whole {time.monotonic() - continued_at:.2f} s after it went on")
    # It had heard nobody for ten seconds, and knew that this was its own doing.
    assert deaths(mesh)[1] == before[1]
    assert stream.read().rstrip().endswith(b"[DONE]")
    serve([r2], 5, "after the pause")
    finish_clean(replay)
    mesh.wait_idle()


def lifecycles(mesh, name):
    return [mesh.instances(node)[name]["lifecycle"] for node in mesh.nodes]


def step_clock(mesh, offset_s):
    """Sets the clock of r3 and waits until the others have measured it."""
    mesh.clock.set(f"{offset_s:+d}")
    for node in mesh.nodes[:2]:
        wait_until(lambda n=node: abs(mesh.members(n)["r3"]["clock_offset_ms"] -
                                      1_000 * offset_s) < 500,
                   6.0, f"{node.name} measures the clock of r3")


@pytest.mark.parametrize("offset_s", [30, -30])
def test_commands_keep_their_order_though_a_clock_is_set(mesh, offset_s):
    r1, r2, r3 = mesh.nodes
    before = deaths(mesh)
    replay = mesh.start_replay(mesh.nodes, requests=100, qps=2, name=f"clock{offset_s}")
    step_clock(mesh, offset_s)
    for node, command, wanted in ((r3, "drain", "draining"), (r2, "resume", "active"),
                                  (r1, "drain", "draining"), (r3, "resume", "active")):
        succeed(mesh, node, "instance", command, "e1")
        mesh.wait_converged()
        assert lifecycles(mesh, "e1") == [wanted] * 3
    mesh.clock.set("+0")
    finish_clean(replay)
    assert all_alive(mesh) and deaths(mesh) == before


def test_a_clock_two_hours_ahead_is_named_and_changes_nothing_elsewhere(mesh):
    r1, r2, r3 = mesh.nodes
    before = deaths(mesh)
    step_clock(mesh, 7_200)
    succeed(mesh, r3, "instance", "drain", "e1")
    for node in (r1, r2):
        wait_until(lambda n=node: any("clock of r3" in text
                                      for text in mesh.ask(n, "status")["refusals"]),
                   5.0, f"{node.name} says whose clock it refuses")
    assert lifecycles(mesh, "e1") == ["active", "active", "draining"]
    serve(mesh.nodes, 9, "clocks disagree")
    assert all_alive(mesh) and deaths(mesh) == before
    mesh.clock.set("+0")
    r3.process.stop()
    r3.start()
    r3.wait_ready()
    wait_until(lambda: lifecycles(mesh, "e1") == ["active"] * 3, 5.0,
               "r3 takes what the others have")
