"""dualmeshctl watch beside a mesh whose nodes die and come back."""

import json
import signal
import subprocess
import threading

from cluster import wait_until


class Watching:
    """`watch --json` under way; its objects so far."""

    def __init__(self, cluster, node, *flags):
        self.process = subprocess.Popen(
            [cluster.program("dualmeshctl"), "--node", node.mesh_address, "watch", "--json",
             "--interval", "200ms", *flags], stdout=subprocess.PIPE, text=True)
        self.rounds = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.rounds.append(json.loads(line))

    def events(self):
        return [event["text"] for seen in list(self.rounds) for event in seen["events"]]

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(10)
        self._reader.join()
        return status


def test_watch_tells_of_a_death_and_of_the_return(make_cluster):
    cluster = make_cluster().start(nodes=3, engines=2)
    r1, _, r3 = cluster.nodes
    watching = Watching(cluster, r1)
    try:
        wait_until(lambda: len(watching.rounds) >= 3, 10.0, "watch has looked three times")
        last = watching.rounds[-1]
        assert last["verdict"] == "CONVERGED" and last["missing"] == []
        assert [node["name"] for node in last["nodes"]] == ["r1", "r2", "r3"]
        for node in last["nodes"]:
            assert node["reached"] and node["ready"] and node["behind"] == 0, node
            assert node["rings_agree"] and node["registry_agrees"] and node["depth_agrees"], node
            assert node["ack_p99_ms"] > 0 and node["sent_bytes_per_s"] >= 0, node

        r3.process.kill()
        wait_until(lambda: any(e.startswith("UNREACHED: r3") for e in watching.events()), 10.0,
                   "watch says that r3 is not reached")
        wait_until(lambda: "r3 is no living member any more: 2 now" in watching.events(), 10.0,
                   "watch says that r3 is gone")
        wait_until(lambda: watching.rounds[-1]["converged"], 10.0, "the two others agree")
        assert [node["name"] for node in watching.rounds[-1]["nodes"]] == ["r1", "r2"]
        assert any(e.startswith("CONVERGED again after ") for e in watching.events())

        r3.start()
        wait_until(lambda: "r3 is a living member: 3 now" in watching.events(), 10.0,
                   "watch says that r3 is back")
        wait_until(lambda: watching.rounds[-1]["converged"] and
                   len(watching.rounds[-1]["nodes"]) == 3, 20.0, "all three agree again")
    finally:
        assert watching.interrupt() == 0


def test_watch_goes_on_when_the_node_that_it_asks_dies(make_cluster):
    cluster = make_cluster().start(nodes=3, engines=2)
    r1 = cluster.nodes[0]
    watching = Watching(cluster, r1)
    try:
        wait_until(lambda: len(watching.rounds) >= 2, 10.0, "watch has looked twice")
        r1.process.kill()
        wait_until(lambda: [node["name"] for node in watching.rounds[-1]["nodes"]] == ["r2", "r3"]
                   and watching.rounds[-1]["converged"], 20.0, "r2 and r3 are watched through one")
        assert any(seen["verdict"] == "UNREACHED" for seen in watching.rounds)
    finally:
        assert watching.interrupt() == 0


def test_one_look_as_text_has_no_control_characters(make_cluster):
    cluster = make_cluster().start(nodes=2, engines=1)
    seen = []

    def converged():
        seen.append(cluster.ctl(cluster.nodes[0], "watch", "--once"))
        return seen[-1].returncode == 0

    wait_until(converged, 10.0, "watch --once finds the mesh converged")
    text = seen[-1].stdout
    assert "\x1b" not in text
    assert text.startswith("mesh: 2 nodes, ") and ", CONVERGED at " in text.splitlines()[0]
    assert [line.split()[0] for line in text.splitlines()[1:4]] == ["node", "r1", "r2"]
