"""KV events of many engines on their way through a mesh of nodes: bytes, time, and a node that joins.

The engines are one process, bench_kv_engines: vLLM's format, 16 tokens per block, batches of 32 blocks
stored and 32 removed. An operation is one block stored or removed.
"""

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cluster"))

# pylint: disable=wrong-import-position
from figures import Figure, Skipped, percentile, trials  # noqa: E402
from load_mesh import nice, programs  # noqa: E402
from mesh import LocalMesh, seed_flags  # noqa: E402
from namespaces import Network, why_not  # noqa: E402
from process import die_with_parent, wait_until  # noqa: E402

ENGINES = 64
OPERATIONS_PER_S = 600  # of each engine
FIRST_PORT = 21_000
MEASURED_S = trials(20.0, quick=6.0)
# Nobody asks for anything, and there is nobody to probe.
QUIET = ["--instances.probe_interval_ms", "60000", "--kv.tokenize", "off"]


class KvEngines:
    """The engines' process, told what to do over its standard input."""

    def __init__(self, mesh, host, count=ENGINES):
        self.host, self.count = host, count
        self._child = subprocess.Popen(
            nice([str(mesh.program("bench_kv_engines")), "--host", host, "--engines", str(count),
                  "--first-port", str(FIRST_PORT)]),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
            preexec_fn=die_with_parent)
        mesh.on_stop(self.stop)
        if self._child.stdout.readline().strip() != "ready":
            raise RuntimeError(f"bench_kv_engines ended, status {self._child.wait(5)}")

    def tell(self, command):
        self._child.stdin.write(command + "\n")
        self._child.stdin.flush()
        return self._child.stdout.readline().strip()

    def sent(self):
        """Of each engine: [batches up to it, ns] since the last `run`."""
        return json.loads(self.tell("sent"))

    def names(self):
        return [f"e{number + 1}" for number in range(self.count)]

    def instance_flags(self):
        """They serve a model that nobody asks for: there is nobody behind the address."""
        flags = []
        for number, name in enumerate(self.names()):
            at = f"tcp://{self.host}:{FIRST_PORT + 2 * number}"
            replay = f"tcp://{self.host}:{FIRST_PORT + 2 * number + 1}"
            flags += ["--instance", f"name={name},address={self.host}:{30_000 + number},"
                      f"model=none,kv_events={at},replay={replay}"]
        return flags

    def stop(self):
        self._child.stdin.close()
        self._child.wait(10)


def known(mesh, node):
    return mesh.ask(node, "kv")["streams"]


def all_exact(mesh, nodes):
    return all(stream["confidence"] == "exact" for node in nodes for stream in known(mesh, node)
               if not stream["instance"].startswith("real-"))  # they store what they are asked


def exchange_counts(mesh, node):
    counts = {count["name"]: int(count["count"]) for count in mesh.ask(node, "kv")["exchange"]}
    return {**counts, "at_s": time.monotonic()}


def start_nodes(mesh, hosts, flags, wrap=lambda index, argv: argv, timeout_s=60):
    for index, host in enumerate(hosts):
        node = mesh.plan_node(f"n{index + 1}", host, [*seed_flags(hosts), *flags])
        node.wrap = lambda argv, at=index: nice(wrap(at, argv))
        node.start()
    for node in mesh.nodes:
        node.wait_ready(timeout_s)
    wait_until(lambda: all_exact(mesh, mesh.nodes), timeout_s, "every node knows every cache")


# Bytes.


class CountedNetwork(Network):
    """What reaches each host is counted as packets of a wire's size: none is put together later."""

    def __init__(self, hosts):
        super().__init__()
        self.hosts = range(1, hosts + 1)
        self._one_packet_each(None, self._outside)
        for host in self.hosts:
            self.add_host(host)
            self._one_packet_each(f"{self._name}-{host}", "eth0")
            for source in ('"host*"', "outside"):
                self._nft(f"add rule bridge faults seen ether type ip iifname {source} "
                          f"oifname host{host} counter")

    @staticmethod
    def _one_packet_each(namespace, link):
        inside = ["-n", namespace] if namespace else []
        subprocess.run(["ip", *inside, "link", "set", link, "gso_max_segs", "1"], check=True)

    def counted(self):
        """Of each host: bytes from other hosts, bytes from outside, with headers of IP and TCP."""
        listed = subprocess.run(
            ["ip", "netns", "exec", self._hub, "nft", "-j", "list", "chain", "bridge", "faults",
             "seen"], capture_output=True, text=True, check=True).stdout
        counts = [part["counter"]["bytes"] for rule in json.loads(listed)["nftables"]
                  if "rule" in rule for part in rule["rule"]["expr"] if "counter" in part]
        return list(zip(counts[::2], counts[1::2]))


class PlainMesh(LocalMesh):
    """Nodes in namespaces of their own: their ports cannot be tried from here."""

    def plan_node(self, name, host, flags=()):
        from mesh import Node  # pylint: disable=import-outside-toplevel
        self.nodes.append(Node(self, name, host, [*flags, "--mesh.insecure", "true"]))
        return self.nodes[-1]


