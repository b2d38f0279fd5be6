"""A mesh of bench_mesh_load processes: the real mesh half of a node, changes made up at a rate."""

import json
import os
import subprocess

from mesh import MESH_PORT, ROOT, LocalMesh
from process import die_with_parent, is_root

PROGRAMS = ROOT / "build" / "bin"


def programs():
    return os.environ.get("DUALMESH_BIN", PROGRAMS)


class LoadNode:
    """One process, told what to do over its standard input."""

    def __init__(self, argv):
        self._child = subprocess.Popen(
            [str(part) for part in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            start_new_session=True, preexec_fn=die_with_parent)
        self.pid = self._child.pid

    def wait_ready(self):
        line = self._child.stdout.readline().strip()
        if line != "ready":
            raise RuntimeError(f"bench_mesh_load said {line!r}, status {self._child.poll()}")

    def tell(self, command):
        self._child.stdin.write(command + "\n")
        self._child.stdin.flush()

    def stats(self):
        self.tell("stats")
        return json.loads(self._child.stdout.readline())

    def stop(self):
        self._child.stdin.close()
        self._child.wait(10)


class LoadMesh:
    """`count` nodes at hosts[0], hosts[1], ...; `wrap(index, argv)` says how to start one."""

    def __init__(self, hosts, wrap=lambda index, argv: argv, flags=(), instances=64):
        self.addresses = [f"{host}:{MESH_PORT}" for host in hosts]
        self._tools = LocalMesh(programs())
        self._wrap, self._flags = wrap, ("--instances", instances, *flags)
        self.nodes = []
        for address in self.addresses:
            self._start(address)

    def _start(self, address):
        index = len(self.nodes)
        self.nodes.append(LoadNode(self._wrap(index, [
            self._tools.program("bench_mesh_load"), "--name", f"n{index + 1}", "--listen", address,
            "--seeds", ",".join(self.addresses), *self._flags])))

    def join(self, host):
        """One more node, once it is ready."""
        self.addresses.append(f"{host}:{MESH_PORT}")
        self._start(self.addresses[-1])
        self.nodes[-1].wait_ready()

    def __enter__(self):
        for node in self.nodes:
            node.wait_ready()
        self.wait_converged()
        return self

    def __exit__(self, kind, value, trace):
        for node in self.nodes:
            node.stop()
        self._tools.__exit__(kind, value, trace)

    def tell(self, command, nodes=None):
        for node in nodes or self.nodes:
            node.tell(command)

    def stats(self):
        return [node.stats() for node in self.nodes]

    def ctl(self, index, *arguments, timeout_s=60):
        argv = [self._tools.program("dualmeshctl"), "--node", self.addresses[index], *arguments]
        return subprocess.run([str(part) for part in argv], capture_output=True, text=True,
                              timeout=timeout_s, check=False)

    def ask(self, index, *arguments):
        done = self.ctl(index, *arguments, "--json")
        if done.returncode not in (0, 1):
            raise RuntimeError(done.stderr.strip())
        return json.loads(done.stdout)

    def wait_converged(self, index=0, timeout="30s"):
        answer = self.ask(index, "wait-converged", "--timeout", timeout)
        if not answer["converged"]:
            raise RuntimeError(f"not converged: {answer['missing']}")

    def bytes_sent(self):
        """By each node, to each of its peers, added up over the mesh."""
        lag = self.ask(0, "lag")
        return sum(peer["bytes_sent"] for node in lag["nodes"] for peer in node["peers"])

    def alive_everywhere(self):
        return all(all(member["status"] == "alive" for member in self.ask(index, "members"))
                   for index in range(len(self.nodes)))


def nice(argv):
    """Before everything else on the machine, where we may: others' work is not to be measured."""
    if not is_root():
        return argv
    # A process begins a session of its own, which a kernel may weigh as a group.
    group = "/proc/self/autogroup"
    return ["sh", "-c", f'[ ! -w {group} ] || echo -15 > {group}; exec nice -n -15 "$@"', "sh",
            *argv]
