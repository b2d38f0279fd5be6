"""Wires that are slow, narrow, stall and break: slow is not dead, and broken heals."""

import pytest
from checks import all_alive, deaths, finish_clean, rejoin, serve, succeed
from cluster import MESH_PORT, Cluster, wait_until
from slow_link import SlowLink


class SlowCluster(Cluster):
    """Whoever dials a node does so through the relay before it: `links` has one per node."""

    def __init__(self):
        super().__init__()
        self.links = []

    def link_host(self, index):
        return f"{self._subnet}.{index + 51}"

    def new_node(self, seeds, flags=()):
        index = len(self.nodes)
        entrance = f"{self.link_host(index)}:{MESH_PORT}"
        link = SlowLink(entrance, f"{self.node_host(index)}:{MESH_PORT}")
        self.links.append(link)
        self.on_stop(link.close)
        relays = [self.link_host(i) for i in range(len(seeds))]
        return super().new_node(relays, [*flags, "--mesh.advertise", entrance])

    def set_wires(self, **properties):
        for link in self.links:
            link.play([(0.0, properties)])


@pytest.fixture(name="mesh", scope="module")
def mesh_fixture():
    with SlowCluster() as cluster:
        cluster.keep_logs = False
        yield cluster.start(nodes=3, engines=4)
        assert all(link.bytes_passed > 0 for link in cluster.links)


@pytest.fixture(autouse=True)
def whole_again(mesh):
    yield
    mesh.set_wires(latency_s=0.0, bytes_per_s=0.0, stalled=False)
    rejoin(mesh)


@pytest.mark.parametrize("wires", [{"latency_s": 0.15}, {"bytes_per_s": 20_000.0}],
                         ids=["latency", "bandwidth"])
def test_slow_wires_kill_nobody_and_lose_nothing(mesh, wires):
    before = deaths(mesh)
    mesh.set_wires(**wires)
    replay = mesh.start_replay(mesh.nodes, requests=150, qps=2, name=next(iter(wires)))
    succeed(mesh, mesh.nodes[0], "instance", "drain", "e1")
    wait_until(lambda: all(mesh.instances(node)["e1"]["lifecycle"] == "draining"
                           for node in mesh.nodes), 5.0, "every node knows it")
    succeed(mesh, mesh.nodes[2], "instance", "resume", "e1")
    finish_clean(replay)
    mesh.wait_converged()
    assert all_alive(mesh) and deaths(mesh) == before


def test_wires_that_stall_and_break_for_a_moment_kill_nobody(mesh):
    before = deaths(mesh)
    replay = mesh.start_replay(mesh.nodes, requests=150, qps=2, name="moments")
    for _ in range(3):
        mesh.links[2].play([(0.6, {"stalled": True}), (1.0, {"stalled": False}),
                            (1.0, {"reset": True})])
    finish_clean(replay)
    rejoin(mesh)
    assert deaths(mesh) == before


def test_a_node_that_is_heard_but_not_reached_stays_alive(mesh):
    r1, r2, r3 = mesh.nodes
    before = deaths(mesh)
    mesh.links[2].play([(0.0, {"stalled": True})])
    for node in (r1, r2):
        wait_until(lambda n=node: not mesh.members(n)["r3"]["linked"], 10.0,
                   f"{node.name} gives up its link to r3")
    serve(mesh.nodes, 9, "stalled")
    assert all_alive(mesh) and deaths(mesh) == before
