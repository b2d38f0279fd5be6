"""Other people's routers that a package manager installs: CPU per request beside the rest.

Only when asked (--peers): each is installed into an environment of its own, which takes minutes
and disk.
"""

import os
import subprocess
import sys
import venv

from figures import Figure, Skipped, trials
from front.contestants import HOST, Contestant, Haproxy, Nginx, free_port, ours
from front.rounds import TARGETS, errors, in_turns, median, noise_row, print_table, ratio
from front.setup import INSTANT, NO_QUEUE, Front
from mesh import ROOT

PLACE = ROOT / "build" / "peers"
ROUNDS = trials(3, quick=1)
SECONDS = trials(3.0, quick=1.0)
INSTALL_S = 600


def us(measured):
    return measured.cpu_us()


class PythonRouter(Contestant):
    """Installed by pip; `arguments(peer, front)` says how to start it."""

    def __init__(self, name, package, arguments):
        super().__init__(name)
        self._package, self._arguments = package, arguments
        self.place = PLACE / package.split("[")[0]

    def install(self):
        """Raises with pip's last words when it cannot."""
        if (self.place / "installed").exists():
            return
        venv.create(self.place, with_pip=True)
        done = subprocess.run([self.place / "bin" / "python", "-m", "pip", "install", "--quiet",
                               self._package], capture_output=True, text=True, timeout=INSTALL_S,
                              check=False)
        if done.returncode != 0:
            raise Skipped(f"pip install {self._package}: {done.stderr.strip().splitlines()[-1]}")
        (self.place / "installed").touch()

    def port(self):
        return self.addresses[0].rsplit(":", 1)[1]

    def start(self, front):
        self.processes = [front.spawn_proxy(self.name.replace(" ", "-"),
                                            self._arguments(self, front))]


def rust_router(module, policy):
    """sglang-router and vllm-router take the same flags: one began as the other."""
    def arguments(peer, front):
        return [peer.place / "bin" / "python", "-m", module, "--host", HOST, "--port", peer.port(),
                "--worker-urls", *[f"http://{address}" for address in front.instances],
                "--policy", policy, "--prometheus-port", str(free_port())]
    return arguments


def litellm(peer, front):
    """Its proxy with one worker and a route to each instance; as with the others, any key does."""
    config = front.directory / "litellm.yaml"
    config.write_text("general_settings:\n  dangerously_permit_weak_or_unset_master_key: true\n"
                      "model_list:\n" + "".join(
        f"- model_name: sim\n  litellm_params:\n    model: openai/sim\n"
        f"    api_base: http://{address}/v1\n    api_key: any\n" for address in front.instances))
    return [peer.place / "bin" / "litellm", "--config", config, "--host", HOST, "--port",
            peer.port(), "--num_workers", "1"]


def known():
    routers = [PythonRouter(f"{package} {policy}", package,
                            rust_router(f"{package.replace('-', '_')}.launch_router", policy))
               for package in ("sglang-router", "vllm-router")
               for policy in ("cache_aware", "round_robin")]  # the first is their default
    return [*routers, PythonRouter("litellm", "litellm[proxy]", litellm)]


def measure(peer):
    """One peer at a time beside the others: what fails with one does not hide the next."""
    peer.install()
    with Front(INSTANT, [Haproxy(), Nginx(), *ours(NO_QUEUE), peer]) as front:
        found = in_turns(front, ROUNDS, lambda one, seed: front.load(
            one, "requests", seed=seed, connections=64, seconds=SECONDS, warm_up=1))
        noise = noise_row(front, f"beside {peer.name}")
    return found, noise


def front_peers():
    if not os.environ.get("DUALMESH_BENCH_PEERS"):
        raise Skipped("other routers are installed and measured with --peers")
    figures, rows = [], []
    for peer in known():
        try:
            found, noise = measure(peer)
        except Exception as error:  # pylint: disable=broad-except
            print(f"   {peer.name}: SKIPPED: {error}", file=sys.stderr)
            continue
        cpu, rounds = median(found[peer.name], us), found[peer.name]
        rate = median(rounds, lambda each: each.rate)
        figures += [Figure(f"{peer.name}: CPU, 2 KB, 64", cpu, "us",
                           note=f"{rate:,.0f}/s, {errors(rounds)} errors")]
        figures += [Figure(f"{peer.name}: x {other}", ratio(found, peer.name, other, us), "x")
                    for other in (*TARGETS, "one node", "mesh of 3")]
        figures.append(noise)
        print(f"   {peer.name}: {cpu:.0f} us a request", file=sys.stderr, flush=True)
        rows.append([peer.name, f"{cpu:.0f} us", f"{rate:,.0f}/s",
                     f"{ratio(found, peer.name, 'mesh of 3', us):.1f}"])
    if not rows:
        raise Skipped("none could be installed and started")
    print_table("Other routers, 2 KB, 64 connections, instant engines",
                ["CPU per request", "requests", "x mesh of 3"], rows)
    return figures
