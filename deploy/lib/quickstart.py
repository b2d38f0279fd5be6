"""The body of deploy/quickstart: set up, build, start, replay, show, wait for Ctrl-C, clean up."""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from dns import NameServer, PrivateResolver
from mesh import HTTP_PORT, ROOT, LocalMesh, instance_flags, seed_flags, time_flags
from process import LocalError, die_with_parent

NAME = "dualmesh.test"
NAME_SERVER = "127.0.1.53"
NODE_HOST = "127.0.1.{}"
ENGINE_HOST = "127.0.2.{}"
TARGETS = ["dualmeshd", "dualmeshctl", "dualmesh-engine", "dualmesh-replay"]
MODEL = "sim"
REPLAY_VOID = 3  # done, but this machine was too slow for the speed; the replay says so itself


def whole_number(least, most):
    def parse(text):
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be from {least} to {most}")
        return value
    return parse


def positive(text):
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="./deploy/quickstart",
        description="Builds dualmesh, starts router nodes behind a local DNS name and simulated "
                    "inference instances, replays a workload through the name, shows the results "
                    "and keeps running until Ctrl-C. Installs missing packages with apt.",
        epilog="Example: ./deploy/quickstart --nodes 5 --instances 8 --policy round_robin --exit")
    parser.add_argument("--nodes", type=whole_number(1, 50), default=3, help="router nodes (3)")
    parser.add_argument("--instances", type=whole_number(1, 200), default=4,
                        help="simulated inference instances (4)")
    parser.add_argument("--speed", type=positive, default=4.0,
                        help="how many times faster than real time instances and replay run (4)")
    parser.add_argument("--policy", choices=["dualmesh", "dualmap", "round_robin"],
                        default="dualmesh")
    parser.add_argument("--exact", action="store_true",
                        help="instances publish KV events, so that nodes know their caches exactly")
    parser.add_argument("--requests", type=whole_number(1, 1_000_000), default=600,
                        help="requests to replay (600)")
    parser.add_argument("--qps", type=positive,
                        help="requests per model second (1.2 per instance; with --trace: as "
                             "recorded)")
    parser.add_argument("--trace", type=Path, metavar="FILE",
                        help="replay this Mooncake-format trace, not the built-in conversations")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument("--exit", action="store_true", help="end after the replay")
    arguments = parser.parse_args()
    if arguments.trace is not None and not arguments.trace.is_file():
        parser.error(f"no trace file {arguments.trace}")
    if arguments.json is not None and not arguments.json.absolute().parent.is_dir():
        parser.error(f"no folder {arguments.json.absolute().parent} to write the results in")
    if arguments.qps is None and arguments.trace is None:
        arguments.qps = 1.2 * arguments.instances
    return arguments


def set_up():
    """Packages and programs."""
    folder = ROOT / "deploy"
    install = f". {shlex.quote(str(folder / 'lib/packages.sh'))}; install_packages " \
              f"{shlex.quote(str(folder / 'packages'))}"
    if subprocess.call(["bash", "-c", install]) != 0:
        raise LocalError("the packages could not be installed")
    # The tests ask for packages of their own, so a first build goes without; later ones leave the
    # choice as it is.
    without_tests = [] if (ROOT / "build/CMakeCache.txt").exists() else ["-DDUALMESH_TESTS=OFF"]
    if subprocess.call([str(folder / "lib/build.sh"), "release", *without_tests, *TARGETS]) != 0:
        raise LocalError("the programs could not be built")


def start(mesh, arguments):
    print(f"Starting {arguments.instances} instances and {arguments.nodes} nodes ...", flush=True)
    for i in range(arguments.instances):
        mesh.add_engine(f"e{i + 1}", ENGINE_HOST.format(i + 1), arguments.speed, [MODEL],
                        events=arguments.exact)
    for engine in mesh.engines:
        engine.wait_ready()
    hosts = [NODE_HOST.format(i + 1) for i in range(arguments.nodes)]
    flags = seed_flags(hosts) + instance_flags(mesh.engines) + time_flags(arguments.speed)
    flags += ["--routing.policy", arguments.policy]
    if arguments.nodes == 1:
        flags += ["--mesh.alone", "true"]
    for i, host in enumerate(hosts):
        mesh.add_node(f"r{i + 1}", host, flags)
    for node in mesh.nodes:
        node.wait_ready()
    waited = mesh.ctl(mesh.nodes[0], "wait-converged", "--timeout", "10s")
    if waited.returncode != 0:
        raise LocalError("the nodes did not converge:\n" + waited.stdout + waited.stderr)


def start_name_server(mesh):
    server = NameServer(mesh.directory, NAME_SERVER, NAME)
    mesh.on_stop(server.stop)
    server.start([node.host for node in mesh.nodes])
    return server


def target_of_replay(mesh, resolver):
    """The DNS name where this machine lets us have a private resolver."""
    if resolver.works():
        return ["--dns", f"{NAME}:{HTTP_PORT}"]
    print("This machine allows no private mount namespace (a container without CAP_SYS_ADMIN?):\n"
          f"the replay is given the addresses that the name server has for {NAME}.")
    return ["--target", ",".join(node.http for node in mesh.nodes)]