@dataclass
class Traffic:
    into: list  # of each node: bytes per operation of any engine, from nodes and from engines
    operations: int
    took_s: float
    cores: float  # that one node uses
    exchanged: list  # of each node: what it counted

    def mean(self):
        return sum(map(sum, self.into)) / len(self.into)

    def counted(self, name):
        """For each operation and node; the nodes were asked one after the other."""
        rate = sum(counts[name] / counts["at_s"] for counts in self.exchanged)
        return rate * self.took_s / self.operations / len(self.into)


def traffic(nodes, observers):
    network = CountedNetwork(nodes)
    try:
        with PlainMesh(programs()) as mesh:
            engines = KvEngines(mesh, f"{network.subnet}.254")
            engines.tell("fill 4096")
            start_nodes(mesh, [f"{network.subnet}.{host}" for host in network.hosts],
                        ["--kv.observers", str(observers), *QUIET, *engines.instance_flags()],
                        lambda index, argv: network.enter(index + 1, argv))
            engines.tell(f"run {OPERATIONS_PER_S}")
            time.sleep(5.0)
            exchanged = [exchange_counts(mesh, node) for node in mesh.nodes]
            used_s = [cpu_s(node) for node in mesh.nodes]
            before, sent_before, began = network.counted(), operations(engines), time.monotonic()
            time.sleep(MEASURED_S)
            after, sent = network.counted(), operations(engines) - sent_before
            took_s = time.monotonic() - began
            used_s = [cpu_s(node) - was for node, was in zip(mesh.nodes, used_s)]
            exchanged = [{name: count - was[name]
                          for name, count in exchange_counts(mesh, node).items()}
                         for node, was in zip(mesh.nodes, exchanged)]
    finally:
        network.close()
    return Traffic([((now[0] - was[0]) / sent, (now[1] - was[1]) / sent)
                    for now, was in zip(after, before)],
                   sent, took_s, sum(used_s) / took_s / nodes, exchanged)


