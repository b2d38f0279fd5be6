"""Figures of whole meshes in virtual time: the simulator's own, as rows.

They depend on the seed alone, not on the machine, and come out the same each time.
"""

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor

from figures import Figure, Skipped, trials
from load_mesh import programs
from process import LocalError


def simulate(figure, seed=1, **options):
    """What `mesh_swarm --figure` says; status 1 means that it must not be believed."""
    program = f"{programs()}/mesh_swarm"
    argv = [program, "--figure", figure, "--seed", seed]
    for name, value in options.items():
        argv += [f"--{name}", value]
    try:
        done = subprocess.run([str(part) for part in argv], capture_output=True, text=True,
                              timeout=3_600, check=False)
    except FileNotFoundError:
        raise Skipped(f"{program} is missing: build it first") from None
    if not done.stdout.startswith("{"):
        raise LocalError(f"{' '.join(map(str, argv))}: status {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


def seeds(figure, number, **options):
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda seed: simulate(figure, seed, **options), range(1, number + 1)))


def worst(found, key):
    return max(result[key] for result in found)


def sim_propagation():
    found = seeds("propagation-loss", trials(2, quick=1))
    changes = sum(result["changes"] for result in found)
    of = f"32 nodes, 5 % loss, worst of {len(found)} seeds"
    return [Figure(f"{of}, last p50", worst(found, "last_p50_ms") / 1e3, "s"),
            Figure(f"{of}, last p99", worst(found, "last_p99_ms") / 1e3, "s", 1.5),
            Figure(f"{of}, last max", worst(found, "last_max_ms") / 1e3, "s"),
            Figure("32 nodes, 5 % loss, never arrived", sum(result["never"] for result in found),
                   f"of {changes}", 0)]


def sim_heal():
    found = seeds("heal", trials(4, quick=1))
    return [Figure("simulated heal: all digests equal after", worst(found, "agreement_ms") / 1e3,
                   "s", 1.0),
            Figure("simulated heal: what differed", worst(found, "bytes_differed") / 1e3, "kB"),
            Figure("simulated heal: bytes sent", worst(found, "bytes_sent") / 1e3, "kB"),
            Figure("simulated heal: bytes sent / what differed", worst(found, "ratio"), "ratio",
                   2.0)]


def sim_memory():
    hours = trials(1.0, quick=0.02)
    result = simulate("memory", hours=hours)
    of = f"{result['nodes']} nodes, {result['changes'] / 1e6:.3g} million changes"
    return [Figure(f"memory over {hours:g} virtual h: in use", result["most_after_warm_up"] / 2**20,
                   "MiB", note=of),
            Figure(f"memory over {hours:g} virtual h: most / least", result["growth"], "ratio",
                   1.05)]


def sim_false_deaths():
    hours = trials(1.0, quick=0.1)
    result = simulate("false-deaths", hours=hours)
    return [Figure(f"16 nodes, 5 % loss, {hours:g} virtual h: suspicions", result["suspicions"], ""),
            Figure(f"16 nodes, 5 % loss, {hours:g} virtual h: false deaths", result["deaths"], "",
                   0)]