def replay(mesh, arguments):
    """Runs dualmesh-replay; its results."""
    resolver = PrivateResolver(mesh.directory, NAME_SERVER)
    target = target_of_replay(mesh, resolver)
    results = mesh.directory / "replay.json"
    argv = [mesh.program("dualmesh-replay"), "live", *target, "--model", MODEL,
            "--requests", arguments.requests, "--speed", f"{arguments.speed:g}",
            "--scrape", ",".join(engine.address for engine in mesh.engines),
            "--json", results]
    if arguments.trace is not None:
        argv += ["--trace", arguments.trace.absolute()]
    else:
        argv += ["--generate", "multi-turn"]
    if arguments.qps is not None:
        argv += ["--qps", f"{arguments.qps:g}"]
    argv = resolver.wrap(argv) if target[0] == "--dns" else [str(part) for part in argv]
    print(f"\nReplaying {arguments.requests} requests through {NAME}, policy {arguments.policy}, "
          f"{arguments.speed:g} times as fast as real:", flush=True)
    status = subprocess.call(argv, preexec_fn=die_with_parent)
    if status not in (0, REPLAY_VOID) or not results.exists():
        raise LocalError(f"the replay failed with status {status}")
    return json.loads(results.read_text())


def show_convergence(mesh):
    print("\nConvergence, as every node answers to dualmeshctl lag:", flush=True)
    waited = mesh.ctl(mesh.nodes[0], "wait-converged", "--timeout", "10s")
    print(mesh.ctl(mesh.nodes[0], "lag").stdout, end="")
    print(waited.stdout, end="", flush=True)
    return waited.returncode == 0


def relative(path):
    return os.path.relpath(path, os.getcwd())


def show_next_steps(mesh):
    node = mesh.nodes[0]
    ctl = relative(mesh.program("dualmeshctl"))
    if not ctl.startswith((".", "/")):
        ctl = "./" + ctl
    kv = f"\n    {ctl} --node {node.mesh_address} kv" if mesh.engines[0].events else ""
    body = json.dumps({"model": MODEL, "stream": True, "max_tokens": 8,
                       "messages": [{"role": "user", "content": "Say something."}]})
    print(f"""
The mesh keeps running. What to try next, in another terminal in this folder:

  a request, through the name, and where it went:
    curl -iN --resolve {NAME}:{HTTP_PORT}:{','.join(n.host for n in mesh.nodes)} \\
      http://{NAME}:{HTTP_PORT}/v1/chat/completions -H 'Content-Type: application/json' \\
      -d '{body}'

  the mesh:
    {ctl} --node {node.mesh_address} status
    {ctl} --node {node.mesh_address} instances
    {ctl} --node {node.mesh_address} decisions --last 5
    {ctl} --node {node.mesh_address} lag{kv}

  change something, and wait until every node has it:
    {ctl} --node {node.mesh_address} instance drain {mesh.engines[0].name}
    {ctl} --node {mesh.nodes[-1].mesh_address} wait-converged --timeout 10s
    {ctl} --node {node.mesh_address} instance resume {mesh.engines[0].name}
    {ctl} --node {node.mesh_address} policy set round_robin

  lose a node:
    kill -9 {mesh.nodes[-1].process.pid}; sleep 3; {ctl} --node {node.mesh_address} members

Logs: {mesh.directory}
Ctrl-C stops everything and removes the logs.""", flush=True)


def write_results(path, mesh, arguments, results, converged):
    node = mesh.nodes[0]
    document = {"nodes": arguments.nodes, "instances": arguments.instances,
                "policy": arguments.policy, "speed": arguments.speed, "replay": results,
                "converged": converged, "lag": mesh.ask(node, "lag"),
                "members": mesh.ask(node, "members"), "status": mesh.ask(node, "status")}
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(document, indent=2) + "\n")
    temporary.replace(path)


def run(arguments):
    set_up()
    with LocalMesh() as mesh:
        try:
            start(mesh, arguments)
            start_name_server(mesh)
            results = replay(mesh, arguments)
            converged = show_convergence(mesh)
            if arguments.json is not None:
                write_results(arguments.json, mesh, arguments, results, converged)
        except Exception:
            mesh.keep_logs = True
            print(f"\nThe logs of all processes stay in {mesh.directory}", file=sys.stderr)
            raise
        if arguments.exit:
            return 0 if converged else 1
        show_next_steps(mesh)
        try:
            while True:
                signal.pause()
        except KeyboardInterrupt:
            print("\nStopping ...")
            return 0


def main():
    arguments = parse_arguments()
    # Whatever ends us goes through the clean-up.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        return run(arguments)
    except KeyboardInterrupt:
        print("\nStopped; nothing is left running.")
        return 130
    except LocalError as error:
        print(f"\nquickstart: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
