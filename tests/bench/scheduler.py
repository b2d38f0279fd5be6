"""The scheduler's decision time, from the micro-benchmark's own JSON."""

import json
import subprocess

from figures import Figure
from mesh import ROOT


def scheduler():
    program = ROOT / "build" / "bin" / "bench_scheduler"
    done = subprocess.run([program, "--benchmark_format=json"], capture_output=True, text=True,
                          timeout=600, check=True)
    figures = []
    for run in json.loads(done.stdout)["benchmarks"]:
        name = "/".join(run["name"].split("/")[:3])
        for share in ("p50", "p99"):
            if f"{share}_ns" in run:
                ours = name.startswith("decision/dualmap/")
                target = 20_000 if share == "p99" and ours else None
                figures.append(Figure(f"{name}, {share}", run[f"{share}_ns"], "ns", target))
    return figures
