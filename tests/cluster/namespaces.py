"""A small network on this machine whose wires can be cut: a namespace per node, one bridge.

The bridge lives in a namespace of its own ("hub"), so the packets between nodes meet no firewall
rule of the machine. Tests and engines stay in the machine's own namespace, on addresses of one
interface that is plugged into the same bridge. Faults are nftables rules on the bridge; they spare
ARP, for wires are usually cut between routers, and no address is forgotten there. Names begin with the
test's process id; what a killed run left behind is removed by the next one.
"""

import itertools
import json
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

from cluster import MODEL, Cluster
from mesh import Node
from process import is_root
from run_number import run_number

_PREFIX = "dmnet"
_numbers = itertools.count()


def _run(*argv):
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def why_not():
    """None where networks can be made, else the reason."""
    if not is_root():
        return "network namespaces need root"
    try:
        Network().close()
    except OSError as error:
        return f"no network namespaces with a filtering bridge: {error}"
    return None


def _remove_leftovers():
    for line in _run("ip", "netns", "list").splitlines():
        name = line.split()[0]
        process = name.removeprefix(_PREFIX).split("-")[0]
        if name.startswith(_PREFIX) and not Path("/proc", process).exists():
            subprocess.run(["ip", "netns", "del", name], check=False)


class Network:
    """Hosts 1, 2, ... of a /24, and the faults between them."""

    def __init__(self):
        _remove_leftovers()
        process, number = os.getpid(), next(_numbers)
        self._name = f"{_PREFIX}{process}-{number}"
        # 198.18.0.0/15 is set aside for tests of networks, so no route of the machine is hidden.
        run = run_number()
        self.subnet = f"198.{18 + run % 2}.{run // 2 * 6 + number % 6}"
        self._hub = f"{self._name}-hub"
        self._outside = f"dm{process}o{number}"
        self._made = []
        try:
            self._make_hub()
        except OSError:
            self.close()
            raise

    def _make_namespace(self, name):
        _run("ip", "netns", "add", name)
        self._made.append(name)
        _run("ip", "-n", name, "link", "set", "lo", "up")

    def _make_hub(self):
        self._make_namespace(self._hub)
        _run("ip", "-n", self._hub, "link", "add", "hub0", "type", "bridge")
        _run("ip", "-n", self._hub, "link", "set", "hub0", "up")
        _run("ip", "link", "add", self._outside, "type", "veth", "peer", "name", "outside",
             "netns", self._hub)
        _run("ip", "-n", self._hub, "link", "set", "outside", "master", "hub0", "up")
        _run("ip", "link", "set", self._outside, "up")
        self.add_outside_address(254)
        self._nft("add table bridge faults")
        self._nft("add chain bridge faults wire { type filter hook forward priority 0; }")
        self._nft("add chain bridge faults seen { type filter hook forward priority -1; }")

    def _nft(self, command):
        _run("ip", "netns", "exec", self._hub, "nft", command)

    def add_outside_address(self, number):
        """An address in the machine's own namespace, for engines and clients."""
        _run("ip", "addr", "add", f"{self.subnet}.{number}/24", "dev", self._outside)

    def add_host(self, number):
        namespace = f"{self._name}-{number}"
        self._make_namespace(namespace)
        _run("ip", "-n", self._hub, "link", "add", f"host{number}", "type", "veth", "peer",
             "name", "eth0", "netns", namespace)
        _run("ip", "-n", self._hub, "link", "set", f"host{number}", "master", "hub0", "up")
        _run("ip", "-n", namespace, "addr", "add", f"{self.subnet}.{number}/24", "dev", "eth0")
        _run("ip", "-n", namespace, "link", "set", "eth0", "up")

    def enter(self, number, argv):
        return ["ip", "netns", "exec", f"{self._name}-{number}", *argv]

    # Faults add up until heal.

    def _fault(self, rule):
        self._nft(f"add rule bridge faults wire ether type ip {rule}")

    def cut(self, senders, receivers):
        """Nothing gets from the first hosts to the second; the other way stays open."""
        self._fault(f"iifname {_ports(senders)} oifname {_ports(receivers)} drop")

    def part(self, one_side, other_side):
        self.cut(one_side, other_side)
        self.cut(other_side, one_side)

    def cut_off(self, number, addresses):
        """That host and these addresses outside hear nothing of each other."""
        for address in addresses:
            self._fault(f"iifname host{number} ip daddr {address} drop")
            self._fault(f"oifname host{number} ip saddr {address} drop")

    def silence(self, number):
        """Neither nodes nor clients nor engines hear of that host, nor it of them."""
        self._fault(f"iifname host{number} drop")
        self._fault(f"oifname host{number} drop")

    def lose(self, percent):
        """That share of what passes between nodes, at random."""
        self._fault(f'iifname "host*" oifname "host*" numgen random mod 100 < {percent} drop')

    def heal(self):
        self._nft("flush chain bridge faults wire")

    def count(self, senders, receivers):
        """From now on, what the first hosts send to the second is counted, faults or not."""
        self._nft(f"add rule bridge faults seen ether type ip iifname {_ports(senders)} "
                  f"oifname {_ports(receivers)} counter")

    def counted_bytes(self):
        """Of all that is counted, with the headers of IP and TCP."""
        rules = json.loads(_run("ip", "netns", "exec", self._hub, "nft", "-j", "list", "chain",
                                "bridge", "faults", "seen"))["nftables"]
        return sum(part["counter"]["bytes"] for rule in rules if "rule" in rule
                   for part in rule["rule"]["expr"] if "counter" in part)

    def close(self):
        for name in self._made:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        self._made.clear()
        # Deleted with the hub in the end, but asynchronously: the name must be free at once.
        subprocess.run(["ip", "link", "del", self._outside], capture_output=True, check=False)


def _ports(numbers):
    return "{ " + ", ".join(f"host{number}" for number in numbers) + " }"


class NetworkCluster(Cluster):
    """A cluster with a namespace per node: r1 is host 1, and so on."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.network = Network()
        self.on_stop(self.network.close)
        self._subnet = self.network.subnet
        self._flags += ["--mesh.insecure", "true"]

    def new_engine(self, models=(MODEL,)):
        self.network.add_outside_address(len(self.engines) + 101)
        return super().new_engine(models)

    def plan_node(self, name, host, flags=()):
        number = len(self.nodes) + 1
        self.network.add_host(number)
        # Nobody else can have the ports there, and they could not be tried from here.
        self.nodes.append(Node(self, name, host, list(flags)))
        self.nodes[-1].wrap = lambda argv: self.network.enter(number, argv)
        return self.nodes[-1]

    def numbers(self, nodes):
        return [self.nodes.index(node) + 1 for node in nodes]

    def part(self, one_side, other_side):
        self.network.part(self.numbers(one_side), self.numbers(other_side))


@contextmanager
def network_cluster(nodes, engines):
    """One that has started, without keeping logs; the tests are skipped where there can be none."""
    reason = why_not()
    if reason is not None:
        import pytest  # here, because benchmarks use this file without it
        pytest.skip(reason)
    with NetworkCluster() as cluster:
        cluster.keep_logs = False
        yield cluster.start(nodes=nodes, engines=engines)
