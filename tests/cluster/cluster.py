"""A cluster for tests: real engines and nodes on addresses of their own, a DNS name, replays.

Built on deploy/lib. Every cluster has a /24 of 127.0.0.0/8 to itself, so fixed ports never clash.
"""

import http.client
import itertools
import json
import os
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS.parent / "deploy" / "lib"), str(TESTS / "lib")]

# pylint: disable=wrong-import-position
from dns import NameServer, PrivateResolver  # noqa: E402
from mesh import (HTTP_PORT, MESH_PORT, ROOT, LocalMesh, instance_flags,  # noqa: E402,F401
                  seed_flags, time_flags)
from process import LocalError, wait_until  # noqa: E402,F401
from run_number import run_number  # noqa: E402

NAME = "dualmesh.test"
MODEL = "sim"
_subnets = itertools.count()
RUNNING = []  # every cluster that has not been stopped


class Cluster(LocalMesh):
    """A LocalMesh with addresses, a name server and replays."""

    def __init__(self, speed=10.0, flags=(), engine_flags=()):
        super().__init__(os.environ.get("DUALMESH_BIN", ROOT / "build" / "bin"), keep_logs=True)
        self.speed = speed
        self._subnet = f"127.{40 + run_number()}.{next(_subnets)}"
        self._flags = list(flags)
        self._engine_flags = list(engine_flags)
        self.name_server = None
        self.resolver = None
        RUNNING.append(self)
        self.on_stop(lambda: RUNNING.remove(self))

    def node_host(self, index):
        return f"{self._subnet}.{index + 1}"

    def new_engine(self, models=(MODEL,)):
        index = len(self.engines)
        engine = self.add_engine(f"e{index + 1}", f"{self._subnet}.{index + 101}", self.speed,
                                 models, self._engine_flags)
        engine.wait_ready()
        return engine

    def new_node(self, seeds, flags=()):
        index = len(self.nodes)
        return self.add_node(f"r{index + 1}", self.node_host(index),
                             [*seed_flags(seeds), *time_flags(self.speed), *self._flags, *flags])

    def start(self, nodes, engines, flags_of=lambda name: []):
        """`engines` instances in the configuration of `nodes` nodes; returns when all agree."""
        for _ in range(engines):
            self.new_engine()
        hosts = [self.node_host(i) for i in range(nodes)]
        for i in range(nodes):
            self.new_node(hosts, [*instance_flags(self.engines), *flags_of(f"r{i + 1}")])
        self.wait_all_ready()
        return self

    def wait_all_ready(self):
        for node in self.nodes:
            node.wait_ready()
        self.wait_converged()
        for node in self.nodes:
            wait_until(lambda n=node: all(i["models"] and i["healthy"]
                                          for i in self.ask(n, "instances")),
                       10.0, f"{node.name} knows what the instances serve")

    def wait_converged(self, node=None, timeout="10s"):
        done = self.ctl(node or self.nodes[0], "wait-converged", "--timeout", timeout)
        assert done.returncode == 0, done.stdout + done.stderr

    def start_dns(self, hosts=None):
        server = f"{self._subnet}.253"
        self.name_server = NameServer(self.directory, server, NAME)
        self.on_stop(self.name_server.stop)
        self.name_server.start(hosts or [node.host for node in self.nodes])
        self.resolver = PrivateResolver(self.directory, server)

    def run_resolved(self, name, argv):
        """Starts a program that resolves names at our name server."""
        return self.spawn(name, self.resolver.wrap(argv))

    def start_replay(self, target, requests, qps, name="replay",
                     workload=("--generate", "multi-turn"), flags=()):
        """A replay in the background; `target` is a list of nodes, or None for the DNS name."""
        results = self.directory / f"{name}.json"
        where = (["--dns", f"{NAME}:{HTTP_PORT}"] if target is None
                 else ["--target", ",".join(node.http for node in target)])
        argv = [self.program("dualmesh-replay"), "live", *where, *workload, *flags, "--model", MODEL, "--requests", requests, "--qps", qps, "--speed", self.speed,
                "--scrape", ",".join(engine.address for engine in self.engines),
                "--json", results]
        process = self.run_resolved(name, argv) if target is None else self.spawn(name, argv)
        return Replay(process, results)

    def members(self, node):
        return {member["name"]: member for member in self.ask(node, "members")}

    def instances(self, node):
        return {instance["name"]: instance for instance in self.ask(node, "instances")}

    def wait_idle(self, timeout_s=10.0):
        """Every counter of work in progress is back at zero, on every node."""
        for node in self.nodes:
            if node.process.alive():
                wait_until(lambda n=node: self._idle(n), timeout_s, f"{node.name} is idle")

    def _idle(self, node):
        status = self.ask(node, "status")
        gauges = [status["requests_live"], status["held_body_bytes"]]
        for instance in self.ask(node, "instances"):
            gauges += list(instance["own"].values()) + list(instance["others"].values())
        return not any(gauges)


class Replay:
    """A replay under way."""

    def __init__(self, process, results):
        self.process = process
        self._results = results

    def finish(self, timeout_s=180.0):
        status = self.process.wait(timeout_s)
        assert self._results.exists(), f"status {status}: {self.process.log_tail()}"
        return json.loads(self._results.read_text())


def post(address, path, body, headers=None, timeout_s=30.0):
    """(status, headers, text) of one POST on a connection of its own."""
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=timeout_s)
    try:
        data = body if isinstance(body, (bytes, str)) else json.dumps(body)
        connection.request("POST", path, data,
                           {"Content-Type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode(errors="replace")
    finally:
        connection.close()


def chat_body(text="Hello", **more):
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 4,
            **more}
