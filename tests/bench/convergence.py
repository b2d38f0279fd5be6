"""Eight simulated nodes in two halves for a minute, written to all the time: how far they fall
behind and how soon after the heal each has everything that was written before it."""

import json
import subprocess
import tempfile
from pathlib import Path

from figures import Figure, percentile
from load_mesh import programs

SEEDS = range(1, 21)


def partition(seed, folder):
    figures = Path(folder) / "figures.json"
    subprocess.run([Path(programs()) / "mesh_scenario", "--scenario", "partition", "--nodes", "8",
                    "--seed", str(seed), "--json", figures], check=True, capture_output=True)
    return json.loads(figures.read_text())


def convergence():
    with tempfile.TemporaryDirectory() as folder:
        runs = [partition(seed, folder) for seed in SEEDS]
    caught_up = [run["converged_ms"] for run in runs]
    calm = [node["worst_calm_lag_ms"] for run in runs for node in run["outcome"]]
    worst = max(run["worst_lag_ms"] for run in runs)
    sent = [run["bytes_sent"] / run["changes"] for run in runs]
    return [Figure("convergence: all caught up after the heal, median", percentile(caught_up, 0.5),
                   "ms", note=f"{len(runs)} seeds"),
            Figure("convergence: the same, worst", max(caught_up), "ms", 1_000),
            Figure("convergence: worst lag in a whole mesh", max(calm), "ms"),
            Figure("convergence: worst lag, partition included", worst / 1e3, "s"),
            Figure("convergence: bytes sent per change", percentile(sent, 0.5) / 1e3, "kB",
                   note="7 receivers, pings and digests")]
