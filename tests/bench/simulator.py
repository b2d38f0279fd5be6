"""How fast the simulator runs the setting of the capacity figures, and what its engines could sustain.

Whole runs of the program are timed, reading the trace included; the median of several counts.
"""

import json
import statistics
import subprocess
import time

from figures import Figure, Skipped, trials
from mesh import ROOT
from traces import trace_file

RUNS = 5
ROUTERS = {1: 0.5, 16: 5.0}  # seconds at most
VIEW_DELAY_MS = 10
QPS = 8.7


def replay_tool(trace, command, routers, *flags):
    argv = [ROOT / "build" / "bin" / "dualmesh-replay", command, "--trace", trace, "--policy", "dualmap",
            "--requests", 8000, "--warmup", 500, "--instances", 8, "--routers", routers,
            "--view-delay-ms", VIEW_DELAY_MS, "--kv-delay-ms", VIEW_DELAY_MS, *flags, "--json"]
    began = time.monotonic()
    done = subprocess.run([str(part) for part in argv], capture_output=True, text=True, timeout=900,
                          check=True)
    return json.loads(done.stdout), time.monotonic() - began


def simulator():
    trace = trace_file("conversation_trace.jsonl")
    if trace is None:
        raise Skipped("conversation_trace.jsonl is not here; DUALMESH_TRACES names its folder")
    figures = []
    for routers, target_s in ROUTERS.items():
        took_s = [replay_tool(trace, "simulate", routers, "--qps", QPS)[1]
                  for _ in range(trials(RUNS, 1))]
        figures.append(Figure(f"simulator, 8,000 requests, routers: {routers}",
                              statistics.median(took_s), "s", target_s))
    found, took_s = replay_tool(trace, "capacity", 1)
    figures += [
        Figure("simulator, a search of the capacity", took_s, "s"),
        Figure("engines' own limit", found["engine_limit_qps"], "requests/s"),
        Figure("capacity, dualmap", found["capacity_qps"], "requests/s"),
        Figure("capacity, dualmap / limit", found["engine_limit_fraction"], "ratio"),
        Figure("capacity, dualmap: rejected and failed", found["rejected"] + found["failed"], "", 0),
        Figure("capacity, dualmap: longest TTFT", found["ttft_max"], "s", 60)]
    return figures
