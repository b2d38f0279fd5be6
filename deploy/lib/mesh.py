"""A whole mesh on this machine: engines and nodes, each a process on a loopback address of its own.

Used by quickstart and by the tests of whole clusters. Standard library only.
"""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from process import LocalError, Process, http_get, require_free_port, wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
HTTP_PORT = 8080
MESH_PORT = 7000
ENGINE_PORT = 9000
EVENTS_PORT = 5557
REPLAY_PORT = 6557


class Engine:
    """A simulated inference instance."""

    def __init__(self, mesh, name, host, speed, models, flags, events):
        self.name = name
        self.address = f"{host}:{ENGINE_PORT}"
        self.events = f"tcp://{host}:{EVENTS_PORT}" if events else ""
        self.replay = f"tcp://{host}:{REPLAY_PORT}" if events else ""
        self._mesh = mesh
        self._argv = [mesh.program("dualmesh-engine"), "--listen", self.address, "--name", name,
                      "--speed", str(speed), *flags]
        for model in models:
            self._argv += ["--model", model]
        if events:
            self._argv += ["--kv-events", self.events, "--kv-replay", self.replay]
        self.process = None

    def start(self):
        self.process = self._mesh.spawn(self.name, self._argv)

    def wait_ready(self, timeout_s=10.0):
        wait_until(lambda: http_get(f"http://{self.address}/health")[0] == 200, timeout_s,
                   f"{self.name} answers at {self.address}", self.process.require_alive)

    def metrics(self):
        return http_get(f"http://{self.address}/metrics")[1]


class Node:
    """A router node."""

    def __init__(self, mesh, name, host, flags):
        self.name = name
        self.host = host
        self.http = f"{host}:{HTTP_PORT}"
        self.mesh_address = f"{host}:{MESH_PORT}"
        self._mesh = mesh
        self._argv = [mesh.program("dualmeshd"), "--node.name", name, "--http.listen", self.http,
                      "--mesh.listen", self.mesh_address, *flags]
        self.wrap = lambda argv: argv  # how to start it, for example with a resolver of its own
        self.process = None

    def start(self):
        self.process = self._mesh.spawn(self.name, self.wrap(self._argv))

    def ready(self):
        return http_get(f"http://{self.http}/ready")[0] == 200

    def wait_ready(self, timeout_s=15.0):
        wait_until(self.ready, timeout_s, f"{self.name} is ready at {self.http}",
                   self.process.require_alive)


class LocalMesh:
    """Engines and nodes together. Use as a context manager: leaving it stops every process."""

    def __init__(self, programs=ROOT / "build" / "bin", keep_logs=False):
        self._programs = Path(programs)
        self.directory = Path(tempfile.mkdtemp(prefix="dualmesh-"))
        self.keep_logs = keep_logs
        self.engines = []
        self.nodes = []
        self._processes = []
        self._closers = []

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.stop()
        if not self.keep_logs:
            shutil.rmtree(self.directory, ignore_errors=True)

    def program(self, name):
        path = self._programs / name
        if not path.exists():
            raise LocalError(f"{path} is missing: build it first (deploy/lib/build.sh release)")
        return path

    def spawn(self, name, argv):
        process = Process(name, argv, self.directory / f"{name}.log")
        self._processes.append(process)
        return process

    def on_stop(self, close):
        """Has `close` called after the processes have been stopped."""
        self._closers.append(close)

    def add_engine(self, name, host, speed=1.0, models=("sim",), flags=(), events=False):
        for port in (ENGINE_PORT, EVENTS_PORT, REPLAY_PORT) if events else (ENGINE_PORT,):
            require_free_port(host, port)
        engine = Engine(self, name, host, speed, models, flags, events)
        self.engines.append(engine)
        engine.start()
        return engine

    def plan_node(self, name, host, flags=()):
        """A node that is not started yet."""
        for port in (HTTP_PORT, MESH_PORT):
            require_free_port(host, port)
        self.nodes.append(Node(self, name, host, list(flags)))
        return self.nodes[-1]

    def add_node(self, name, host, flags=()):
        node = self.plan_node(name, host, flags)
        node.start()
        return node

    def state_dir(self, name):
        path = self.directory / f"state-{name}"
        path.mkdir(exist_ok=True)
        return path

    def ctl(self, node, *arguments, timeout_s=60.0):
        """Runs dualmeshctl; the finished process."""
        argv = [self.program("dualmeshctl"), "--node", node.mesh_address, *arguments]
        return subprocess.run([str(part) for part in argv], capture_output=True, text=True,
                              timeout=timeout_s, check=False)

    def ask(self, node, *arguments):
        """What dualmeshctl answers in JSON; an exit status of 2 is an error."""
        done = self.ctl(node, *arguments, "--json")
        if done.returncode not in (0, 1):
            raise LocalError(f"dualmeshctl {' '.join(arguments)}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def stop(self):
        for process in self._processes:  # all at once, then one after the other
            process.signal(15)
        for process in self._processes:
            process.stop()
        self._processes.clear()
        while self._closers:
            self._closers.pop()()


def seed_flags(hosts):
    return ["--mesh.seeds", ",".join(f"{host}:{MESH_PORT}" for host in hosts)]


def instance_flags(engines):
    flags = []
    for engine in engines:
        events = f",kv_events={engine.events},replay={engine.replay}" if engine.events else ""
        flags += ["--instance", f"name={engine.name},address={engine.address}{events}"]
    return flags


def time_flags(speed, slo_ttft_s=5.0):
    """Routing settings in the shortened seconds of engines that run `speed` times as fast."""
    return ["--routing.slo_ttft_s", f"{slo_ttft_s / speed:g}",
            "--routing.overload_wait_s", f"{3.0 / speed:g}",
            "--routing.prefill_us_per_token", f"{160.0 / speed:g}"]
