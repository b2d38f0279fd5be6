"""Real processes on a network whose wires are cut: parted, one-way, silent and lossy."""

import time

import pytest
from checks import all_alive, deaths, finish_clean, rejoin, serve, succeed, wait_dead
from cluster import wait_until
from namespaces import network_cluster


@pytest.fixture(name="mesh", scope="module")
def mesh_fixture():
    """Five nodes in namespaces of their own, shared by the tests of this file."""
    with network_cluster(nodes=5, engines=4) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def whole_again(mesh):
    """Every test begins and ends with a whole mesh, reached without an operator."""
    yield
    mesh.network.heal()
    rejoin(mesh)


def test_both_sides_of_a_partition_serve_and_agree_after_it(mesh):
    left, right = mesh.nodes[:2], mesh.nodes[2:]
    replays = [mesh.start_replay(side, requests=300, qps=2, name=name)
               for side, name in ((left, "left"), (right, "right"))]
    time.sleep(1.0)
    mesh.part(left, right)
    parted_at = time.monotonic()
    wait_dead(mesh, left, right, parted_at)
    wait_dead(mesh, right, left, parted_at)
    for side in (left, right):
        for node in side:
            status = mesh.ask(node, "status")
            assert status["ready"]
            assert (status["members_alive"], status["members_known"]) == (len(side), 5)
        lag = mesh.ask(side[0], "lag")
        assert {node["name"] for node in lag["nodes"]} == {node.name for node in side}

    # Each side takes commands that the other cannot hear.
    succeed(mesh, left[0], "instance", "drain", "e1")
    succeed(mesh, left[1], "policy", "set", "round_robin")
    succeed(mesh, right[0], "instance", "remove", "e4")
    for side in (left, right):
        mesh.wait_converged(node=side[0])
    assert serve(left, 24, "left side") == {"e2", "e3", "e4"}
    assert "e4" not in serve(right, 24, "right side")
    assert mesh.instances(right[0])["e1"]["lifecycle"] == "active"
    time.sleep(max(0.0, parted_at + 10.0 - time.monotonic()))

    mesh.network.heal()
    healed_at = time.monotonic()
    rejoin(mesh)
    print(f"whole {time.monotonic() - healed_at:.2f} s after the heal")
    for node in mesh.nodes:
        lifecycles = {name: i["lifecycle"] for name, i in mesh.instances(node).items()}
        assert lifecycles["e1"] == "draining" and lifecycles.get("e4", "removed") == "removed"
        assert mesh.ask(node, "policy")["policy"] == "round_robin"
    assert serve(mesh.nodes, 30, "after it") == {"e2", "e3"}
    for replay in replays:
        finish_clean(replay)
    mesh.wait_idle()

    succeed(mesh, left[0], "instance", "resume", "e1")
    succeed(mesh, right[0], "instance", "add", "e4", mesh.engines[3].address)
    succeed(mesh, left[0], "policy", "set", "dualmap")


def test_a_one_way_cut_kills_nobody(mesh):
    r1, r2 = mesh.nodes[:2]
    before = deaths(mesh)
    replay = mesh.start_replay(mesh.nodes, requests=120, qps=2, name="one-way")
    mesh.network.cut([1], [2])
    wait_until(lambda: not mesh.members(r1)["r2"]["linked"], 10.0, "r1 has lost its link to r2")
    succeed(mesh, r1, "instance", "drain", "e2")
    wait_until(lambda: mesh.instances(r2)["e2"]["lifecycle"] == "draining", 5.0,
               "r2 hears through the others what r1 was told")
    succeed(mesh, r2, "instance", "resume", "e2")
    wait_until(lambda: mesh.instances(r1)["e2"]["lifecycle"] == "active", 5.0, "and back")
    finish_clean(replay)
    assert all_alive(mesh)
    assert deaths(mesh) == before


def test_a_silent_host_is_dead_in_time_and_returns(mesh):
    silent, others = mesh.nodes[4], mesh.nodes[:4]
    replay = mesh.start_replay(others, requests=120, qps=2, name="silent")
    mesh.network.silence(5)
    silent_at = time.monotonic()
    wait_dead(mesh, others, [silent], silent_at)
    time.sleep(max(0.0, silent_at + 8.0 - time.monotonic()))
    mesh.network.heal()
    healed_at = time.monotonic()
    rejoin(mesh)
    print(f"back {time.monotonic() - healed_at:.2f} s after the heal")
    finish_clean(replay)
    serve([silent], 5, "once silent")


def test_a_lossy_network_kills_nobody(mesh):
    before = deaths(mesh)
    mesh.network.lose(5)
    replay = mesh.start_replay(mesh.nodes, requests=200, qps=2, name="lossy")
    succeed(mesh, mesh.nodes[0], "instance", "drain", "e3")
    mesh.wait_converged()
    succeed(mesh, mesh.nodes[4], "instance", "resume", "e3")
    finish_clean(replay)
    mesh.wait_converged()
    assert all_alive(mesh)
    assert deaths(mesh) == before