def cpu_s(node):
    fields = Path(f"/proc/{node.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def operations(engines):
    return 64 * sum(len(sent) for sent in engines.sent())


def kv_bandwidth():
    reason = why_not()
    if reason is not None:
        raise Skipped(reason)
    single = traffic(1, 1)
    alone = single.mean()
    figures = [Figure("kv bytes: one node alone, of each operation", alone, "B"),
               Figure("kv bytes: one node alone, operations", single.operations / single.took_s,
                      "per s")]
    for nodes, observers, target in ((8, 2, 0.4), (8, 1, 0.25), (16, 2, None), (16, 1, None)):
        found = traffic(nodes, observers)
        name = f"kv bytes: {nodes} nodes, {observers} observer{'s'[:observers - 1]}"
        figures += [
            Figure(f"{name}, share", found.mean() / alone, "of alone"),
            Figure(f"{name}, share, most", max(map(sum, found.into)) / alone, "of alone", target),
            Figure(f"{name}, from nodes", sum(p for p, _ in found.into) / nodes / alone,
                   "of alone"),
            Figure(f"{name}, messages alone", found.counted("bytes_received") / alone,
                   "of alone"),
            Figure(f"{name}, changes received", found.counted("changes_received"), "per op"),
            Figure(f"{name}, takeovers", sum(c["takeovers"] for c in found.exchanged), ""),
            Figure(f"{name}, cores of a node", found.cores, "")]
    return figures


# Time.


def steps(mesh, engines):
    addresses = ",".join(node.mesh_address for node in mesh.nodes)
    done = subprocess.run(
        nice([str(mesh.program("bench_mesh_probe")), "kv-steps", "--nodes", addresses,
              "--instances", ",".join(engines.names())]),
        capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout)


def last_had(sent, noted):
    """Milliseconds from each batch until the last node had it; the batches one never had."""
    latencies, lost = [], 0
    firsts = [iter(steps_of_node) for steps_of_node in noted]
    at = [next(first, None) for first in firsts]
    for end, sent_ns in sent:
        for node, first in enumerate(firsts):
            while at[node] is not None and at[node][0] < end:
                at[node] = next(first, None)
        if any(step is None for step in at):
            lost += 1
        else:
            latencies.append((max(step[1] for step in at) - sent_ns) / 1e6)
    return latencies, lost


def propagated(nodes, observers):
    with LocalMesh(programs()) as mesh:
        engines = KvEngines(mesh, "127.0.44.1")
        engines.tell("fill 4096")
        start_nodes(mesh, [f"127.0.43.{index}" for index in range(1, nodes + 1)],
                    ["--kv.observers", str(observers), *QUIET, *engines.instance_flags()])
        engines.tell(f"run {OPERATIONS_PER_S}")
        time.sleep(5.0)
        steps(mesh, engines)  # from here on they note it
        engines.tell(f"run {OPERATIONS_PER_S}")
        time.sleep(MEASURED_S)
        sent = engines.sent()
        engines.tell("stop")
        time.sleep(2.0)
        noted = steps(mesh, engines)
    latencies, lost = [], 0
    for name, of_engine in zip(engines.names(), sent):
        found, never = last_had(of_engine, noted[name])
        latencies += found
        lost += never
    return latencies, lost


def kv_propagation():
    figures = []
    for nodes, target in ((8, 50), (16, None)):
        latencies, lost = propagated(nodes, 2)
        name = f"kv event until the last of {nodes} indexes"
        figures += [Figure(f"{name}, p50", percentile(latencies, 0.50), "ms"),
                    Figure(f"{name}, p99", percentile(latencies, 0.99), "ms", target),
                    Figure(f"{name}, max", percentile(latencies, 1.0), "ms"),
                    Figure(f"{name}, never", lost, f"of {len(latencies) + lost}", 0)]
    return figures


# A node that joins.

HELD = trials(10_000_000, quick=1_000_000)
NODES = 3
PROBES_PER_S = 100


class Prober:
    """Short requests to the nodes in turn, one at a time; when each began, and its milliseconds."""

    def __init__(self, nodes):
        self.taken, self.failed = [], 0
        self._nodes = list(nodes)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self._over.set()
        self._thread.join()

    def _run(self):
        links = [http.client.HTTPConnection(node.http, timeout=10) for node in self._nodes]
        number = 0
        while not self._over.wait(1 / PROBES_PER_S):
            number += 1
            body = json.dumps({"model": "sim", "max_tokens": 1,
                               "prompt": f"{number % 8} begins, and so it goes on " * 60})
            link, began = links[number % len(links)], time.monotonic()
            try:
                link.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
                answer = link.getresponse()
                answer.read()
                self.failed += answer.status != 200
            except OSError:
                link.close()
                self.failed += 1
            self.taken.append((began, 1e3 * (time.monotonic() - began)))

    def between(self, begin, end):
        return [taken for began, taken in self.taken if begin <= began < end]


def kv_join():
    with LocalMesh(programs()) as mesh:
        engines = KvEngines(mesh, "127.0.46.1")
        engines.tell(f"fill {HELD // ENGINES}")
        flags = engines.instance_flags()
        for number in (1, 2):  # who answers, and reports a cache of its own
            host = f"127.0.46.{10 + number}"
            events = f"tcp://{host}:5557", f"tcp://{host}:5558"
            engine = mesh.add_engine(f"real-{number}", host, speed=1000.0, flags=[
                "--kv-events", events[0], "--kv-replay", events[1]])
            engine.wait_ready()
            flags += ["--instance", f"name={engine.name},address={engine.address},"
                      f"kv_events={events[0]},replay={events[1]}"]
        flags += ["--kv.join_timeout_ms", "120000"]
        hosts = [f"127.0.45.{index}" for index in range(1, NODES + 2)]
        start_nodes(mesh, hosts[:NODES], flags, timeout_s=180)
        with Prober(mesh.nodes) as prober:
            engines.tell(f"run {OPERATIONS_PER_S}")
            time.sleep(10.0)
            began = time.monotonic()
            before = prober.between(began - 8.0, began)
            newcomer = mesh.plan_node("newcomer", hosts[-1], [*seed_flags(hosts), *flags])
            newcomer.wrap = nice
            suspected = Suspicions(mesh, mesh.nodes[:NODES])
            newcomer.start()
            with suspected:
                newcomer.wait_ready(150)
                took_s = time.monotonic() - began
                wait_until(lambda: all_exact(mesh, [newcomer]), 60, "the newcomer knows all")
                exact_s = time.monotonic() - began
                used_s = cpu_s(newcomer)
            during = prober.between(began, began + exact_s)
        held = sum(int(stream["blocks"]) for stream in known(mesh, newcomer))
        fetches = exchange_counts(mesh, newcomer)
    return [
        Figure("kv join: blocks held", held, "", 0.99 * HELD, at_most=False),
        Figure("kv join: ready after", took_s, "s", 10.0),
        Figure("kv join: every cache known exactly after", exact_s, "s", 10.0),
        Figure("kv join: CPU of the newcomer until then", used_s, "s"),
        Figure("kv join: caches fetched whole", fetches["fetches"], f"of {ENGINES}"),
        Figure("kv join: nodes that seemed dead or suspect", suspected.seen, "", 0),
        Figure("kv join: requests through the others before, p50", percentile(before, 0.5), "ms"),
        Figure("kv join: requests through the others before, p99", percentile(before, 0.99), "ms"),
        Figure("kv join: requests through the others meanwhile, p50", percentile(during, 0.5), "ms"),
        Figure("kv join: requests through the others meanwhile, p99", percentile(during, 0.99),
               "ms"),
        Figure("kv join: requests that failed", prober.failed, f"of {len(prober.taken)}", 0)]


class Suspicions:
    """How many members did not seem alive to one of the nodes, looked up over and over."""

    def __init__(self, mesh, nodes):
        self.seen = 0
        self._mesh, self._nodes = mesh, nodes
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self._over.set()
        self._thread.join()

    def _run(self):
        while not self._over.wait(0.2):
            for node in self._nodes:
                self.seen += sum(member["status"] not in ("alive", "joining")
                                 for member in self._mesh.ask(node, "members"))
